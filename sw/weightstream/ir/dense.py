"""Dense layers from real scales: multipliers, folded biases, and the check that no sum can overflow.

The effective scale of a row, ``input scale * weight scale / output scale``, is computed in float32 in the order
in which onnxruntime does it. Its 24-bit mantissa is the multiplier: so the integer arithmetic is that of
onnxruntime, but for products that float32 rounds onto a half and an integer does not.
"""

import numpy as np

from ..codec.matrix import Geometry
from ..errors import NetworkError
from .network import MAX_MULTIPLIER_BITS, MAX_SHIFT, Linear, Requantise, Tensor


def effective_scale(input_scale: float, weight_scale: np.ndarray, output_scale: float) -> np.ndarray:
    """Return the real value of a sum's step in steps of the output, float32, as onnxruntime rounds it."""
    with np.errstate(over="ignore", under="ignore"):
        product = np.float32(input_scale) * np.asarray(weight_scale, np.float32)
        return product / np.float32(output_scale)


def to_multiplier(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return effective scales as ``multiplier / 2**shift``, with the smallest shift.

    Parameters
    ----------
    scale : ndarray of float32, shape (rows,)
        What `effective_scale` returns; below 2**24.

    Returns
    -------
    multiplier : ndarray of int32, shape (rows,)
        Exact; rounded only below 2**-24, where 47 places do not hold all its bits.
    shift : ndarray of uint8, shape (rows,)
    """
    # Not less than 1: what is as small as that makes no difference to the output.
    fixed = np.maximum(np.rint(np.ldexp(scale.astype(np.float64), MAX_SHIFT)), 1)
    mantissa, exponent = np.frexp(fixed)
    multiplier = np.ldexp(mantissa, MAX_MULTIPLIER_BITS).astype(np.int64)
    shift = MAX_SHIFT + MAX_MULTIPLIER_BITS - exponent.astype(np.int64)
    zeros = np.frexp((multiplier & -multiplier).astype(np.float64))[1] - 1
    drop = np.minimum(zeros, shift)
    return (multiplier >> drop).astype(np.int32), (shift - drop).astype(np.uint8)


def find_weight_scale(
    multiplier: np.ndarray, shift: np.ndarray, input_scale: float, output_scale: float
) -> np.ndarray:
    """Return weight scales whose effective scale is exactly ``multiplier / 2**shift``.

    Returns
    -------
    ndarray of float32, shape (rows,)
        NaN where rounding steps over that value. That happens to less than every second multiplier; never to
        one that came from a weight scale.
    """
    target = np.ldexp(multiplier.astype(np.float64), -shift.astype(np.int64))
    near = (target * np.float64(np.float32(output_scale)) / np.float64(np.float32(input_scale))).astype(np.float32)
    result = np.full(near.shape, np.nan, np.float32)
    for direction in (-np.inf, np.inf):
        candidate = near
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
    scale = effective_scale(source.scale, weight_scale, target.scale)
    if not (scale < 1 << MAX_MULTIPLIER_BITS).all():
        raise NetworkError(
            f"node {name!r} must have effective scales below 2**{MAX_MULTIPLIER_BITS}, not {scale.max()}"
        )
    multiplier, shift = to_multiplier(scale)
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
    rows, columns = weights.shape
    return Linear(
        name=name,
        input=source.name,
        output=target.name,
        geometry=Geometry(rows=rows, channels=columns),
        activation=Requantise(
            bias=folded.astype(np.int32),
            multiplier=np.broadcast_to(multiplier, rows).copy(),
            shift=np.broadcast_to(shift, rows).copy(),
            zero_point=target.zero_point,
            low=output_range[0],
            high=output_range[1],
        ),
        weights=weights.astype(np.int8),
        weight_scale=weight_scale.astype(np.float32),
    )
