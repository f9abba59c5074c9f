"""Which implementation moves the bits: numba where it is installed, numpy elsewhere. Both write the same bytes."""

import importlib.util
import os
from types import ModuleType


def streams() -> ModuleType:
    """Return the module that codes streams.

    The environment variable ``WEIGHTSTREAM_CODEC`` (``numpy`` or ``numba``) overrides the choice.
    """
    wanted = os.environ.get("WEIGHTSTREAM_CODEC", "")
    if wanted not in ("", "numpy", "numba"):
        raise ValueError(f"WEIGHTSTREAM_CODEC must be 'numpy' or 'numba', not {wanted!r}")
    if wanted == "numpy" or (not wanted and importlib.util.find_spec("numba") is None):
        from . import streams_numpy

        return streams_numpy
    from . import streams_numba

    return streams_numba
