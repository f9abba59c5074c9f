"""Products and sums.

A sum is an int32. Hardware may wrap on the way to it, for two's complement wraps back; the sum itself must
fit.
"""

import numpy as np

from ...errors import NetworkError

#: Width of a sum, with its sign, before and after the bias.
SUM_BITS = 32


def check_sums(sums: np.ndarray, what: str) -> np.ndarray:
    """Return sums as they are.

    Raises
    ------
    NetworkError
        One does not fit int32; the message begins with `what`.
    """
    limit = 1 << (SUM_BITS - 1)
    if sums.size and not -limit <= int(sums.min()) <= int(sums.max()) < limit:
        raise NetworkError(f"{what} must fit int32, but go from {int(sums.min())} to {int(sums.max())}")
    return sums


def mac(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Multiply raw inputs with weights: ``sum[b, r] = sum over c of x[b, c] * weights[r, c]``.

    Parameters
    ----------
    x : ndarray of int8 or uint8, shape (batch, columns)
        Inputs as they are stored, zero points included.
    weights : ndarray of int8 or int16, shape (rows, columns)
        Weights in natural column order.

    Returns
    -------
    ndarray of int32, shape (batch, rows)

    Raises
    ------
    NetworkError
        A sum does not fit int32.
    """
    sums = x.astype(np.int64) @ weights.astype(np.int64).T
    return check_sums(sums, "sums").astype(np.int32)
