"""Each command does what its function does, and prints what users want to know."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import weightstream as ws
from command_line import NAMES, SHAPE, commands, float_network, onnx, run, succeed


@pytest.mark.parametrize("name", NAMES)
def test_help_teaches_by_an_example(name):
    assert f"Example: weightstream {name} " in succeed(name, "--help")


def test_help_lists_the_commands():
    text = succeed("--help")
    assert all(name in text for name in NAMES)


def test_version_is_printed():
    assert succeed("--version") == f"weightstream {ws.__version__}\n"


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_missing_extra_is_one_line_and_exit_2(package):
    code = f"import sys; sys.modules[{package!r}] = None; from weightstream.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr == 'the commands need: pip install "weightstream[cli]"\n'


# ---- compress, info ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {}),
        (("--bits", 3), {"bits": 3}),
        (("--per-tensor",), {"per_channel": False}),
        (("--lanes", 4, "--slots", 2), {"layout": ws.Layout(4, 2)}),
    ],
    ids=["plain", "bits", "per-tensor", "layout"],
)
def test_compress_writes_what_the_function_returns(folder, arguments, options):
    succeed("compress", "net.onnx", "-o", "out.ws", "--calibration", "x.npy", *arguments)
    expected = ws.compress("net.onnx", calibration=np.load("x.npy"), **options)
    assert Path("out.ws").read_bytes() == expected.to_bytes()
    assert not list(folder.glob("*.partial"))


def test_compress_prints_sizes_before_and_after(folder):
    text = succeed("compress", "net.onnx", "-o", "out.ws", "--bits", 4, "--calibration", "x.npy")
    for name in ("net.onnx", "out.ws"):
        assert f"{Path(name).stat().st_size:,}" in text
    assert "canonical order: saved" in text
    assert "bits a weight" in text


def test_info_json_is_the_report_and_nothing_else(folder):
    result = run("info", "net.ws", "--json")
    assert json.loads(result.stdout) == commands.file_report(ws.load("net.ws"))
    assert result.stderr == ""


def test_info_has_a_row_a_layer_and_totals(folder):
    report = commands.file_report(ws.load("net.ws"))
    lines = succeed("info", "net.ws").splitlines()
    rows = [line.split() for line in lines]
    for key, layer in (("fc1", report["layers"][0]), ("fc2", report["layers"][1]), ("total", report)):
        first = next(row for row in rows if row[:1] == [key])
        assert f"{layer['weights']:,}" in first
        assert f"{layer['coded_bits']:,}" in first
    assert any(line.startswith("canonical order: saved") for line in lines)
    assert f"{report['bits_per_weight']:.3f} bits a weight" in lines[-1]


def test_info_tells_what_the_host_runs(folder):
    float_network(folder / "soft.onnx", softmax=True)
    succeed("compress", "soft.onnx", "-o", "soft.ws", "--calibration", "x.npy")
    assert "softmax 'last': run by numpy on the host: no integer form of it is exact" in succeed(
        "info", "soft.ws"
    )


def test_info_shows_a_matrix_alone(folder):
    Path("matrix.ws").write_bytes(ws.encode_matrix(np.arange(-8, 8).reshape(4, 4), free_rows=False)[0])
    text = succeed("info", "matrix.ws")
    assert "(matrix)" in text
    assert "no rows were free" in text


def test_names_from_a_file_are_neither_markup_nor_control_codes(folder):
    float_network(folder / "odd.onnx", prefix="[red]\x1b[2J")
    succeed("compress", "odd.onnx", "-o", "odd.ws", "--calibration", "x.npy")
    text = succeed("info", "odd.ws")
    assert "[red]?[2J1" in text
    assert "\x1b" not in text


# ---- run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [0, 1, 64, 2500], ids=["none", "one", "some", "many-parts"])
@pytest.mark.parametrize("raw", [False, True], ids=["real", "raw"])
def test_run_writes_what_the_device_returns(folder, items, raw):
    x = np.resize(np.load("x.npy"), (items, SHAPE[0]))
    np.save("in.npy", x)
    succeed("run", "net.ws", "in.npy", "-o", "y.out", *["--raw"] * raw)
    y = np.load("y.out")
    expected = ws.open("numpy").run("net.ws", x, raw=raw)
    assert (y.dtype, y.shape) == (expected.dtype, (items, SHAPE[-1]))
    np.testing.assert_array_equal(y, expected)


def test_run_prints_the_first_outputs(folder):
    text = succeed("run", "net.ws", "x.npy", "--on", "numpy")
    y = ws.open("numpy").run("net.ws", np.load("x.npy"))
    rows = [line.split() for line in text.splitlines() if line.strip()]
    assert [int(row[1]) for row in rows if row[0].isdigit() and row[1].isdigit()] == y[:10].argmax(1).tolist()
    assert text.splitlines()[-1].startswith("64 inputs in ")


def test_run_may_replace_its_input(folder):
    expected = ws.open("numpy").run("net.ws", np.load("x.npy"))
    succeed("run", "net.ws", "x.npy", "-o", "x.npy")
    np.testing.assert_array_equal(np.load("x.npy"), expected)


# ---- relayout, export ----------------------------------------------------------------------------


def test_relayout_keeps_the_outputs(folder):
    text = succeed("relayout", "net.ws", "-o", "board.ws", "--lanes", 4, "--slots", 2)
    assert "4 x 2" in text
    assert ws.load("board.ws").layout == ws.Layout(4, 2)
    before, after = (ws.open("numpy").run(name, np.load("x.npy")) for name in ("net.ws", "board.ws"))
    np.testing.assert_array_equal(before, after)


def test_relayout_without_numbers_returns_to_an_archive(folder):
    succeed("relayout", "net.ws", "-o", "board.ws", "--lanes", 4, "--slots", 2)
    succeed("relayout", "board.ws", "-o", "again.ws")
    layouts = [coded.layout for coded in ws.load("again.ws").matrices().values()]
    assert layouts == [coded.layout for coded in ws.load("net.ws").matrices().values()]


def test_export_writes_a_valid_model(folder):
    assert f"{'again.onnx'}: " in succeed("export", "net.ws", "-o", "again.onnx")
    onnx.checker.check_model(onnx.load("again.onnx"))
