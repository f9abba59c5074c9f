"""Float ONNX networks in: quantised as well as their bits allow, whatever form they are written in."""

import numpy as np
import pytest

from onnx_models import (
    B1,
    MNIST,
    W1,
    W2,
    X,
    assert_same_layers,
    infer,
    linears,
    make,
    mlp,
    mnist_excerpt,
    onnx,
    ort,
)
from weightstream.golden.network import run
from weightstream.ir.network import Softmax
from weightstream.ir.onnx_import import import_onnx
from weightstream.ir.values import finish


@pytest.mark.parametrize("per_channel", [True, False], ids=["channel", "tensor"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_levels_and_multipliers_keep_to_their_bits(bits, per_channel):
    network = import_onnx(mlp(), bits=bits, calibration=X, per_channel=per_channel)
    for node in linears(network):
        least = -1 if bits == 2 else -(1 << bits - 1)
        assert least <= node.weights.min() and node.weights.max() < 1 << bits - 1
        assert node.activation.multiplier.max() < 1 << 8
        assert (len(np.unique(node.weight_scale)) > 1) == per_channel
    assert (linears(network)[0].activation.low, linears(network)[0].activation.zero_point) == (0, 0)


def test_more_bits_lose_less():
    model = mlp()
    exact = infer(model, X)
    errors = []
    for bits in (2, 3, 4, 5, 6, 8):
        network = import_onnx(model, bits=bits, calibration=X)
        errors.append(float(np.mean((finish(network, run(network, X)) - exact) ** 2)))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4 * exact.var()


def test_input_of_images_keeps_its_levels():
    network = import_onnx(mlp(), calibration=np.arange(256 * 16).reshape(256, 16) % 256 / np.float32(255))
    source = network.tensors[0]
    assert (source.dtype, np.float32(source.scale), source.zero_point) == ("uint8", np.float32(1 / 255), 0)


def test_input_of_both_signs_gets_a_zero_point():
    network = import_onnx(mlp(), calibration=2 * X - 1)
    assert 120 <= network.tensors[0].zero_point <= 135
    assert np.abs(finish(network, run(network, 2 * X - 1)) - infer(mlp(), 2 * X - 1)).max() < 0.5


FORMS = {
    "columns first": (["Gemm x,wt,b -> g", "Relu g -> r", "Gemm r,vt -> y"], {}),
    "matmul, add": (["MatMul x,wt -> m", "Add m,b -> g", "Relu g -> r", "MatMul r,vt -> y"], {}),
    "add, bias first": (["MatMul x,wt -> m", "Add brow,m -> g", "Relu g -> r", "MatMul r,vt -> y"], {}),
    "transposed": (
        ["Transpose w -> u", "MatMul x,u -> m", "Add m,b -> g", "Relu g -> r", "MatMul r,vt -> y"],
        {},
    ),
    "identities": (
        ["Identity w -> u", "Identity x -> i", "Gemm i,u,b -> g; transB=1", "Dropout g -> d", "Relu d -> r"]
        + ["Gemm r,v -> y; transB=1"],
        {},
    ),
    "relu twice": (["Gemm x,wt,b -> g", "Relu g -> q", "Relu q -> r", "Gemm r,vt -> y"], {}),
    "softmax": (["Gemm x,wt,b -> g", "Relu g -> r", "Gemm r,vt -> z", "Softmax z -> y; axis=1"], {}),
    "flatten": (
        ["Flatten x -> f", "Gemm f,wt,b -> g", "Relu g -> r", "Gemm r,vt -> y"],
        {"shape": ("N", 1, 4, 4)},
    ),
    "reshape": (
        ["Reshape x,s -> f", "Gemm f,wt,b -> g", "Relu g -> r", "Gemm r,vt -> y"],
        {"shape": ("N", 4, 4)},
    ),
    "old": (["Gemm x,wt,b -> g", "Relu g -> r", "Gemm r,vt,zero -> y"], {"opset": 9}),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_network_import_alike(form):
    nodes, options = FORMS[form]
    constants = {"w": W1, "b": B1, "v": W2, "wt": W1.T, "vt": W2.T, "brow": B1[None], "zero": np.float32(0)}
    model = make(nodes, constants | {"s": np.array([0, -1])}, **options)
    shape = options.get("shape", ("N", 16))[1:]
    network = import_onnx(model, bits=5, calibration=X.reshape(-1, *shape))
    assert_same_layers(network, import_onnx(mlp(), bits=5, calibration=X))
    assert network.tensors[0].shape == shape
    assert (network.inputs, network.outputs) == (("x",), ("y",))
    assert isinstance(network.nodes[-1], Softmax) == (form == "softmax")


@pytest.mark.parametrize("shape", [[-1, 16], [0, 16], [8, -1], [8, 16], [0, -1], [0, 0, -1]], ids=str)
def test_reshape_that_keeps_a_fixed_batch(shape):
    nodes = ["Reshape x,s -> f", "Flatten f -> h", "Gemm h,w -> y; transB=1"]
    model = make(nodes, {"w": W1, "s": np.array(shape)}, shape=(8, 4, 4))
    assert linears(import_onnx(model, calibration=X[:8].reshape(8, 4, 4)))[0].geometry.columns == 16


def test_weights_that_are_quantised_alone_are_quantised_with_the_rest():
    levels = np.random.default_rng(4).integers(-7, 8, (12, 16)).astype(np.int8)
    nodes = ["DequantizeLinear q,s -> w; axis=0", "Gemm x,w -> y; transB=1"]
    network = import_onnx(
        make(nodes, {"q": levels, "s": np.full(12, 0.25, np.float32)}), bits=8, calibration=X
    )
    scale = linears(network)[0].weight_scale[:, None]
    assert np.abs(linears(network)[0].weights * scale - levels * 0.25).max() < scale.max()


def test_dead_rows_and_constant_inputs_import():
    weights = np.zeros((12, 16), np.float32)
    model = make(["Gemm x,w,b -> y; transB=1"], {"w": weights, "b": B1})
    network = import_onnx(model, calibration=np.zeros((3, 16)))
    np.testing.assert_allclose(finish(network, run(network, X))[0], B1, atol=0.02)


def test_names_are_those_of_the_graph():
    network = import_onnx(mlp(), calibration=X)
    assert [(node.name, node.input, node.output) for node in network.nodes] == [
        ("n_g", "x", "r"),
        ("n_y", "r", "y"),
    ]


def test_names_that_nodes_share_are_told_apart():
    model = mlp()
    for node in model.graph.node:
        node.name = "layer"
    assert [node.name for node in import_onnx(model, calibration=X).nodes] == ["layer", "y"]


def test_lenet_at_4_and_8_bits_loses_little():
    x, labels = mnist_excerpt()
    model = onnx.load(MNIST / "lenet-300-100.onnx")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    right = (session.run(None, {"image": x})[0].argmax(1) == labels).sum()
    for bits in (4, 8):
        network = import_onnx(model, bits=bits, calibration=x[:100])
        assert (run(network, x).argmax(1) == labels).sum() >= right - 3
