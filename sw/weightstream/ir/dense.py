"""Dense layers from real scales: multipliers, folded biases, and no sum that could overflow.

The effective scale of a row, ``input scale * weight scale / output scale``, is a float32, rounded as
onnxruntime rounds it. Its mantissa is the multiplier. So the integers are those of onnxruntime, but where
float32 rounds the product of a sum and the scale onto a half.
"""

import numpy as np

from ..codec.matrix import Geometry
from ..errors import NetworkError
from .network import MAX_MULTIPLIER_BITS, MAX_SHIFT, Linear, Requantise, Tensor

#: Numbers below 2**8 with so many fractional bits are float32.
EXACT_SHIFT = 16
#: Effective scales must be less.
MAX_SCALE = 1 << MAX_MULTIPLIER_BITS


def effective_scale(input_scale: float, weight_scale: np.ndarray, output_scale: float) -> np.ndarray:
    """Return the effective scale of each row, float32."""
    with np.errstate(over="ignore", under="ignore"):
        return np.float32(input_scale) * np.asarray(weight_scale, np.float32) / np.float32(output_scale)


def to_multiplier(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the effective scales of a layer as ``multiplier / 2**shift``.

    Multipliers have as many bits as the longest one needs, the same for all rows: so they differ by few bits.

    Parameters
    ----------
    scale : ndarray of float32, shape (rows,)
        Not negative, below `MAX_SCALE`.

    Returns
    -------
    multiplier : ndarray of int32, shape (rows,)
        Exact, but where 47 places do not hold all the bits of a scale below 2**-24.
    shift : ndarray of uint8, shape (rows,)
    """
    mantissa, exponent = np.frexp(scale.astype(np.float64))
    multiplier = np.ldexp(mantissa, MAX_MULTIPLIER_BITS).astype(np.int64)
    used = int(np.bitwise_or.reduce(multiplier)) or 1
    zeros = (used & -used).bit_length() - 1
    shift = np.clip(MAX_MULTIPLIER_BITS - zeros - exponent.astype(np.int64), 0, MAX_SHIFT)
    # At least 1: what is as small as that makes no difference to the output.
    multiplier = np.maximum(np.rint(np.ldexp(scale.astype(np.float64), shift)), 1)
    return multiplier.astype(np.int32), shift.astype(np.uint8)


def find_weight_scale(
    multiplier: np.ndarray, shift: np.ndarray, input_scale: float, output_scale: float
) -> np.ndarray:
    """Return weight scales whose effective scale is exactly ``multiplier / 2**shift``.

    Returns
    -------
    ndarray of float32, shape (rows,)
        NaN where float32 rounding steps over that value: never if it came from a weight scale, else for less
        than half of the multipliers.
    """
    target = np.ldexp(multiplier.astype(np.float64), -shift.astype(np.int64))
    near = target * np.float64(np.float32(output_scale)) / np.float64(np.float32(input_scale))
    result = np.full(near.shape, np.nan, np.float32)
    for direction in (-np.inf, np.inf):
        candidate = near.astype(np.float32)
        for _ in range(4):
            found = effective_scale(input_scale, candidate, output_scale) == target
            result = np.where(found & np.isnan(result), candidate, result)
            candidate = np.nextafter(candidate, np.float32(direction))
    return result


def make_dense(
    name: str,
    source: Tensor,
    target: Tensor,
    *,
    weights: np.ndarray,
    weight_scale: np.ndarray,
    bias: np.ndarray,
    input_range: tuple[int, int],
    output_range: tuple[int, int],
) -> Linear:
    """Make a dense layer.

    Parameters
    ----------
    name : str
        Name of the node.
    source, target : Tensor
        Input and output.
    weights : ndarray of int, shape (rows, columns)
        Weights without their zero point.
    weight_scale : ndarray of float32, shape (1,) or (rows,)
        Real value of a weight of 1.
    bias : ndarray of int64 or float64, shape (rows,)
        Integral; in steps of the sums, the input's zero point not yet folded in.
    input_range, output_range : tuple of int
        Least and greatest raw value that the input takes, and to which the output is clipped.

    Raises
    ------
    NetworkError
        A weight does not fit int8, a bias or a sum int32, an effective scale its multiplier.
    """
    if source.size != weights.shape[1]:
        raise NetworkError(f"node {name!r} has {weights.shape[1]} columns, its input {source.size} values")
    if weights.min() < -128 or weights.max() > 127:
        raise NetworkError(
            f"node {name!r} must have weights that fit int8 when their zero point is subtracted, "
            f"not in [{weights.min()}, {weights.max()}]"
        )
    rows, columns = weights.shape
    scale = np.broadcast_to(effective_scale(source.scale, weight_scale, target.scale), rows)
    if not (scale < MAX_SCALE).all():
        raise NetworkError(f"node {name!r} must have effective scales below {MAX_SCALE}, not {scale.max()}")
    total = weights.sum(axis=1, dtype=np.int64)
    folded = np.asarray(bias, np.float64) - source.zero_point * total
    low, high = input_range
    positive = np.maximum(weights, 0).sum(axis=1, dtype=np.int64)
    least = low * positive + high * (total - positive)
    greatest = high * positive + low * (total - positive)
    for what, values in (
        ("biases, with the input's zero point folded in,", folded),
        ("sums", least),
        ("sums", greatest),
        ("sums with their biases", least + folded),
        ("sums with their biases", greatest + folded),
    ):
        if not (-(1 << 31) <= values.min() and values.max() < 1 << 31):
            raise NetworkError(f"node {name!r} has {what} that do not fit int32")
    multiplier, shift = to_multiplier(scale)
    return Linear(
        name=name,
        input=source.name,
        output=target.name,
        geometry=Geometry(rows=rows, channels=columns),
        activation=Requantise(
            bias=folded.astype(np.int32),
            multiplier=multiplier,
            shift=shift,
            zero_point=target.zero_point,
            low=output_range[0],
            high=output_range[1],
            # Where float32 is exact, integers alone say the same.
            rounding="even" if int(shift.max(initial=0)) <= EXACT_SHIFT else "float32",
        ),
        weights=weights.astype(np.int8),
        weight_scale=weight_scale.astype(np.float32),
    )
