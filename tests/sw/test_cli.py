"""The commands, from their arguments to their exit codes."""

import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import weightstream as ws

pytest.importorskip("typer")
pytest.importorskip("rich")
onnx = pytest.importorskip("onnx")
testing = pytest.importorskip("typer.testing")
commands = pytest.importorskip("weightstream.cli.app")

MNIST = Path(__file__).resolve().parents[2] / "examples" / "mnist"
NAMES = ("compress", "info", "run", "verify", "selftest", "relayout", "export")
SHAPE = (20, 12, 5)


def run(*arguments: object):
    """Run a command as the shell would."""
    return testing.CliRunner().invoke(commands.app, [str(a) for a in arguments], prog_name="weightstream")


def succeed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def fail(*arguments: object) -> str:
    """Run a command that must end as every foreseeable error does; return its one line."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def float_network(path: Path, seed: int = 1, prefix: str = "fc", softmax: bool = False) -> Path:
    """Write a dense network of two layers."""
    rng = np.random.default_rng(seed)
    nodes, constants, value = [], [], "x"
    for i, (columns, rows) in enumerate(zip(SHAPE, SHAPE[1:], strict=False), 1):
        for name, shape in ((f"w{i}", (rows, columns)), (f"b{i}", (rows,))):
            values = rng.normal(0, 0.3, shape).astype(np.float32)
            constants.append(onnx.numpy_helper.from_array(values, name))
        inputs = [value, f"w{i}", f"b{i}"]
        nodes.append(onnx.helper.make_node("Gemm", inputs, [f"s{i}"], name=f"{prefix}{i}", transB=1))
        value = f"s{i}"
        if i == 1:
            nodes.append(onnx.helper.make_node("Relu", [value], ["h"]))
            value = "h"
    if softmax:
        nodes.append(onnx.helper.make_node("Softmax", [value], ["p"], name="last"))
        value = "p"
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])
        for name, size in (("x", SHAPE[0]), (value, SHAPE[-1]))
    ]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return a folder to work in, with a network, inputs and a compressed network."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(2).normal(0, 1, (64, SHAPE[0])).astype(np.float32)
    np.save("x.npy", x)
    float_network(tmp_path / "net.onnx")
    ws.compress("net.onnx", bits=4, calibration=x).save("net.ws")
    return tmp_path


# ---- help ----------------------------------------------------------------------------------------


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


# ---- verify --------------------------------------------------------------------------------------


def test_verify_decodes_by_both_decoders(folder):
    text = succeed("verify", "net.ws")
    assert "2 layers, 300 weights: decoded by the fast and the golden decoder alike" in text
    assert "equals the golden model on 8 random inputs" in text


def test_verify_fast_leaves_the_golden_decoder_out(folder, monkeypatch):
    monkeypatch.delattr("weightstream.cli.checks.decode_weights")
    assert "300 weights: decoded by the fast decoder" in succeed("verify", "net.ws", "--fast")


def test_verify_takes_a_matrix_alone(folder):
    Path("matrix.ws").write_bytes(ws.encode_matrix(np.arange(-8, 8).reshape(4, 4))[0])
    assert "the file holds no network" in succeed("verify", "matrix.ws")


def test_verify_finds_decoders_that_differ(folder, monkeypatch):
    monkeypatch.setattr("weightstream.cli.checks.decode_weights", lambda coded: coded.weights() + 1)
    expected = "error: layer 'fc1': the fast decoder and the golden model differ"
    assert fail("verify", "net.ws") == expected


def test_verify_finds_inference_that_differs(folder, monkeypatch):
    monkeypatch.setattr("weightstream.cli.checks.run_golden", lambda network, x, decode: np.zeros(1))
    assert fail("verify", "net.ws") == "error: fast inference from the streams and the golden model differ"


def test_verify_finds_a_flipped_bit(folder):
    data = bytearray(Path("net.ws").read_bytes())
    data[len(data) // 2] ^= 4
    Path("bad.ws").write_bytes(data)
    assert fail("verify", "bad.ws") == "error: the file is corrupt: its CRC does not fit"


def test_verify_against_the_exported_network_finds_no_difference(folder):
    pytest.importorskip("onnxruntime")
    succeed("export", "net.ws", "-o", "again.onnx")
    text = succeed("verify", "net.ws", "--against", "again.onnx", "x.npy")
    assert "64 (100.00%)" in text
    assert "0 steps of " in text


def test_verify_against_takes_raw_inputs(folder):
    pytest.importorskip("onnxruntime")
    model = ws.load("net.ws")
    source = model.network.tensor("x")
    np.save("raw.npy", np.random.default_rng(3).integers(source.low, source.high + 1, (64, SHAPE[0])))
    succeed("export", "net.ws", "-o", "again.onnx")
    assert "64 (100.00%)" in succeed("verify", "net.ws", "--against", "again.onnx", "raw.npy")


def test_verify_against_fills_up_fixed_batches(folder):
    pytest.importorskip("onnxruntime")
    succeed("export", "net.ws", "-o", "again.onnx")
    model = onnx.load("again.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 24
    onnx.save(model, "fixed.onnx")
    assert "64 (100.00%)" in succeed("verify", "net.ws", "--against", "fixed.onnx", "x.npy")


def test_verify_against_compares_behind_a_softmax(folder):
    pytest.importorskip("onnxruntime")
    float_network(folder / "soft.onnx", softmax=True)
    succeed("compress", "soft.onnx", "-o", "soft.ws", "--calibration", "x.npy")
    succeed("export", "soft.ws", "-o", "again.onnx")
    assert "64 (100.00%)" in succeed("verify", "soft.ws", "--against", "again.onnx", "x.npy")


def test_verify_against_another_network_exits_with_1(folder):
    pytest.importorskip("onnxruntime")
    float_network(folder / "other.onnx", seed=9)
    result = run("verify", "net.ws", "--against", "other.onnx", "x.npy")
    assert result.exit_code == 1
    assert "largest difference" in result.stdout
    assert result.stderr.startswith("error: the predictions for ")


@pytest.mark.parametrize(
    ("reference", "inputs", "message"),
    [
        ("x.npy", "x.npy", "onnxruntime cannot run x.npy on these inputs: "),
        ("missing.onnx", "x.npy", "onnxruntime cannot run missing.onnx on these inputs: "),
        ("net.onnx", "none.npy", "there is nothing to compare: the batch is empty"),
    ],
    ids=["no-model", "missing", "no-inputs"],
)
def test_verify_refuses_references_that_do_not_run(folder, reference, inputs, message):
    pytest.importorskip("onnxruntime")
    np.save("none.npy", np.zeros((0, SHAPE[0]), np.float32))
    assert fail("verify", "net.ws", "--against", reference, inputs).startswith(f"error: {message}")


def test_verify_accepts_the_mnist_network(tmp_path):
    pytest.importorskip("onnxruntime")
    images = np.load(MNIST / "mnist-test-1000.npz")["images"]
    np.save(tmp_path / "x.npy", images.reshape(1000, 784).astype(np.float32) / 255)
    source, out = MNIST / "lenet-300-100-ternary.onnx", tmp_path / "net.ws"
    succeed("compress", source, "-o", out)
    text = succeed("verify", out, "--fast", "--against", source, tmp_path / "x.npy")
    assert "1,000 (100.00%)" in text


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


# ---- errors --------------------------------------------------------------------------------------

COMPRESS = ("compress", "net.onnx", "-o", "out.ws")
RUN = ("run", "net.ws", "x.npy", "-o", "y.npy")
ERRORS = {
    "lanes-alone": (
        (*COMPRESS, "--calibration", "x.npy", "--lanes", 4),
        "--lanes needs --slots too, as in: --lanes 16 --slots 8",
    ),
    "slots-alone": (
        ("relayout", "net.ws", "-o", "out.ws", "--slots", 4),
        "--slots needs --lanes too, as in: --lanes 16 --slots 8",
    ),
    "lanes-beyond": (
        ("relayout", "net.ws", "-o", "out.ws", "--lanes", 100, "--slots", 4),
        "lanes must be in [1, 64], not 100",
    ),
    "no-calibration": (COMPRESS, ""),
    "calibration-shape": ((*COMPRESS, "--calibration", "wrong.npy"), ""),
    "calibration-nan": ((*COMPRESS, "--calibration", "nan.npy"), ""),
    "no-onnx": (("compress", "x.npy", "-o", "out.ws"), "not a valid ONNX model: "),
    "network-missing": (("compress", "missing.onnx", "-o", "out.ws"), ""),
    "file-missing": (("info", "missing.ws"), "cannot read missing.ws: No such file or directory"),
    "file-folder": (("info", "."), "cannot read .: it is no regular file"),
    "file-other": (("info", "x.npy"), "not a weightstream file: it begins with "),
    "file-empty": (("info", "empty"), "a file of 0 bytes is too short for a weightstream file"),
    "target-unknown": ((*RUN, "--on", "fpga"), "target must be "),
    "inputs-missing": (
        ("run", "net.ws", "missing.npy"),
        "cannot read missing.npy: No such file or directory",
    ),
    "inputs-folder": (("run", "net.ws", "."), "cannot read .: Is a directory"),
    "inputs-empty": (("run", "net.ws", "empty"), "empty is no .npy file of one array of numbers: "),
    "inputs-text": (("run", "net.ws", "text"), "text is no .npy file of one array of numbers: "),
    "inputs-cut": (("run", "net.ws", "cut.npy"), "cut.npy is no .npy file of one array of numbers: "),
    "inputs-lie": (("run", "net.ws", "lie.npy"), "lie.npy is no .npy file of one array of numbers: "),
    "inputs-several": (("run", "net.ws", "x.npz"), "x.npz is no .npy file of one array of numbers: "),
    "inputs-strings": (("run", "net.ws", "strings.npy"), "input 'x' must be integers or floats, not <U1"),
    "inputs-number": (("run", "net.ws", "number.npy"), "the inputs must be a batch, not a single number"),
    "inputs-shape": (("run", "net.ws", "wrong.npy"), "input 'x' must be of shape (batch, 20), not (64, 7)"),
    "inputs-nan": (("run", "net.ws", "nan.npy"), "input 'x' must be finite, but holds NaN"),
    "matrix-run": (("run", "matrix.ws", "x.npy"), "a network that can run has one input, not 0"),
    "matrix-export": (("export", "matrix.ws", "-o", "y"), "a network that can run has one input, not 0"),
    "out-no-folder": (("relayout", "net.ws", "-o", "no/y"), "cannot write no/y: No such file or directory"),
    "out-folder": (("relayout", "net.ws", "-o", "."), "cannot write .: Is a directory"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_line_and_exit_code_1(folder, name):
    x = np.load("x.npy")
    np.save("wrong.npy", x[:, :7])
    np.save("nan.npy", np.full_like(x, np.nan))
    np.save("strings.npy", np.full(x.shape, "a"))
    np.save("number.npy", np.float32(1))
    np.savez("x.npz", x=x)
    Path("empty").write_bytes(b"")
    Path("text").write_text("1 2 3\n" * 20)
    Path("cut.npy").write_bytes(Path("x.npy").read_bytes()[:-9])
    # The header still has the same length, so that only its shape is wrong.
    Path("lie.npy").write_bytes(
        Path("x.npy").read_bytes().replace(b"(64, 20), }        ", b"(1" + b"0" * 9 + b", 20), }")
    )
    Path("matrix.ws").write_bytes(ws.encode_matrix(np.eye(4, dtype=int))[0])
    arguments, message = ERRORS[name]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert fail(*arguments).startswith(f"error: {message}")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_pickled_inputs_are_refused_and_not_run(folder):
    class Trap:
        def __reduce__(self):
            return Path.touch, (folder / "trapped",)

    Path("pickle.npy").write_bytes(pickle.dumps(Trap()))
    np.save("objects.npy", np.array([Trap()], object), allow_pickle=True)
    for name in ("pickle.npy", "objects.npy"):
        assert fail("run", "net.ws", name).startswith(
            f"error: {name} is no .npy file of one array of numbers: "
        )
    assert not Path("trapped").exists()


def test_an_error_of_several_lines_becomes_one(folder, monkeypatch):
    def load(path):
        raise ws.FormatError("first\n  second\x1b[2J")

    monkeypatch.setattr(commands, "load", load)
    assert fail("info", "net.ws") == "error: first second?[2J"


def test_a_failed_write_leaves_the_old_file(folder, monkeypatch):
    def replace(path, target):
        raise OSError(28, "No space left on device")

    before = Path("net.ws").read_bytes()
    monkeypatch.setattr(Path, "replace", replace)
    line = fail("relayout", "net.ws", "-o", "net.ws", "--lanes", 2, "--slots", 1)
    assert line == "error: cannot write net.ws: No space left on device"
    assert Path("net.ws").read_bytes() == before
    assert not list(folder.glob("*.partial"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_not_replaced(folder):
    os.mkfifo("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()), daemon=True)
    reader.start()
    succeed("relayout", "net.ws", "-o", "pipe")
    reader.join(10)
    assert ws.model.from_bytes(read[0]).matrices().keys() == {"fc1", "fc2"}
    assert Path("pipe").is_fifo()
