"""The ULX3S: its design, and the bitstream that is kept in the repository."""

import hashlib
import json
import re
from pathlib import Path

import pytest

import needs
from weightstream.errors import TargetError
from weightstream.spec import serial
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import digest
from weightstream_hw.boards import trellis, ulx3s
from weightstream_hw.tools import ToolError

needs.package("amaranth_boards")

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "bitstreams" / ulx3s.NAME


@pytest.fixture(scope="module")
def files():
    return trellis.design_files()


def report():
    return json.loads((KEPT / trellis.REPORT).read_text())


def test_pins_are_those_of_the_board(files):
    places = dict(re.findall(r'LOCATE COMP "(\w+)" SITE "(\w+)";', files[1]))
    assert places == {
        **{"clk25_0__io": "G2", "uart_0__rx__io": "M1", "uart_0__tx__io": "L4", "esp32_0__gpio0__io": "L2"},
        **{"led_0__io": "B2", "led_1__io": "C2", "led_2__io": "C1", "led_3__io": "D2"},
    }
    assert 'FREQUENCY PORT "clk25_0__io" 25000000.0 HZ;' in files[1]


def test_the_pll_stays_within_its_limits(files):
    (pll,) = re.findall(r"cell \\EHXPLLL .*?\n  *end\n", files[0], re.S)
    values = dict(re.findall(r"parameter (?:signed )?\\(\w+) 32'([01]+)\n", pll)) or dict(
        re.findall(r"parameter (?:signed )?\\(\w+) (\d+)\n", pll)
    )
    divide = {name: int(values[name], 2 if len(values[name]) == 32 else 10) for name in values}
    compared = 25 / divide["CLKI_DIV"]
    vco = compared * divide["CLKFB_DIV"] * divide["CLKOP_DIV"]
    assert 3.125 <= compared <= 400 and 400 <= vco <= 800
    assert vco / divide["CLKOS_DIV"] == ulx3s.CLOCK_HZ / 1e6


def test_the_kept_bitstream_is_the_one_of_its_report_and_of_this_version(files):
    kept = report()
    assert kept["design"] == trellis.design_digest(*files), (
        "build it again: weightstream-hw build --board ulx3s"
    )
    assert kept["sha256"] == hashlib.sha256((KEPT / trellis.BITSTREAM).read_bytes()).hexdigest()
    assert kept["register_map"] == f"0x{digest():08X}" and kept["protocol"] == serial.VERSION
    assert kept["machine_digest"] == f"0x{PRESETS[ulx3s.PRESET].digest:08X}"
    assert (kept["memory_bytes"], kept["baud"]) == (ulx3s.MEMORY_BYTES, ulx3s.BAUD)
    assert kept["clock_mhz"] == ulx3s.CLOCK_HZ / 1e6 <= kept["fmax_mhz"]


@pytest.mark.long
def test_building_again_makes_the_same_bytes(tmp_path):
    kept = report()
    bitstream, again = trellis.build_bitstream(tmp_path, seed=kept["seed"])
    assert json.loads(again.read_text()) == kept
    assert bitstream.read_bytes() == (KEPT / trellis.BITSTREAM).read_bytes()


def test_a_clock_that_is_missed_is_refused(monkeypatch, tmp_path):
    steps = [
        {
            "type": "routing",
            "delay": 20.0,
            "from": {"cell": "a", "port": "Q"},
            "to": {"cell": "b", "port": "D"},
        }
    ]
    missed = {
        "fmax": {"clock": {"achieved": 40.04}},
        "critical_paths": [{"from": "c", "to": "c", "path": steps}],
    }
    monkeypatch.setattr(trellis, "synthesise_rtlil", lambda *_, **__: ({}, ""))
    monkeypatch.setattr(trellis, "run_nextpnr", lambda *_: missed)
    monkeypatch.setattr(trellis, "design_files", lambda: ("", ""))
    text = r"^the design was routed for 40 MHz, its clock is 48 MHz: try another seed than 3\. a\.Q -> b\.D: "
    with pytest.raises(ToolError, match=text):
        trellis.build_bitstream(tmp_path / "out", seed=3)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(trellis.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        TargetError, match=r'^a bitstream needs amaranth_boards: pip install "weightstream\[synth\]"$'
    ):
        trellis.design_files()


def test_options_of_other_boards_are_refused():
    testing = needs.package("typer.testing")
    from weightstream_hw.cli import app

    for options in (["--files-only"], ["--preset", "tiny"]):
        result = testing.CliRunner().invoke(app, ["build", "--board", "ulx3s", *options])
        assert result.exit_code == 2 and "ulx3s takes neither" in result.stderr
