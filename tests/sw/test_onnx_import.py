"""ONNX in: what is supported is imported exactly or as well as its bits allow, all else is named."""

from pathlib import Path

import numpy as np
import pytest

from weightstream.errors import InputError, NetworkError
from weightstream.golden.network import run
from weightstream.ir.network import Linear, Softmax
from weightstream.ir.onnx_import import import_onnx
from weightstream.ir.values import finish

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

MNIST = Path(__file__).resolve().parents[2] / "examples" / "mnist"
FLOAT, UINT8, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT8

RNG = np.random.default_rng(0)
W1 = RNG.normal(size=(12, 16)).astype(np.float32)
B1 = RNG.normal(size=12).astype(np.float32)
W2 = RNG.normal(size=(5, 12)).astype(np.float32)
X = RNG.random((200, 16), np.float32)


# ---- helpers -------------------------------------------------------------------------------------


def make(nodes, constants=None, shape=("N", 16), dtype=FLOAT, output=FLOAT, opset=17):
    """Return a model from ``op input,input -> output key=value`` lines; its input is x, its output y."""
    protos = []
    for text in nodes:
        (call, result), attributes = text.split(";")[0].split("->"), text.partition(";")[2]
        op, _, inputs = call.strip().partition(" ")
        domain = "com.microsoft" if op == "QGemm" else ""
        names = [name.strip() for name in inputs.split(",")]
        node = onnx.helper.make_node(op, names, [result.strip()], f"n_{result.strip()}", domain=domain)
        for item in attributes.split():
            key, value = item.split("=")
            node.attribute.append(
                onnx.helper.make_attribute(key, float(value) if "." in value else int(value))
            )
        protos.append(node)
    graph = onnx.helper.make_graph(
        protos,
        "test",
        [onnx.helper.make_tensor_value_info("x", dtype, shape)],
        [onnx.helper.make_tensor_value_info("y", output, ("N", "M"))],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    opsets = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets)


def mlp(**kwargs):
    """Return a float network of two layers."""
    nodes = ["Gemm x,w,b -> g; transB=1", "Relu g -> r", "Gemm r,v -> y; transB=1"]
    return make(nodes, {"w": W1, "b": B1, "v": W2}, **kwargs)


def infer(model, x):
    """Return what onnxruntime makes of a model."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def linears(network):
    return [node for node in network.nodes if isinstance(node, Linear)]


def assert_same_layers(one, other):
    for a, b in zip(linears(one), linears(other), strict=True):
        assert np.array_equal(a.weights, b.weights)
        assert np.array_equal(a.activation.bias, b.activation.bias)
        assert np.array_equal(a.activation.multiplier, b.activation.multiplier)
        assert np.array_equal(a.activation.shift, b.activation.shift)
        assert (a.activation.low, a.activation.high) == (b.activation.low, b.activation.high)


def mnist_excerpt():
    with np.load(MNIST / "mnist-test-1000.npz") as arrays:
        return arrays["images"].reshape(1000, 784).astype(np.float32) / np.float32(255), arrays["labels"]


# ---- float networks ------------------------------------------------------------------------------


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
    levels = RNG.integers(-7, 8, (12, 16)).astype(np.int8)
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


# ---- quantised networks --------------------------------------------------------------------------


def quantised(
    form, *, activations="uint8", weights="int8", per_channel=True, bias="int32", relu="", zero=None
):
    """Return a quantised network of two layers in a form: qdq, qgemm or qlinear, and its constants."""
    rng = np.random.default_rng(1)
    signed = activations == "int8"
    zero = (0 if signed else 128) if zero is None else zero
    constants = {"s": np.float32(0.01), "z": np.array(zero, activations)}
    nodes = ["QuantizeLinear x,s,z -> x.q"]
    current = "x.q"
    for i, (rows, columns) in enumerate(((12, 16), (5, 12)), 1):
        # Small enough for processors that add pairs of products in 16 bits.
        levels = rng.integers(-60, 61, (rows, columns))
        offset = rng.integers(-3, 4, rows if per_channel else 1) + (128 if weights == "uint8" else 0)
        scale = (rng.random(rows if per_channel else 1) / 100 + 0.002).astype(np.float32)
        if weights == "int8":
            offset[:] = 0
        columns_first = form == "qlinear"
        stored = (levels + offset[:, None]).astype(weights)
        squeeze = (lambda a: a) if per_channel else (lambda a: a[0])
        constants |= {
            f"w{i}.q": stored.T if columns_first else stored,
            f"w{i}.s": squeeze(scale),
            f"w{i}.z": squeeze(offset.astype(weights)),
            f"b{i}.q": rng.integers(-3000, 3000, rows).astype(np.int32),
            f"b{i}.s": squeeze(np.float32(0.01 if i == 1 else 0.05) * scale),
            f"s{i}": np.float32(0.05 if i == 1 else 0.1),
            f"z{i}": np.array(zero, activations),
        }
        source = f"{current},{'s,z' if i == 1 else 's1,z1'}"
        w, grid = f"w{i}.q,w{i}.s,w{i}.z", f"s{i},z{i}"
        if form == "qgemm":
            nodes.append(f"QGemm {source},{w},b{i}.q,{grid} -> y{i}.q; transB=1")
        elif form == "qlinear":
            nodes.append(f"QLinearMatMul {source},{w},{grid} -> y{i}.q")
        else:
            nodes += [f"DequantizeLinear {source} -> x{i}", f"DequantizeLinear {w} -> w{i}; axis=0"]
            if bias == "float":
                constants[f"b{i}"] = (constants[f"b{i}.q"] * constants[f"b{i}.s"]).astype(np.float32)
            elif bias:
                nodes.append(f"DequantizeLinear b{i}.q,b{i}.s -> b{i}; axis=0")
            nodes.append(f"Gemm x{i},w{i}{f',b{i}' if bias else ''} -> g{i}; transB=1")
            real = f"g{i}"
            if relu == "real" and i == 1:
                nodes.append(f"Relu {real} -> r{i}")
                real = f"r{i}"
            nodes.append(f"QuantizeLinear {real},{grid} -> y{i}.q")
        current = f"y{i}.q"
        if relu == "between" and i == 1:
            nodes += [f"DequantizeLinear {current},{grid} -> d{i}", f"Relu d{i} -> r{i}"]
            nodes.append(f"QuantizeLinear r{i},{grid} -> r{i}.q")
            current = f"r{i}.q"
        if relu == "clip" and i == 1:
            constants |= {"low": np.array(10, activations), "high": np.array(90, activations)}
            nodes.append(f"Clip {current},low,high -> c{i}")
            current = f"c{i}"
    return make([*nodes, f"DequantizeLinear {current},s2,z2 -> y"], constants)


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
    constants = {
        "s": np.float32(0.5),
        "z": np.int8(-3),
        "w": RNG.integers(-9, 9, (12, 16)).astype(np.int8),
        "ws": np.float32(0.1),
        "wz": np.int8(0),
        "ys": np.float32(np.pi / 2),
    }
    nodes = ["QGemm x,s,z,w,ws,wz,,ys,z -> y; transB=1"]
    network = import_onnx(make(nodes, constants, dtype=INT8, output=INT8))
    x = RNG.integers(-128, 128, (50, 16)).astype(np.int8)
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


# ---- what is refused -----------------------------------------------------------------------------

CONSTANTS = {
    "w": W1,
    "b": B1,
    "u": W2.T,
    "s": np.float32(1),
    "z": np.uint8(0),
    "k": np.ones((12, 16), np.int8),
    "to 1": np.array([1, -1]),
    "to 8": np.array([-1, 8]),
}
GEMM = ["Gemm x,w,b -> y; transB=1"]
INPUT = ["QuantizeLinear x,s,z -> q", "DequantizeLinear q,s,z -> d"]
QDQ = [*INPUT, "DequantizeLinear k,s -> v", "Gemm d,v,b -> g; transB=1"]
END = ["QuantizeLinear g,s,z -> h", "DequantizeLinear h,s,z -> y"]


def with_nan(array):
    result = array.copy()
    result.flat[3] = np.nan
    return result


#: Nodes, constants that differ from those above, other arguments of `make`, and the message.
REFUSED = {
    "operator": (
        ["Sigmoid x -> y"],
        {},
        {},
        r"^node 'n_y' \(Sigmoid\) is not supported; supported are Add, Clip,",
    ),
    "domain": (["Quant x -> y"], {}, {}, r"^not a valid ONNX model: No Op registered for Quant"),
    "undefined": (
        ["Gemm x,q -> y"],
        {},
        {},
        r"^not a valid ONNX model: Nodes in a graph must be topologically",
    ),
    "opset": (GEMM, {}, {"opset": 6}, r"operator set must be of a version from 7 to 28, not \[6\]$"),
    "two inputs": (
        ["Add x,x -> y"],
        {},
        {},
        r"^node 'n_y' \(Add\) reads 'x', 'x' where a chain has 'x': branches",
    ),
    "branch": (
        ["Relu x -> r", "Gemm x,w -> g; transB=1", "Add g,r -> y"],
        {},
        {},
        r"^node 'n_g' \(Gemm\) reads 'x' where a chain has 'r': branches",
    ),
    "dynamic weights": (["Gemm w,x -> y"], {}, {}, r"^node 'n_y' \(Gemm\) must have 'x' as input 1$"),
    "alpha": (["Gemm x,w -> y; alpha=0.5"], {}, {}, r"^node 'n_y' \(Gemm\) must have alpha = 1.0, not 0.5$"),
    "transA": (["Gemm x,w -> y; transA=1"], {}, {}, r"^node 'n_y' \(Gemm\) must have transA = 0, not 1$"),
    "attribute": (
        ["Clip x -> y; min=0.0"],
        {},
        {"opset": 10},
        r"^node 'n_y' \(Clip\) has the unsupported attribute 'min'$",
    ),
    "softmax axis": (
        ["Softmax x -> y; axis=0"],
        {},
        {},
        r"^node 'n_y' \(Softmax\) must run over the channels",
    ),
    "softmax first": (
        ["Softmax x -> f", "Gemm f,w -> y; transB=1"],
        {},
        {},
        r"^node 'n_f' \(Softmax\) must be the last node$",
    ),
    "flatten": (
        ["Flatten x -> y; axis=0"],
        {},
        {},
        r"^node 'n_y' \(Flatten\) must keep the batch: axis 1, not 0$",
    ),
    "reshape batch": (
        ["Reshape x,to 1 -> y"],
        {},
        {},
        r"^node 'n_y' \(Reshape\) must keep the batch as first axis and 16 values .* to \[1, -1\]$",
    ),
    "reshape items": (
        ["Reshape x,to 8 -> y"],
        {},
        {},
        r"^node 'n_y' \(Reshape\) must keep the batch .* to \[-1, 8\]$",
    ),
    "columns": (
        GEMM,
        {"w": W1[:, :9]},
        {},
        r"^node 'n_y' \(Gemm\) must read \(batch, 9\), not \(batch, 16\)$",
    ),
    "image": (
        GEMM,
        {},
        {"shape": ("N", 4, 4)},
        r"^node 'n_y' \(Gemm\) must read \(batch, 16\), not \(batch, 4, 4\)$",
    ),
    "weight axes": (
        ["MatMul x,b -> y"],
        {},
        {},
        r"^node 'n_y' \(MatMul\) must have weights of two axes, not \(12,\)$",
    ),
    "bias": (GEMM, {"b": B1[:5]}, {}, r"^node 'n_y' \(Gemm\) must have a bias of shape \(12,\), not \(5,\)$"),
    "bias column": (
        GEMM,
        {"b": B1[:, None]},
        {},
        r"^node 'n_y' \(Gemm\) must have a bias of .* not \(12, 1\)$",
    ),
    "add": (["Add x,b -> y"], {}, {}, r"^node 'n_y' \(Add\) must add a bias right behind a MatMul$"),
    "relu": (["Relu x -> y"], {}, {}, r"^node 'n_y' \(Relu\) must come behind a Gemm$"),
    "nothing": (["Flatten x -> y"], {}, {}, r"^the network has no MatMul or Gemm$"),
    "constant": (
        ["Relu w -> r", *GEMM],
        {},
        {},
        r"^node 'n_r' \(Relu\) is not supported on constants alone$",
    ),
    "nan": (GEMM, {"w": with_nan(W1)}, {}, r"^tensor 'w' must be finite, but holds NaN$"),
    "infinity": (GEMM, {"b": np.full(12, np.inf)}, {}, r"^tensor 'b' must be finite, but holds infinity$"),
    "huge": (GEMM, {"w": W1 * np.float32(1e38)}, {}, r"are too large to be quantised$"),
    "open axis": (GEMM, {}, {"shape": ("N", "M")}, r"^input 'x' must have fixed axes behind the batch$"),
    "no batch": (GEMM, {}, {"shape": (16,)}, r"^input 'x' must have fixed axes behind the batch$"),
    "input type": (GEMM, {}, {"dtype": 7}, r"^input 'x' must be of type float, int8 or uint8$"),
    "float layer": (
        [*INPUT, "Gemm d,w -> g; transB=1", *END],
        {},
        {},
        r"^node 'n_g' \(Gemm\) must have quantised weights, as its input is quantised$",
    ),
    "float between": (
        [*QDQ, "Relu g -> r", "Gemm r,u -> y"],
        {},
        {},
        r"^node 'n_y' \(Gemm\) must read what a DequantizeLinear writes$",
    ),
    "requantised": (
        [*INPUT, "QuantizeLinear d,t,z -> y"],
        {"t": np.float32(2)},
        {"output": 2},
        r"^node 'n_y' \(QuantizeLinear\) must not quantise once more, to another scale or zero point$",
    ),
    "reinterpreted": (
        ["QuantizeLinear x,s,z -> q", "DequantizeLinear q,t,z -> y"],
        {"t": np.float32(2)},
        {},
        r"^node 'n_y' \(DequantizeLinear\) must have the scale and zero point with which its input was",
    ),
    "scale": (INPUT, {"s": np.float32(-1)}, {}, r"^node 'n_q' \(QuantizeLinear\) must have positive scales$"),
    "scales": (
        INPUT,
        {"s": np.ones(16, np.float32), "z": np.zeros(16, np.uint8)},
        {},
        r"^node 'n_q' \(QuantizeLinear\) must have one scale and an int8 or uint8 zero point$",
    ),
    "zero points": (
        INPUT,
        {"z": np.zeros(16, np.uint8)},
        {},
        r"^node 'n_q' \(QuantizeLinear\) has 1 scales, but 16 zero points$",
    ),
    "16 bits": (
        INPUT,
        {"z": np.int16(0)},
        {"opset": 21},
        r"^tensor 'z' must be of a float type, int8, uint8, int32 or int64, not int16$",
    ),
    "column scales": (
        [*INPUT, "DequantizeLinear k,t -> v; axis=1", *QDQ[3:], *END],
        {"t": np.ones(16, np.float32)},
        {},
        r"^node 'n_g' \(Gemm\) must have one scale for all its weights, or one for each output$",
    ),
    "scale count": (
        [*INPUT, "DequantizeLinear k,t -> v; axis=0", *QDQ[3:], *END],
        {"t": np.ones(5, np.float32)},
        {},
        r"^node 'n_v' \(DequantizeLinear\) has 5 scales for axis 0 of a tensor of shape \(12, 16\)$",
    ),
    "int8 range": (
        [*INPUT, "DequantizeLinear k,s,t -> v", *QDQ[3:], *END],
        {"k": np.full((12, 16), 131, np.uint8), "t": np.uint8(3)},
        {},
        r"^node 'n_g' must have weights that fit int8 when their zero point is .* not in \[128, 128\]$",
    ),
    "bias range": (
        [*QDQ, *END],
        {"b": np.full(12, 3e9, np.float32)},
        {},
        r"^node 'n_g' has biases, with the input's zero point folded in, that do not fit int32$",
    ),
    "sum range": (
        [*QDQ, *END],
        {"b": np.full(12, 2147483520, np.float32)},
        {},
        r"^node 'n_g' has sums with their biases that do not fit int32$",
    ),
    "effective scale": (
        [*QDQ, "QuantizeLinear g,t,z -> h", "DequantizeLinear h,t,z -> y"],
        {"t": np.float32(1e-8)},
        {},
        r"^node 'n_g' must have effective scales below 16777216, not",
    ),
    "clipped input": (
        ["QuantizeLinear x,s,z -> q", "Clip q,z,t -> y"],
        {"t": np.uint8(3)},
        {"output": 2},
        r"^node 'n_y' \(Clip\) must not clip the input of the network$",
    ),
}


@pytest.mark.parametrize(("nodes", "constants", "options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_supported_is_named(nodes, constants, options, message):
    model = make(nodes, CONSTANTS | constants, **options)
    model.graph.output[0].name = model.graph.node[-1].output[0]
    with pytest.raises(NetworkError, match=message):
        import_onnx(model, calibration=X)


def test_two_inputs_are_refused():
    model = mlp()
    model.graph.input.append(onnx.helper.make_tensor_value_info("x2", FLOAT, ["N", 16]))
    with pytest.raises(NetworkError, match=r"^a network must have one input and one output, not 2 and 1$"):
        import_onnx(model, calibration=X)


def test_external_data_need_the_path(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(mlp(), path, save_as_external_data=True, size_threshold=0, location="net.data")
    import_onnx(path, calibration=X)
    with pytest.raises(NetworkError, match=r"^(not a valid ONNX model|tensor 'w' is in another file)"):
        import_onnx(onnx.load(path, load_external_data=False), calibration=X)


def test_tensor_that_does_not_fit_its_dims_is_named():
    model = mlp()
    model.graph.initializer[0].dims[0] = 1 << 40
    with pytest.raises(NetworkError, match=r"^(not a valid ONNX model|tensor 'w' cannot be read): "):
        import_onnx(model, calibration=X)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(NetworkError, match=r"none\.onnx cannot be read: No such file or directory$"):
        import_onnx(tmp_path / "none.onnx")


def test_truncated_and_mutated_files_raise_typed_errors():
    rng = np.random.default_rng(3)
    for model, calibration in ((mlp(), X[:4]), (quantised("qgemm"), None)):
        data = model.SerializeToString()
        cases = [data[:length] for length in range(0, len(data), 7)] + [rng.bytes(50) for _ in range(50)]
        for _ in range(150):
            case = bytearray(data)
            case[rng.integers(len(data))] ^= 1 << rng.integers(8)
            cases.append(bytes(case))
        refused = 0
        for case in cases:
            try:
                import_onnx(case, calibration=calibration)
            except NetworkError:
                refused += 1
        assert len(cases) // 3 < refused < len(cases)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, r"^calibration needs data of shape \(batch, 16\): real inputs, such as the network will see$"),
        (X[:, :9], r"^calibration must be of shape \(batch, 16\), not \(200, 9\)$"),
        (X[:0], r"^calibration needs data of shape \(batch, 16\), not 0 values of type float32$"),
        (with_nan(X), r"^calibration must be finite, but holds NaN$"),
        (X.astype(np.float64) * 1e300, r"^calibration must be finite, but holds infinity$"),
        (X.astype(str), r"^calibration needs data of shape \(batch, 16\), not 3200 values of type <U32$"),
    ],
    ids=["none", "shape", "empty", "nan", "infinity", "type"],
)
def test_bad_calibration_is_named(calibration, message):
    with pytest.raises(InputError, match=message):
        import_onnx(mlp(), calibration=calibration)


def test_bad_arguments_say_what():
    with pytest.raises(ValueError, match=r"^bits must be in \[2, 8\], not 9$"):
        import_onnx(mlp(), bits=9, calibration=X)
    with pytest.raises(TypeError, match=r"^bits must be an int, not 4.0$"):
        import_onnx(mlp(), bits=4.0, calibration=X)
    with pytest.raises(TypeError, match=r"^a network must be a path, bytes or a ModelProto, not int$"):
        import_onnx(7)
    with pytest.raises(
        NetworkError, match=r"^the network is quantised already: its weights cannot be given 4 bits$"
    ):
        import_onnx(MNIST / "lenet-300-100-ternary.onnx", bits=4)
