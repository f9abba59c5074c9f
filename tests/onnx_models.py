"""ONNX networks, float and quantised, and what onnxruntime makes of them."""

from pathlib import Path

import numpy as np

import needs
from weightstream.ir.network import Linear

onnx = needs.package("onnx")
ort = needs.package("onnxruntime")

MNIST = Path(__file__).resolve().parents[1] / "examples" / "mnist"
FLOAT, UINT8, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT8

_RNG = np.random.default_rng(0)
W1 = _RNG.normal(size=(12, 16)).astype(np.float32)
B1 = _RNG.normal(size=12).astype(np.float32)
W2 = _RNG.normal(size=(5, 12)).astype(np.float32)
X = _RNG.random((200, 16), np.float32)


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
    (source,) = session.get_inputs()
    return session.run(None, {source.name: x})[0]


def linears(network):
    """Return the layers of a network."""
    return [node for node in network.nodes if isinstance(node, Linear)]


def assert_same_layers(one, other):
    """Check that the layers of two networks compute the same."""
    for a, b in zip(linears(one), linears(other), strict=True):
        assert np.array_equal(a.weights, b.weights)
        assert np.array_equal(a.activation.bias, b.activation.bias)
        assert np.array_equal(a.activation.multiplier, b.activation.multiplier)
        assert np.array_equal(a.activation.shift, b.activation.shift)
        assert (a.activation.low, a.activation.high) == (b.activation.low, b.activation.high)


def mnist_excerpt():
    """Return images, float32 in [0, 1], shape (1000, 784), and their labels."""
    with np.load(MNIST / "mnist-test-1000.npz") as arrays:
        return arrays["images"].reshape(1000, 784).astype(np.float32) / np.float32(255), arrays["labels"]


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
