"""What ONNX import does not support, and files and arguments that are wrong: each is named."""

import numpy as np
import pytest

from onnx_models import (
    B1,
    FLOAT,
    MNIST,
    W1,
    W2,
    X,
    make,
    mlp,
    onnx,
    quantised,
)
from weightstream.errors import InputError, NetworkError
from weightstream.ir.onnx_import import import_onnx

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
