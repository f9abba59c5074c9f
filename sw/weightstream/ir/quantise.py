"""Quantise float networks after training, on calibration data.

Every layer sees the inputs that the quantised layers before it produce. Its output grid is the one that
loses least on the outputs of the float network, its weight scales lose least where the inputs are large, and
its bias takes up what the rounding of its weights adds to the outputs on average.

A weight scale is chosen through its multiplier, a number of few bits: it takes little room in a file, and
with at most 16 fractional bits float32 computes exactly what integers do.
"""

# Ref: Nagel et al., "A White Paper on Neural Network Quantization", 2021
# Id: arXiv:2106.08295
# Differs: squared error of weights weighted with the power of their inputs; scales given by multipliers

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, NetworkError
from .dense import EXACT_SHIFT, find_weight_scale, make_dense
from .network import MAX_SHIFT, Linear, Network, Tensor
from .values import check_finite, check_shape, quantise, quantise_input

#: Bits of a multiplier: the most unless that makes the shift more than `EXACT_SHIFT`; but always the least.
MOST_BITS = 8
LEAST_BITS = 5
#: Significant bits of an activation's scale.
SCALE_BITS = 12
#: Clipped ranges that are tried, as shares of the whole.
SHARES = np.linspace(1.0, 0.28, 25)
#: Values of a tensor that are looked at, at most.
SAMPLES = 1 << 18


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatDense:
    """A dense layer of a float network, and perhaps a ReLU.

    Parameters
    ----------
    name, output : str
        Names of the node and of what it writes.
    weights, bias : ndarray of float, shapes (rows, columns) and (rows,)
        Finite.
    relu : bool
        Whether ``max(y, 0)`` follows.
    """

    name: str
    output: str
    weights: np.ndarray
    bias: np.ndarray
    relu: bool


def quantise_network(
    name: str,
    shape: tuple[int, ...],
    layers: Sequence[FloatDense],
    *,
    bits: int,
    calibration: np.ndarray | None,
    per_channel: bool = True,
) -> Network:
    """Quantise a chain of dense layers.

    Parameters
    ----------
    name, shape : str, tuple of int
        Of the input.
    layers : sequence of FloatDense
        At least one.
    bits : int
        Bits of the weights, 2 to 8. With 2 bits they are ternary, else from ``-2**(bits - 1)`` on.
    calibration : ndarray, shape (batch, *shape)
        Real inputs, such as the network will see.
    per_channel : bool
        Whether each row of weights has a scale of its own.

    Raises
    ------
    InputError
        The calibration data are missing, have the wrong shape, NaN or infinity.
    NetworkError
        Numbers of a layer do not fit the integer arithmetic.
    """
    x = check_calibration(calibration, shape)
    # The range of an input is taken as it is: images keep their levels.
    source = _tensor(name, shape, *fit_grid(x, clip=False))
    raw = quantise_input(source, x).reshape(len(x), -1)
    exact = x.reshape(len(x), -1).astype(np.float64)
    tensors, nodes = [source], []
    for layer in layers:
        wanted = exact @ layer.weights.T.astype(np.float64) + layer.bias
        exact = np.maximum(wanted, 0) if layer.relu else wanted
        scale, zero_point = fit_grid(exact, clip=layer is not layers[-1])
        target = _tensor(layer.output, wanted.shape[1:], _shorten(scale), zero_point)
        node, got = _quantise_layer(layer, source, raw, target, wanted, bits, per_channel)
        tensors.append(target)
        nodes.append(node)
        raw = quantise_input(target, np.maximum(got, 0) if layer.relu else got)
        source = target
    return Network(tensors=tuple(tensors), nodes=tuple(nodes), inputs=(name,), outputs=(source.name,))


def check_calibration(calibration: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return calibration data as float32; `InputError` if they are missing, of another shape, not finite."""
    expected = f"data of shape ({', '.join(['batch', *map(str, shape)])})"
    if calibration is None:
        raise InputError(f"calibration needs {expected}: real inputs, such as the network will see")
    x = np.asarray(calibration)
    if x.dtype.kind not in "fiu" or not x.size:
        raise InputError(f"calibration needs {expected}, not {x.size} values of type {x.dtype}")
    check_shape(x, shape, "calibration")
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    check_finite(x, "calibration")
    return x


def fit_grid(values: np.ndarray, *, clip: bool) -> tuple[float, int]:
    """Return the scale and zero point of uint8 that suit real values.

    Parameters
    ----------
    values : ndarray of float, shape (batch, ...)
        Finite.
    clip : bool
        Whether rare values may be clipped if that lowers the squared error.

    Raises
    ------
    NetworkError
        The values are too large for a float32 scale.
    """
    least, greatest = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    span = greatest - least
    if span > 1e38:
        raise NetworkError(f"values from {least} to {greatest} are too large to be quantised")
    if span < 1e-30:  # nothing but zeros, or next to it
        return 1.0, 0
    values = values[:: -(-values.size // SAMPLES)]
    best = (np.inf, 1.0, 0)
    for share in SHARES if clip else SHARES[:1]:
        scale = float(np.float32(share * span / 255))
        zero_point = round(-share * least / scale)
        raw = quantise(values, scale=scale, zero_point=zero_point, low=0, high=255)
        error = float(np.sum(((raw - zero_point) * scale - values) ** 2, dtype=np.float64))
        best = min(best, (error, scale, zero_point))
    return best[1], best[2]


def _tensor(name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> Tensor:
    return Tensor(name=name, shape=shape, dtype="uint8", scale=scale, zero_point=zero_point)


def _shorten(scale: float) -> float:
    """Return a scale rounded up to `SCALE_BITS` bits: then, most multipliers have a weight scale."""
    mantissa, exponent = np.frexp(scale)
    return float(np.ldexp(np.ceil(np.ldexp(mantissa, SCALE_BITS)), exponent - SCALE_BITS))


def _quantise_layer(
    layer: FloatDense,
    source: Tensor,
    raw: np.ndarray,
    target: Tensor,
    wanted: np.ndarray,
    bits: int,
    per_channel: bool,
) -> tuple[Linear, np.ndarray]:
    """Quantise a layer that reads `raw` and should compute `wanted`, real values before ReLU.

    Return it, and what it computes instead, not yet rounded to its output's grid.
    """
    steps = raw.astype(np.float64) - source.zero_point
    power = np.mean(steps**2, axis=0)
    # Inputs that were always zero count a little: they may not stay so.
    power = (power + 0.01 * power.mean() + 1e-9).astype(np.float32)
    levels, scale = _quantise_weights(layer, source, target, bits, power, per_channel)
    unit = (np.float32(source.scale) * scale).astype(np.float64)
    sums = steps @ levels.T.astype(np.float64)  # exact
    bias = np.rint(np.mean(wanted - sums * unit, axis=0) / unit)
    node = make_dense(
        layer.name,
        source,
        target,
        weights=levels,
        weight_scale=scale,
        bias=bias,
        input_range=(source.low, source.high),
        output_range=(target.low, target.high),
    )
    return node, (sums + bias) * unit


def _quantise_weights(
    layer: FloatDense, source: Tensor, target: Tensor, bits: int, power: np.ndarray, per_channel: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return levels, int32, and the weight scales that lose least, float32, shape (rows,) or (1,)."""
    top = max(1, (1 << bits - 1) - 1)
    bottom = -1 if bits == 2 else -top - 1
    weights = layer.weights
    step = np.abs(weights).max(axis=1).astype(np.float64) / top
    # Steps so large that the bias keeps clear of int32.
    step = np.maximum(step, np.abs(layer.bias.astype(np.float64)) / (source.scale * 2.0**29))
    step = np.where(step > 0, step, step.max() or 1.0)
    if not per_channel:
        step = step.max(keepdims=True)
    limit = step * source.scale / target.scale
    exponent = np.frexp(limit)[1]
    shift = np.clip(np.clip(EXACT_SHIFT, LEAST_BITS - exponent, MOST_BITS - exponent), 0, MAX_SHIFT)
    least = np.full(limit.shape, np.inf)
    best = np.ones(limit.shape, np.float32)
    for share in SHARES:
        scale = _solve(layer, np.rint(np.ldexp(share * limit, shift)), shift, source, target)
        ratio = weights / scale[:, None]
        error = ((np.clip(np.rint(ratio), bottom, top) - ratio) ** 2 @ power) * (scale / step) ** 2
        if not per_channel:
            error = error.sum(keepdims=True)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return np.clip(np.rint(weights / best[:, None]), bottom, top).astype(np.int32), best


def _solve(
    layer: FloatDense, multiplier: np.ndarray, shift: np.ndarray, source: Tensor, target: Tensor
) -> np.ndarray:
    """Return the weight scales of multipliers, or of the next larger ones that have a weight scale."""
    multiplier = np.maximum(multiplier, 1)
    for _ in range(64):
        scale = find_weight_scale(multiplier, shift, source.scale, target.scale)
        missing = np.isnan(scale)
        if not missing.any():
            return scale
        multiplier = multiplier + missing
    raise NetworkError(f"node {layer.name!r} has weights that are too large or too small for float32 scales")
