"""Integer products by floating-point BLAS, exactly."""

import numpy as np

#: Up to here float32 holds every integer.
_FLOAT32_INTEGERS = 1 << 24


class ExactProduct:
    """Products of one set of inputs with weights that come piece by piece.

    Columns are taken in runs so short that every partial sum is an integer that float32 holds.

    Parameters
    ----------
    inputs : ndarray of int16, shape (batch, columns)
        Activations.
    largest_weight : int
        Bound of the weights' magnitude.
    """

    def __init__(self, inputs: np.ndarray, largest_weight: int):
        self._columns = inputs.shape[1]
        largest = max(1, int(np.abs(inputs).max(initial=0))) * max(1, largest_weight)
        self._step = max(1, _FLOAT32_INTEGERS // largest)
        self._inputs = inputs.astype(np.float32)

    def add(self, sums: np.ndarray, weights: np.ndarray, start: int = 0) -> None:
        """Add ``inputs[:, start:] @ weights.T`` to `sums`.

        Parameters
        ----------
        sums : ndarray of int32, shape (batch, rows)
            What is added to.
        weights : ndarray of int8 or int16, shape (rows, n)
            Weights of the columns from `start` on; those behind the last input meet nothing.
        """
        stop = min(start + weights.shape[1], self._columns)
        for first in range(start, stop, self._step):
            last = min(first + self._step, stop)
            piece = weights[:, first - start : last - start].astype(np.float32)
            np.add(sums, self._inputs[:, first:last] @ piece.T, out=sums, casting="unsafe")
