"""What `verify` checks: streams against the golden model, outputs against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FormatError, InputError, NetworkError, WeightstreamError
from ..golden.decode.matrix import decode_weights
from ..golden.network import run as run_golden
from ..ir.network import Linear, Matrix, Network, Tensor
from ..ir.values import dequantise, integer_output, network_input, to_raw
from ..model import Model
from ..runtime.numpy_device import NumpyDevice

#: Items of a batch that are run together.
ITEMS = 1024
#: Random inputs that the golden model and the fast one must agree on.
RANDOM_ITEMS = 8
#: What counts as a step behind an operator that is computed in floating point.
_FLOAT_STEP = 1e-6
_ONNX_DTYPES = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
}


@dataclass(frozen=True, kw_only=True)
class StreamChecks:
    """What was found good; what was not has raised an error.

    Parameters
    ----------
    layers, weights : int
        Matrices decoded, and their weights.
    golden : bool
        Whether the golden decoder read every stream too.
    items : int
        Random inputs on which both inferences agree; 0 if the file holds no network.
    """

    layers: int
    weights: int
    golden: bool
    items: int


def check_streams(model: Model, *, golden: bool, done: Callable[[str], None]) -> StreamChecks:
    """Decode every layer, and run the network both ways on random inputs.

    Parameters
    ----------
    model : Model
        Its CRC was checked when it was read.
    golden : bool
        Decode with the golden model too.
    done : callable
        Called with the name of each node when it is done.

    Raises
    ------
    FormatError
        A stream is corrupt.
    WeightstreamError
        Fast and golden results differ.
    """
    decoded: dict[int, np.ndarray] = {}
    for node in model.network.nodes:
        if isinstance(node, Linear | Matrix) and node.coded is not None:
            try:
                fast = node.coded.weights()
                slow = decode_weights(node.coded) if golden else fast
            except FormatError as error:
                raise FormatError(f"layer {node.name!r}: {error}") from error
            if not np.array_equal(fast, slow):
                raise WeightstreamError(f"layer {node.name!r}: the fast decoder and the golden model differ")
            decoded[id(node.coded)] = slow
        done(node.name)
    items = 0
    if model.network.inputs:
        items = RANDOM_ITEMS
        source = network_input(model.network)
        x = np.random.default_rng(1).integers(source.low, source.high + 1, (items, *source.shape))
        expected = run_golden(model.network, x, decode=lambda coded: decoded[id(coded)])
        if not np.array_equal(NumpyDevice().run(model, x, raw=True), expected):
            raise WeightstreamError("fast inference from the streams and the golden model differ")
    weights = sum(array.size for array in decoded.values())
    return StreamChecks(layers=len(decoded), weights=weights, golden=golden, items=items)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Outputs beside those of onnxruntime.

    Parameters
    ----------
    items : int
        Inputs.
    step : float
        What one step of the output is worth.
    largest : float
        Largest difference, in steps.
    equal_outputs : float
        Share of outputs less than half a step apart.
    equal_predictions : int
        Inputs with the same largest output; for networks of one output: the same output.
    """

    items: int
    step: float
    largest: float
    equal_outputs: float
    equal_predictions: int


def compare_outputs(
    model: Model, x: np.ndarray, y: np.ndarray, reference: Path, advance: Callable[[int], None]
) -> Comparison:
    """Compare outputs with those of an ONNX network in onnxruntime.

    Parameters
    ----------
    model : Model
        The network that computed the outputs.
    x, y : ndarray
        Inputs, real or raw, and outputs, real.
    reference : path
        An ONNX file.
    advance : callable
        Called with the number of items after each part of the batch.

    Raises
    ------
    NetworkError
        The reference cannot be run on such inputs.
    InputError
        There are no inputs, or the reference returns outputs of another number.
    """
    if not len(x):
        raise InputError("there is nothing to compare: the batch is empty")
    expected = _run_onnx(reference, network_input(model.network), x, advance)
    step = _step(model.network)
    if expected.dtype.kind in "iu":
        expected = dequantise(integer_output(model.network), expected)
    y, expected = y.reshape(len(y), -1), expected.reshape(len(expected), -1)
    if y.shape != expected.shape:
        raise InputError(
            f"onnxruntime returns {expected.shape[1]} outputs an input for {reference}, the file {y.shape[1]}"
        )
    steps = np.abs(y.astype(np.float64) - expected) / step
    # Not a number is different from everything.
    same = np.nan_to_num(steps, nan=np.inf) < 0.5
    alike = y.argmax(1) == expected.argmax(1) if y.shape[1] > 1 else same[:, 0]
    return Comparison(
        items=len(y),
        step=step,
        largest=float(steps.max(initial=0)),
        equal_outputs=float(same.mean()),
        equal_predictions=int(alike.sum()),
    )


def _step(network: Network) -> float:
    output = network.tensor(network.outputs[0])
    return _FLOAT_STEP if output.dtype == "float32" else float(output.scale)


def _run_onnx(path: Path, tensor: Tensor, x: np.ndarray, advance: Callable[[int], None]) -> np.ndarray:
    """Return the first output of an ONNX network for a batch."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the comparison needs: pip install onnxruntime") from error

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone: its warnings are about speed
    # What onnxruntime raises has no public base class.
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (source,) = session.get_inputs()
        dtype = _ONNX_DTYPES[source.type]
        fixed, *shape = source.shape
        size = fixed if isinstance(fixed, int) else ITEMS
        if not all(isinstance(n, int) for n in shape):
            shape = tensor.shape
        parts = []
        for start in range(0, len(x), size):
            part = _feed(tensor, x[start : start + size], np.dtype(dtype))
            items = len(part)
            if isinstance(fixed, int):
                # The last part of the batch is filled up.
                part = part[np.minimum(np.arange(fixed), items - 1)]
            part = part.reshape(len(part), *shape)
            parts.append(np.asarray(session.run(None, {source.name: part})[0])[:items])
            advance(items)
        return np.concatenate(parts)
    except WeightstreamError:
        raise
    except Exception as error:
        raise NetworkError(f"onnxruntime cannot run {path} on these inputs: {error}") from error


def _feed(tensor: Tensor, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return inputs as the reference wants them: real values or raw integers."""
    if dtype.kind == "f":
        return (x if x.dtype.kind == "f" else dequantise(tensor, x)).astype(dtype)
    return to_raw(tensor, x).astype(dtype)
