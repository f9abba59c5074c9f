"""From a sum to a small output by comparison with thresholds."""

import numpy as np

from ...ir.network import Thresholds


def thresholds(sums: np.ndarray, activation: Thresholds) -> np.ndarray:
    """Compute ``base + step * (number of thresholds that the sum has reached)``, row by row.

    Parameters
    ----------
    sums : ndarray of int32, shape (batch, rows)
        What `mac` returns.
    activation : Thresholds
        Up to 15 int32 thresholds a row.

    Returns
    -------
    ndarray of int16, shape (batch, rows)
    """
    reached = np.zeros(sums.shape, np.int16)
    for threshold in activation.values.T:  # one of each row
        reached += sums >= threshold
    return (activation.base + activation.step * reached).astype(np.int16)
