"""Which implementation moves the bits: numba where it is installed, numpy elsewhere. Both write the same bytes."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import TargetError


@dataclass(frozen=True)
class Backend:
    """An implementation.

    Parameters
    ----------
    codewords, decoder : type
        Codewords to be written, streams to be read.
    decode_keys : callable
        Reader of keys.
    count_bytes : callable
        Returns how often each of 256 bytes occurs in an array, int64.
    """

    codewords: type
    decoder: type
    decode_keys: Callable[..., np.ndarray]
    count_bytes: Callable[[np.ndarray], np.ndarray]


def backend() -> Backend:
    """Return the implementation to use.

    The environment variable ``WEIGHTSTREAM_CODEC`` (``numpy`` or ``numba``) overrides the choice.
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
