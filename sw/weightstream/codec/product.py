"""Integer products by floating-point BLAS, exactly."""

import numpy as np

#: 512 products of a 7-bit magnitude and an 8-bit one stay below 2**24, where float32 holds every integer.
_EXACT_COLUMNS = 512
_FLOAT32_INTEGERS = 1 << 24


def exact_product(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return ``inputs @ weights.T``.

    Parameters
    ----------
    inputs : ndarray of int16, shape (batch, columns)
        Activations.
    weights : ndarray of int8 or int16, shape (rows, columns)
        Weights.

    Returns
    -------
    ndarray of int32, shape (batch, rows)
    """
    result = np.zeros((len(inputs), len(weights)), np.int32)
    if not result.size:
        return result
    magnitude = max(1, int(np.abs(inputs).max(initial=0))) * max(1, int(np.abs(weights.astype(np.int16)).max(initial=0)))
    step = min(_EXACT_COLUMNS, max(1, _FLOAT32_INTEGERS // magnitude))
    for start in range(0, inputs.shape[1], step):
        left = inputs[:, start : start + step].astype(np.float32)
        right = weights[:, start : start + step].astype(np.float32)
        result += (left @ right.T).astype(np.int32)
    return result
