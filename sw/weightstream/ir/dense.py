"""Dense layers from real scales: biases folded, multipliers fitted, and no sum that could overflow."""

import numpy as np

from ..codec.matrix import Geometry
from ..errors import NetworkError
from .multiplier import MAX_SCALE, effective_scale, find_weight_scale, fit_multiplier
from .network import Linear, Requantise, Tensor


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
    folded = folded.astype(np.int64)
    multiplier, shift = fit_multiplier(
        scale,
        sums=(least + folded, greatest + folded),
        outputs=(output_range[0] - target.zero_point, output_range[1] - target.zero_point),
        input_scale=source.scale,
        output_scale=target.scale,
    )
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
        ),
        weights=weights.astype(np.int8),
        weight_scale=find_weight_scale(multiplier, shift, source.scale, target.scale),
    )
