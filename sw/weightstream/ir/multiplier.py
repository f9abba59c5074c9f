"""Multipliers: integers that round as onnxruntime's float32 scales do.

onnxruntime computes ``round(float32(float32(sum) * scale))`` with the effective scale of a row, ``input scale *
weight scale / output scale``, each product a float32. Integers compute ``round(sum * multiplier / 2**shift)``. Both
are staircases with at most 255 steps between two limits. `fit_multiplier` finds the shortest multiplier whose steps
are where those of the scale are, for all sums that a row can have; not just the nearest one, for that would differ
where float32 rounds a product onto a half.
"""

from itertools import product

import numpy as np

from .network import MAX_MULTIPLIER_BITS, MAX_SHIFT

#: Effective scales must be less.
MAX_SCALE = 1 << MAX_MULTIPLIER_BITS
#: Relative slack that covers the rounding of the bounds in float64; candidates are checked with integers.
SLACK = 2.0**-50


def effective_scale(input_scale: float, weight_scale: np.ndarray, output_scale: float) -> np.ndarray:
    """Return the effective scale of each row, float32, as onnxruntime rounds it."""
    with np.errstate(over="ignore", under="ignore"):
        return np.float32(input_scale) * np.asarray(weight_scale, np.float32) / np.float32(output_scale)


def find_weight_scale(
    multiplier: np.ndarray, shift: np.ndarray, input_scale: float, output_scale: float
) -> np.ndarray:
    """Return weight scales whose effective scale is exactly ``multiplier / 2**shift``.

    Returns
    -------
    ndarray of float32, shape (rows,)
        NaN where float32 rounding steps over that value, as it does for less than half of the multipliers.
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


def fit_multiplier(
    scale: np.ndarray,
    *,
    sums: tuple[np.ndarray, np.ndarray],
    outputs: tuple[int, int],
    input_scale: float,
    output_scale: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the shortest multipliers that round every possible sum as the float32 scales do.

    They have a weight scale (`find_weight_scale`) that rounds in the same way. Where there is no such multiplier,
    it is the mantissa of the scale.

    Parameters
    ----------
    scale : ndarray of float32, shape (rows,)
        Effective scales, below `MAX_SCALE`.
    sums : pair of ndarray of int64, shape (rows,)
        Least and greatest sum of each row, biases included; within int32.
    outputs : tuple of int
        Least and greatest output, without its zero point.
    input_scale, output_scale : float
        Of the layer.

    Returns
    -------
    multiplier : ndarray of int32, shape (rows,)
    shift : ndarray of uint8, shape (rows,)
    """
    steps = np.arange(outputs[0] + 1, outputs[1] + 1)
    multiplier, shift = _mantissa(scale)
    first = _staircase(scale, steps, *sums)
    lower, upper = _bounds(first, steps, *sums)
    open_rows = np.arange(len(scale))
    for places, extra in product(range(MAX_SHIFT + 1), (0, 1)):
        candidate = np.maximum(np.ceil(np.ldexp(lower[open_rows], places) * (1 - SLACK)), 1) + extra
        limit = np.minimum(np.ldexp(upper[open_rows], places) * (1 + SLACK), MAX_SCALE - 1)
        chance = candidate <= limit
        rows, values = open_rows[chance], candidate[chance].astype(np.int64)
        good = ~np.isnan(find_weight_scale(values, np.full(len(rows), places), input_scale, output_scale))
        good &= _agrees(values, places, first[rows], steps, sums[0][rows], sums[1][rows])
        multiplier[rows[good]], shift[rows[good]] = values[good], places
        open_rows = np.setdiff1d(open_rows, rows[good])
    return multiplier.astype(np.int32), shift.astype(np.uint8)


def _mantissa(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scales as ``multiplier / 2**shift``, exact but where 47 places do not hold all the bits."""
    # Not less than 1: what is as small as that makes no difference to the output.
    fixed = np.maximum(np.rint(np.ldexp(scale.astype(np.float64), MAX_SHIFT)), 1)
    mantissa, exponent = np.frexp(fixed)
    multiplier = np.ldexp(mantissa, MAX_MULTIPLIER_BITS).astype(np.int64)
    shift = MAX_SHIFT + MAX_MULTIPLIER_BITS - exponent.astype(np.int64)
    zeros = np.frexp((multiplier & -multiplier).astype(np.float64))[1] - 1
    drop = np.minimum(zeros, shift)
    return multiplier >> drop, shift - drop


def _reaches(scale: np.ndarray, sums: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return whether float32 rounds sums, shape (rows, steps), to the steps or above."""
    return np.rint(sums.astype(np.float32) * scale[:, None]) >= steps


def _staircase(scale: np.ndarray, steps: np.ndarray, least: np.ndarray, greatest: np.ndarray) -> np.ndarray:
    """Return the first sum that reaches each step, ``greatest + 1`` if none does, int64, shape (rows, steps)."""
    with np.errstate(divide="ignore", over="ignore"):
        centre = (steps - 0.5) / scale[:, None].astype(np.float64)
    slack = 2 + np.abs(centre) * 2.0**-22
    bottom, top = least[:, None], greatest[:, None]
    below = np.clip(np.floor(centre - slack), bottom - 1, top).astype(np.int64)
    first = np.clip(np.ceil(centre + slack), bottom, top + 1).astype(np.int64)
    while (first - below > 1).any():
        middle = (below + first) >> 1
        reached = _reaches(scale, middle, steps)
        first = np.where(reached, middle, first)
        below = np.where(reached, below, middle)
    return first


def _bounds(
    first: np.ndarray, steps: np.ndarray, least: np.ndarray, greatest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return between which ratios, float64, shape (rows,), integers make the same steps."""
    halves = np.broadcast_to(steps - 0.5, first.shape)
    before = first - 1
    reach, miss = first <= greatest[:, None], before >= least[:, None]
    lower, upper = np.zeros(first.shape), np.full(first.shape, np.inf)
    for sums, use, bound, other in ((first, reach, lower, upper), (before, miss, upper, lower)):
        # Where a sum is negative, a greater ratio makes the product less.
        for sign, result in ((1, bound), (-1, other)):
            where = use & (np.sign(sums) == sign)
            result[where] = halves[where] / sums[where]
    return lower.max(axis=1, initial=0), upper.min(axis=1, initial=np.inf)


def _agrees(
    multiplier: np.ndarray, places: int, first: np.ndarray, steps: np.ndarray, least: np.ndarray, greatest: np.ndarray
) -> np.ndarray:
    """Return for which rows ``multiplier / 2**places`` makes the same steps, in integers and in float32."""
    halves = (2 * steps - 1) << places
    even = steps % 2 == 0  # a half below them is rounded up to them
    scale = np.ldexp(multiplier.astype(np.float32), -places)

    def reaches(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        product = 2 * sums * multiplier[:, None]
        return (product > halves) | ((product == halves) & even), _reaches(scale, sums, steps)

    exact, rounded = reaches(first)
    good = (exact & rounded) | (first > greatest[:, None])
    exact, rounded = reaches(first - 1)
    good &= ~(exact | rounded) | (first - 1 < least[:, None])
    return good.all(axis=1)
