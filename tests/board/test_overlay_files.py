"""What Vivado is given and what PYNQ is told: they agree with the registers, with each other, and parse."""

import json
import re
import stat
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

import needs
from weightstream.board.names import INSTANCE, OVERLAY, VLNV
from weightstream.errors import TargetError
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import BY_NAME, REGISTERS, Access, digest
from weightstream_hw.boards.description import BOARDS, find_board
from weightstream_hw.boards.hwh import CONTROLLER, build_hwh, check_hwh
from weightstream_hw.boards.tcl import build_script, design_script, package_script, quote
from weightstream_hw.boards.vivado import PRODUCTS, accelerator_verilog, run_vivado, script_files
from weightstream_hw.boards.words import words
from weightstream_hw.boards.wrapper import INNER, TOP, build_wrapper
from weightstream_hw.cli import app
from weightstream_hw.sim.verilator import verilator_root
from weightstream_hw.synthesis import run_yosys
from weightstream_hw.tools import run_tool

SCRIPTS = {"package": package_script, "design": design_script, "build": build_script}
#: Amaranth writes constants as comparisons and processes, and leaves out cases that change nothing.
#: Multiplier blocks have outputs that nobody takes.
NETLIST_WARNINGS = {
    "CASEINCOMPLETE",
    "PINMISSING",
    "CMPCONST",
    "UNSIGNED",
    "ALWNEVER",
    "ASCRANGE",
    "WIDTHEXPAND",
    "WIDTHTRUNC",
}
BITSTREAMS = Path(__file__).resolve().parents[2] / "bitstreams"
#: Where Yosys keeps the modules of Xilinx, below its package.
CELLS = "share/xilinx/cells_sim.v"
YOSYS = f"""
read_verilog -lib -specify +/xilinx/cells_sim.v
read_verilog {INNER}.v {TOP}.v
hierarchy -check -top {TOP}
proc
check -assert
"""
#: Whatever is no command of Tcl is one of Vivado: it returns the words it was called with.
VIVADO = """
rename info tcl_info
rename file tcl_file
rename source {}
proc info {args} { if {$args eq "script"} { return /here/x.tcl }; return [tcl_info {*}$args] }
proc file {command args} { if {$command ne "copy"} { return [tcl_file $command {*}$args] } }
proc source {args} {}
proc unknown {args} { global called; lappend called $args; return $args }
"""


def interpreter():
    """Return a Tcl interpreter that knows no Vivado, but takes its commands."""
    tkinter = needs.package("tkinter")
    tcl = tkinter.Tcl()
    tcl.eval(VIVADO)
    return tcl


def calls(script):
    """Run a script and return the commands of Vivado that it calls, as lists of words."""
    tcl = interpreter()
    tcl.eval("set called {}")
    tcl.eval(script)
    return [tcl.splitlist(call) for call in tcl.splitlist(tcl.eval("set called"))]


@pytest.mark.parametrize("name", BOARDS)
def test_handoff_agrees_with_registers(name):
    board = BOARDS[name]
    system = ElementTree.fromstring(build_hwh(board).partition("?>\n")[2])
    core = next(module for module in system.iter("MODULE") if module.get("INSTANCE") == INSTANCE)
    assert core.get("VLNV") == VLNV
    found = {}
    for register in core.iter("REGISTER"):
        values = {p.get("NAME"): p.get("VALUE") for p in register.findall("PROPERTY")}
        found[register.get("NAME")] = int(values["ADDRESS_OFFSET"], 0)
    for register in REGISTERS:
        for i, suffix in enumerate([""] if register.words == 1 else ["_LO", "_HI"]):
            assert found.pop(register.name.upper() + suffix) == register.address + 4 * i
    assert not found
    memory = {m.get("INSTANCE"): int(m.get("BASEVALUE"), 16) for m in system.iter("MEMRANGE")}
    assert memory[INSTANCE] == board.processor.core
    assert memory[CONTROLLER] == board.processor.controller


def test_words_hold_every_bit_once():
    for register in REGISTERS:
        end = register.address + 4 * register.words
        listed = [word for word in words() if register.address <= word.address < end]
        for field in register.fields:
            bits = [
                32 * (word.address - register.address) // 4 + part.lsb + i
                for word in listed
                for part in word.fields
                for i in range(part.bits)
                if part.name == field.name.upper()
            ]
            assert sorted(bits) == list(range(field.lsb, field.lsb + field.bits))
    watchdog = next(word for word in words() if word.name == "WATCHDOG")
    assert (watchdog.writable, watchdog.reset) == (True, BY_NAME["watchdog"].fields[0].reset)
    assert BY_NAME["cycles"].fields[0].access is Access.COUNT
    assert not next(word for word in words() if word.name == "CYCLES_HI").writable


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("kind", SCRIPTS)
def test_scripts_are_complete_tcl(kind, name):
    script = SCRIPTS[kind](BOARDS[name])
    assert "not run here: no Vivado" in script.partition("\n")[0]
    assert interpreter().getboolean(interpreter().call("tcl_info", "complete", script))


@pytest.mark.parametrize("text", ["plain", '"[exit]" $x {;} \\', "a } b { c", "100%, 1..2; x"])
def test_quoted_text_is_one_word(text):
    assert interpreter().eval(f"set x {quote(text)}") == text


def test_package_script_adds_the_registers():
    found = calls(package_script(BOARDS["kv260"]))
    added = [call[1] for call in found if call[0] == "ipx::add_register"]
    assert added == [word.name for word in words()]
    addresses = [int(call[2], 0) for call in found if call[:2] == ("set_property", "address_offset")]
    assert addresses == [word.address for word in words()]
    texts = [call[2] for call in found if call[:2] == ("set_property", "description")]
    assert all(word.doc in texts for word in words())
    fields = [call[1] for call in found if call[0] == "ipx::add_field"]
    assert fields == [field.name for word in words() for field in word.fields]


@pytest.mark.parametrize("name", BOARDS)
def test_design_script_has_addresses_and_connections(name):
    board = BOARDS[name]
    processor = board.processor
    found = calls(design_script(board))
    assigned = [call for call in found if call[:2] == ("assign_bd_address", "-offset")]
    placed = {call[7].split()[-1]: (int(call[2], 0), int(call[4])) for call in assigned}
    assert placed[f"{INSTANCE}/s_axi/registers"] == (processor.core, 4096)
    assert placed[f"{CONTROLLER}/S_AXI/Reg"] == (processor.controller, 65536)
    wires = {(call[1].split()[-1], call[2].split()[-1]) for call in found if call[0] == "connect_bd_net"}
    assert (f"{INSTANCE}/interrupt", f"{CONTROLLER}/intr") in wires
    assert (f"{CONTROLLER}/irq", f"{processor.instance}/{processor.interrupt}") in wires
    assert (f"{processor.instance}/{processor.clock}", f"{INSTANCE}/aclk") in wires
    cells = {call[-1]: call[-2] for call in found if call[0] == "create_bd_cell"}
    assert cells[INSTANCE] == VLNV
    assert {"memory_0", "control_0", "reset_0", CONTROLLER, processor.instance} <= set(cells)


def test_build_script_stops_where_timing_fails():
    script = build_script(BOARDS["pynq_z2"])
    assert "if {$slack < 0} { error" in script
    assert all(f"[file join $here {product}]" in script for product in PRODUCTS)


def test_processors_and_wrappers_differ_where_boards_do():
    z2, kv260 = BOARDS["pynq_z2"], BOARDS["kv260"]
    assert "CONFIG.PCW_IRQ_F2P_INTR" in design_script(z2)
    assert "CONFIG.PSU__USE__IRQ0" in design_script(kv260)
    assert "output wire [31:0] m_axi_araddr" in build_wrapper(z2)
    assert "output wire [39:0] m_axi_araddr" in build_wrapper(kv260)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pynq_z2", "kv260"])
def test_wrapper_and_gateware_lint_clean(name, tmp_path):
    yosys = find_spec("pyosys")
    if yosys is None:
        pytest.skip("Yosys is not installed: pip install 'weightstream[synth]'")
    board = replace(BOARDS[name], preset="tiny")
    paths = [tmp_path / f"{INNER}.v", tmp_path / f"{TOP}.v"]
    for path, text in zip(paths, (accelerator_verilog(board), build_wrapper(board)), strict=True):
        path.write_text(text)

    run_yosys(YOSYS, tmp_path)
    root = verilator_root()
    command = [root / "bin" / "verilator_bin", "--lint-only", "-Wno-fatal", "--top-module", TOP]
    said = run_tool(
        [*command, "-v", Path(yosys.origin).parent / CELLS, *paths], environment={"VERILATOR_ROOT": str(root)}
    )
    found = {tuple(part) for part in re.findall(r"^%Warning-(\w+): \S*/(\w+)\.v:", said, re.M)}
    # In the wrapper every port is there and fits; one has a name that C++ does not like.
    assert {kind for kind, file in found if file == TOP} <= {"SYMRSVDWORD"}
    assert {kind for kind, file in found if file == INNER} <= NETLIST_WARNINGS


@pytest.mark.parametrize("name", BOARDS)
def test_committed_files_are_those_that_are_written(name):
    folder = BITSTREAMS / name
    for file, text in script_files(BOARDS[name]).items():
        assert (folder / file).read_text() == text, f"{folder / file} is old: run make overlays"
    built = json.loads((folder / "build.json").read_text())
    assert built["machine"] == f"0x{PRESETS[built['preset']].digest:08X}"
    assert built["register_map"] == f"0x{digest():08X}"


def test_handoff_of_vivado_is_compared(tmp_path):
    board = BOARDS["pynq_z2"]
    path = tmp_path / PRODUCTS[1]
    path.write_text("\ufeff" + build_hwh(board))
    check_hwh(path, board)
    for old, new, message in (
        ("0x43C00000", "0x43D00000", "addresses of accelerator_0 should be 0x43C00000..0x43C00FFF"),
        (":accelerator:1.0", ":accelerator:1.1", "VLNV should be"),
        ('"0x3C"', '"0x38"', "register WATCHDOG should be 0x3c, not 0x38"),
        ('NAME="BATCH"', 'NAME="ITEMS"', "register BATCH should be 0x34, not None"),
        ('PORT="interrupt"', 'PORT="other"', "listener of the interrupt should be axi_intc_0"),
    ):
        path.write_text(build_hwh(board).replace(old, new))
        with pytest.raises(TargetError, match=re.escape(message)):
            check_hwh(path, board)


def test_command_writes_files_and_stops_without_vivado(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr("weightstream_hw.boards.vivado.preset_verilog", lambda preset, target: "// none\n")
    folder = tmp_path / "overlay"
    shown = CliRunner().invoke(app, ["build", "--board", "kv260", "-o", str(folder)])
    assert shown.exit_code == 1
    assert "there is no vivado on PATH" in shown.stderr and "-source build.tcl" in shown.stderr
    listed = {line.rpartition("/")[2] for line in shown.stdout.split()}
    assert {path.name for path in folder.iterdir()} == listed
    quiet = ["build", "--board", "kv260", "-o", str(folder), "--files-only"]
    assert CliRunner().invoke(app, quiet).exit_code == 0
    with pytest.raises(TargetError, match="there is no board 'vck190'; try pynq_z2, pynq_z1, kv260, zcu104"):
        find_board("vck190")


def test_vivado_is_run_and_its_products_are_checked(tmp_path, monkeypatch):
    folder, tools = tmp_path / "overlay", tmp_path / "bin"
    folder.mkdir()
    tools.mkdir()
    vivado = tools / "vivado"
    vivado.write_text(f'#!/bin/sh\necho "$@" > arguments\ntouch {OVERLAY}.bit\ncp made.hwh {OVERLAY}.hwh\n')
    vivado.chmod(vivado.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    (folder / "made.hwh").write_text(build_hwh(BOARDS["zcu104"]))
    assert [path.name for path in run_vivado("zcu104", folder)] == list(PRODUCTS)
    assert "-mode batch" in (folder / "arguments").read_text()
    with pytest.raises(TargetError, match="addresses of axi_intc_0 should be 0x41800000"):
        run_vivado("pynq_z2", folder)
