"""ONNX out: onnxruntime computes what the golden model does, and what was exported imports as it was."""

from dataclasses import replace

import numpy as np
import pytest

from onnx_models import MNIST, infer, mnist_excerpt, onnx
from weightstream.codec.matrix import Geometry, code_matrix
from weightstream.errors import NetworkError
from weightstream.golden.network import run
from weightstream.ir.network import Linear, Matrix, Network, Requantise, Softmax, Tensor, Thresholds
from weightstream.ir.onnx_export import export_onnx
from weightstream.ir.onnx_import import import_onnx
from weightstream.ir.quantise import FloatDense, quantise_network
from weightstream.ir.values import finish

# ---- helpers -------------------------------------------------------------------------------------


def infer_valid(model, x):
    """Return what onnxruntime makes of a model that passes the checker."""
    onnx.checker.check_model(model, full_check=True)
    return infer(model, x)


def assert_same(one, other):
    """Check that two networks compute the same in the same way, under the same names."""
    assert (one.inputs, one.outputs) == (other.inputs, other.outputs)
    assert one.tensors == other.tensors
    for a, b in zip(one.nodes, other.nodes, strict=True):
        assert (type(a), a.name, a.input, a.output) == (type(b), b.name, b.input, b.output)
        if isinstance(a, Linear):
            assert np.array_equal(a.weights, b.weights)
            for field in ("bias", "multiplier", "shift", "zero_point", "low", "high", "rounding"):
                assert np.array_equal(getattr(a.activation, field), getattr(b.activation, field)), field


def small(bits=6, per_channel=True, shape=(16,)):
    """Return a quantised network of three layers, and inputs of it."""
    rng = np.random.default_rng(0)
    x = (2 * rng.random((500, *shape)) - 0.7).astype(np.float32)
    sizes = (16, 12, 8, 5)
    layers = [
        FloatDense(
            name=f"fc{i}",
            output=f"t{i}",
            weights=rng.normal(size=(rows, columns)).astype(np.float32),
            bias=rng.normal(size=rows).astype(np.float32),
            relu=i == 1,
        )
        for i, (columns, rows) in enumerate(zip(sizes, sizes[1:], strict=False), 1)
    ]
    network = quantise_network("x", shape, layers, bits=bits, calibration=x, per_channel=per_channel)
    return network, x


def with_activation(network, index, **fields):
    """Return a network with fields of a layer's activation changed."""
    nodes = list(network.nodes)
    nodes[index] = replace(nodes[index], activation=replace(nodes[index].activation, **fields))
    return replace(network, nodes=tuple(nodes))


# ---- networks with requantisers ------------------------------------------------------------------


@pytest.mark.parametrize("per_channel", [True, False], ids=["channel", "tensor"])
@pytest.mark.parametrize("bits", range(2, 8))
def test_export_computes_the_same_and_imports_as_it_was(bits, per_channel):
    network, x = small(bits, per_channel)
    model = export_onnx(network)
    assert np.array_equal(infer_valid(model, x), finish(network, run(network, x)))
    assert_same(import_onnx(model), network)


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_lenet_computes_the_same(bits):
    x, _ = mnist_excerpt()
    network = import_onnx(MNIST / "lenet-300-100.onnx", bits=bits, calibration=x[:200])
    model = export_onnx(network)
    assert np.array_equal(infer_valid(model, x), finish(network, run(network, x)))
    assert_same(import_onnx(model), network)


def test_ternary_lenet_is_the_same_file_in_other_words():
    x, _ = mnist_excerpt()
    source = onnx.load(MNIST / "lenet-300-100-ternary.onnx")
    network = import_onnx(source)
    model = export_onnx(network)
    assert np.array_equal(
        infer_valid(model, x), infer_valid(onnx.load(MNIST / "lenet-300-100-ternary.onnx"), x)
    )
    assert_same(import_onnx(model), network)
    assert all(np.isin(node.weights, (-1, 0, 1)).all() for node in import_onnx(model).nodes)


def test_layers_with_relu_stay_integer_in_onnxruntime():
    network, x = small()
    network = with_activation(network, 1, low=network.tensors[2].zero_point)
    assert network.tensors[2].zero_point > 0
    model = export_onnx(network)
    assert [node.op_type for node in model.graph.node].count("Relu") == 1
    assert np.array_equal(infer_valid(model, x), finish(network, run(network, x)))
    assert_same(import_onnx(model), network)


def test_other_limits_become_a_clip():
    network, x = small()
    network = with_activation(network, 1, low=90, high=150)
    model = export_onnx(network)
    assert [node.op_type for node in model.graph.node].count("Clip") == 1
    assert np.array_equal(infer_valid(model, x), finish(network, run(network, x)))
    assert_same(import_onnx(model), network)


def test_image_input_and_softmax_are_kept():
    network, x = small(shape=(1, 4, 4))
    output = Tensor(name="y", shape=(5,), dtype="float32")
    network = Network(
        tensors=(*network.tensors, output),
        nodes=(*network.nodes, Softmax(name="softmax", input="t3", output="y")),
        inputs=("x",),
        outputs=("y",),
    )
    model = export_onnx(network)
    np.testing.assert_allclose(infer_valid(model, x), finish(network, run(network, x)), rtol=1e-5, atol=1e-7)
    assert_same(import_onnx(model), network)


def test_weights_are_decoded(monkeypatch):
    monkeypatch.setenv("WEIGHTSTREAM_CODEC", "numpy")
    network, _ = small()
    nodes = []
    for node in network.nodes:
        coded, _ = code_matrix(node.weights, node.geometry, free_rows=False)
        nodes.append(replace(node, weights=None, coded=coded))
    assert export_onnx(replace(network, nodes=tuple(nodes))) == export_onnx(network)


def test_names_that_meet_those_of_the_export_are_kept_apart():
    network, x = small()
    names = {"x": "fc1.weight", "t1": "fc1.weight.q", "t2": "fc1.weight.scale", "t3": "fc1.out"}
    renamed = Network(
        tensors=tuple(replace(tensor, name=names[tensor.name]) for tensor in network.tensors),
        nodes=tuple(
            replace(node, input=names[node.input], output=names[node.output]) for node in network.nodes
        ),
        inputs=("fc1.weight",),
        outputs=("fc1.out",),
    )
    model = export_onnx(renamed)
    assert np.array_equal(infer_valid(model, x), finish(network, run(network, x)))
    assert_same(import_onnx(model), renamed)


# ---- networks with thresholds --------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "step", "base"), [("uint8", 1, 0), ("int8", 1, -2), ("int8", -1, 1)])
def test_thresholds_compute_the_same(dtype, step, base):
    network, x = small(bits=4)
    rng = np.random.default_rng(1)
    hidden = Thresholds(
        values=np.sort(rng.integers(-4000, 4000, (12, 3)), axis=1).astype(np.int32), base=base, step=step
    )
    last = Thresholds(
        values=np.sort(rng.integers(-9, 9, (8, 2)), axis=1).astype(np.int32), base=base, step=step
    )
    network = Network(
        tensors=(
            network.tensors[0],
            Tensor(name="t1", shape=(12,), dtype=dtype),
            Tensor(name="t2", shape=(8,), dtype=dtype, scale=0.25),
        ),
        nodes=(replace(network.nodes[0], activation=hidden), replace(network.nodes[1], activation=last)),
        inputs=("x",),
        outputs=("t2",),
    )
    expected = finish(network, run(network, x))
    assert len(np.unique(expected)) == 3
    assert np.array_equal(infer_valid(export_onnx(network), x), expected)


# ---- what is refused -----------------------------------------------------------------------------


def with_first(network, **fields):
    """Return a network with fields of its first layer changed."""
    return replace(network, nodes=(replace(network.nodes[0], **fields), *network.nodes[1:]))


def with_axes(network):
    tensors = (network.tensors[0], replace(network.tensors[1], shape=(3, 2, 2)), *network.tensors[2:])
    return replace(network, tensors=tensors)


def with_matrix(network):
    coded, _ = code_matrix(np.zeros((2, 2), np.int8), Geometry(rows=2, channels=2))
    return replace(network, nodes=(*network.nodes, Matrix(name="fc4", coded=coded)))


REFUSED = {
    "rounding": (
        lambda network: with_activation(network, 0, rounding="up"),
        "'fc1' cannot be exported: it rounds halves up, ONNX to even",
    ),
    "bias": (
        lambda network: with_activation(network, 0, bias=np.full(12, -(1 << 31), np.int32)),
        "'fc1' cannot be exported: its biases must fit int32 without the input's zero point",
    ),
    "kernel": (
        lambda network: with_first(network, geometry=Geometry(rows=12, channels=4, kernel=(2, 2))),
        "'fc1' cannot be exported: only dense layers and softmax can",
    ),
    "weights": (
        lambda network: with_first(network, weights=np.full((12, 16), 200, np.int16)),
        "'fc1' cannot be exported: its weights must be int8",
    ),
    "axes": (with_axes, "'fc1' cannot be exported: its output must have one axis, not 3"),
    "matrix": (with_matrix, "'fc4' cannot be exported: only dense layers and softmax can"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_onnx_has_no_expression_for_is_named(change, message, monkeypatch):
    monkeypatch.setenv("WEIGHTSTREAM_CODEC", "numpy")
    network = change(small()[0])
    with pytest.raises(NetworkError, match=f"^node {message}$"):
        export_onnx(network)


def test_multipliers_without_weight_scale_are_named():
    # In float32, (1 + 2**-23) * x steps over some values.
    activation = Requantise(
        bias=np.zeros(200, np.int32),
        multiplier=np.arange((1 << 24) - 200, 1 << 24, dtype=np.int32),
        shift=np.full(200, 30, np.uint8),
        zero_point=0,
        low=0,
        high=255,
    )
    node = Linear(
        name="fc",
        input="x",
        output="y",
        geometry=Geometry(rows=200, channels=1),
        activation=activation,
        weights=np.ones((200, 1), np.int8),
    )
    network = Network(
        tensors=(Tensor(name="x", shape=(1,), scale=1.9), Tensor(name="y", shape=(200,))),
        nodes=(node,),
        inputs=("x",),
        outputs=("y",),
    )
    message = r"^node 'fc' cannot be exported: no float32 weight scale gives its multipliers$"
    with pytest.raises(NetworkError, match=message):
        export_onnx(network)
