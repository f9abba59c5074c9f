"""Which implementation moves the bits: numba if installed, else numpy. Both write the same bytes."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import TargetError

if TYPE_CHECKING:
    from .palette import Palette


class Decoder(Protocol):
    """Reads the streams of a matrix, as often as asked."""

    def symbols(self) -> np.ndarray:
        """Decode all symbols, uint8, shape (rows, symbols)."""
        ...

    def weights(self, palette: Palette, columns: int) -> np.ndarray:
        """Decode all weights, int8 or int16, shape (rows, columns)."""
        ...

    def multiply(self, palette: Palette, inputs: np.ndarray) -> np.ndarray:
        """Return the products of inputs (batch, columns), int16, with all rows: int32, (batch, rows)."""
        ...


@dataclass(frozen=True)
class Backend:
    """An implementation.

    Parameters
    ----------
    codewords : type
        Codewords to be written.
    decoder : callable
        Returns a `Decoder` of streams.
    decode_keys : callable
        Reader of keys.
    count_bytes : callable
        Returns how often each of 256 bytes occurs in an array, int64.
    """

    codewords: type
    decoder: Callable[..., Decoder]
    decode_keys: Callable[..., np.ndarray]
    count_bytes: Callable[[np.ndarray], np.ndarray]


def backend() -> Backend:
    """Return the implementation to use.

    The environment variable ``WEIGHTSTREAM_CODEC`` (``numpy`` or ``numba``) overrides the choice.

    Raises
    ------
    TargetError
        The variable names no implementation.
    """
    wanted = os.environ.get("WEIGHTSTREAM_CODEC", "")
    if wanted not in ("", "numpy", "numba"):
        raise TargetError(f"WEIGHTSTREAM_CODEC must be 'numpy' or 'numba', not {wanted!r}")
    if wanted == "numpy" or (not wanted and importlib.util.find_spec("numba") is None):
        from . import decode_numpy, encode_numpy, keys

        return Backend(
            encode_numpy.Codewords, decode_numpy.Decoder, keys.decode_keys, encode_numpy.count_bytes
        )
    from . import decode_numba, encode_numba

    return Backend(
        encode_numba.Codewords, decode_numba.Decoder, decode_numba.decode_keys, encode_numba.count_bytes
    )
