"""Quantised ONNX networks in: outputs are those of onnxruntime, bit for bit."""

import numpy as np
import pytest

from onnx_models import (
    B1,
    INT8,
    MNIST,
    W1,
    X,
    infer,
    linears,
    make,
    mnist_excerpt,
    ort,
    quantised,
)
from weightstream.errors import InputError
from weightstream.golden.network import run
from weightstream.ir.onnx_import import import_onnx
from weightstream.ir.values import finish

QUANTISED = {
    "qdq": {"form": "qdq"},
    "per tensor": {"form": "qdq", "per_channel": False},
    "int8": {"form": "qdq", "activations": "int8"},
    "uint8 weights": {"form": "qdq", "weights": "uint8"},
    "no bias": {"form": "qdq", "bias": ""},
    "float bias": {"form": "qdq", "bias": "float"},
    "relu": {"form": "qdq", "relu": "real", "zero": 0},
    "relu, zero point": {"form": "qdq", "relu": "real", "zero": 40},
    "relu between quantisers": {"form": "qdq", "relu": "between", "activations": "int8", "zero": 7},
    "clip": {"form": "qdq", "relu": "clip"},
    "qgemm": {"form": "qgemm"},
    "qgemm int8 per tensor": {"form": "qgemm", "activations": "int8", "per_channel": False},
    "qgemm relu": {"form": "qgemm", "relu": "between"},
    "qlinear": {"form": "qlinear"},
    "qlinear uint8 weights": {"form": "qlinear", "weights": "uint8", "per_channel": False},
}


@pytest.mark.parametrize("options", QUANTISED.values(), ids=QUANTISED.keys())
def test_quantised_networks_compute_what_onnxruntime_does(options):
    model = quantised(**options)
    x = (4 * np.random.default_rng(2).random((2000, 16)) - 2).astype(np.float32)
    network = import_onnx(model)
    expected = infer(model, x)
    assert np.array_equal(finish(network, run(network, x)), expected)
    assert len(np.unique(expected)) > 20


def test_committed_ternary_network_is_taken_exactly():
    x, labels = mnist_excerpt()
    path = MNIST / "lenet-300-100-ternary.onnx"
    network = import_onnx(path)
    assert all(np.isin(node.weights, (-1, 0, 1)).all() for node in linears(network))
    (expected,) = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": x})
    raw = run(network, x)
    assert np.array_equal(finish(network, raw), expected)
    assert (raw.argmax(1) == labels).mean() > 0.97


def test_integers_may_come_in_and_go_out():
    rng = np.random.default_rng(5)
    constants = {
        "s": np.float32(0.5),
        "z": np.int8(-3),
        "w": rng.integers(-9, 9, (12, 16)).astype(np.int8),
        "ws": np.float32(0.1),
        "wz": np.int8(0),
        "ys": np.float32(np.pi / 2),
    }
    nodes = ["QGemm x,s,z,w,ws,wz,,ys,z -> y; transB=1"]
    network = import_onnx(make(nodes, constants, dtype=INT8, output=INT8))
    x = rng.integers(-128, 128, (50, 16)).astype(np.int8)
    assert (network.tensors[0].dtype, network.tensors[1].dtype) == ("int8", "int8")
    assert np.array_equal(run(network, x), infer(make(nodes, constants, dtype=INT8, output=INT8), x))


def test_output_without_quantiser_needs_calibration():
    constants = {"s": np.float32(1 / 255), "z": np.uint8(0), "w": np.sign(W1).astype(np.int8), "b": B1}
    nodes = ["QuantizeLinear x,s,z -> q", "DequantizeLinear q,s,z -> d", "DequantizeLinear w,ws -> v"]
    model = make(
        [*nodes, "Gemm d,v,b -> g; transB=1", "Softmax g -> y"], constants | {"ws": np.float32(0.25)}
    )
    with pytest.raises(InputError, match=r"^node 'n_g' \(Gemm\) leaves the output unquantised: calibration"):
        import_onnx(model)
    network = import_onnx(model, calibration=X)
    assert (network.nodes[0].output, network.outputs) == ("g", ("y",))
    np.testing.assert_allclose(finish(network, run(network, X)), infer(model, X), atol=0.01)


def test_effective_scale_beyond_the_shift_is_rounded():
    constants = {"s": np.float32(1), "z": np.uint8(0), "w": W1.astype(np.int8), "ws": np.float32(1e-25)}
    nodes = ["QuantizeLinear x,s,z -> q", "DequantizeLinear q,s,z -> d", "DequantizeLinear w,ws -> v"]
    model = make(
        [*nodes, "Gemm d,v -> g; transB=1", "QuantizeLinear g,s,z -> k", "DequantizeLinear k,s,z -> y"],
        constants,
    )
    activation = linears(import_onnx(model))[0].activation
    assert (set(activation.multiplier), set(activation.shift)) == ({1}, {47})
    assert not run(import_onnx(model), X).any()
