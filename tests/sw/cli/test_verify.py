"""What `verify` compares, and that it finds what differs."""

from pathlib import Path

import numpy as np
import pytest

import needs
import weightstream as ws
from command_line import SHAPE, fail, float_network, onnx, run, succeed

MNIST = Path(__file__).resolve().parents[3] / "examples" / "mnist"


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
    needs.package("onnxruntime")
    succeed("export", "net.ws", "-o", "again.onnx")
    text = succeed("verify", "net.ws", "--against", "again.onnx", "x.npy")
    assert "64 (100.00%)" in text
    assert "0 steps of " in text


def test_verify_against_takes_raw_inputs(folder):
    needs.package("onnxruntime")
    model = ws.load("net.ws")
    source = model.network.tensor("x")
    np.save("raw.npy", np.random.default_rng(3).integers(source.low, source.high + 1, (64, SHAPE[0])))
    succeed("export", "net.ws", "-o", "again.onnx")
    assert "64 (100.00%)" in succeed("verify", "net.ws", "--against", "again.onnx", "raw.npy")


def test_verify_against_fills_up_fixed_batches(folder):
    needs.package("onnxruntime")
    succeed("export", "net.ws", "-o", "again.onnx")
    model = onnx.load("again.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 24
    onnx.save(model, "fixed.onnx")
    assert "64 (100.00%)" in succeed("verify", "net.ws", "--against", "fixed.onnx", "x.npy")


def test_verify_against_compares_behind_a_softmax(folder):
    needs.package("onnxruntime")
    float_network(folder / "soft.onnx", softmax=True)
    succeed("compress", "soft.onnx", "-o", "soft.ws", "--calibration", "x.npy")
    succeed("export", "soft.ws", "-o", "again.onnx")
    assert "64 (100.00%)" in succeed("verify", "soft.ws", "--against", "again.onnx", "x.npy")


def test_verify_against_another_network_exits_with_1(folder):
    needs.package("onnxruntime")
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
    needs.package("onnxruntime")
    np.save("none.npy", np.zeros((0, SHAPE[0]), np.float32))
    assert fail("verify", "net.ws", "--against", reference, inputs).startswith(f"error: {message}")


def test_verify_accepts_the_mnist_network(tmp_path):
    needs.package("onnxruntime")
    images = np.load(MNIST / "mnist-test-1000.npz")["images"]
    np.save(tmp_path / "x.npy", images.reshape(1000, 784).astype(np.float32) / 255)
    source, out = MNIST / "lenet-300-100-ternary.onnx", tmp_path / "net.ws"
    succeed("compress", source, "-o", out)
    text = succeed("verify", out, "--fast", "--against", source, tmp_path / "x.npy")
    assert "1,000 (100.00%)" in text
