"""From a sum to an 8-bit output by multiplication, shift and rounding."""

import numpy as np

from ...ir.network import Requantise
from .mac import check_sums


def requantise(sums: np.ndarray, activation: Requantise) -> np.ndarray:
    """Compute ``clip(zero point + round((sum + bias) * multiplier / 2**shift), low, high)``, row by row.

    ``sum + bias`` is an int32, its product with a multiplier of 24 bits an int56; the half that is added to
    round may carry into a 57th bit.

    Parameters
    ----------
    sums : ndarray of int32, shape (batch, rows)
        What `mac` returns.
    activation : Requantise
        Bias, multiplier and shift of each row.

    Returns
    -------
    ndarray of int16, shape (batch, rows)
        Within low and high, so that it fits the tensor's int8 or uint8.

    Raises
    ------
    NetworkError
        A sum and its bias do not fit int32.
    """
    biased = check_sums(sums.astype(np.int64) + activation.bias, "sums with their biases")
    shift = activation.shift.astype(np.int64)
    if activation.rounding == "float32":
        # Multiplier and power of two are exact; each operation rounds to 24 significant bits, halves to even.
        scale = np.ldexp(activation.multiplier.astype(np.float32), -shift.astype(np.int32))
        rounded = np.rint(biased.astype(np.float32) * scale).astype(np.int64)
    else:
        product = biased * activation.multiplier.astype(np.int64)
        half = np.int64(1) << shift >> 1  # 0 if there is nothing to shift out
        rounded = (product + half) >> shift
        if activation.rounding == "even":
            # What lay half way went up: back to the even neighbour.
            half_way = (shift > 0) & ((product + half) & ((np.int64(1) << shift) - 1) == 0)
            rounded -= half_way & (rounded & 1 == 1)
    return np.clip(activation.zero_point + rounded, activation.low, activation.high).astype(np.int16)
