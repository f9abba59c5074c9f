"""Settings of all tests."""

import os
from pathlib import Path

from hypothesis import settings

# Processes that fill one numba cache together can mix up the code of two signatures: each has its own.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
_CACHE = Path(__file__).resolve().parent.parent / "build" / "numba" / _WORKER
os.environ.setdefault("NUMBA_CACHE_DIR", str(_CACHE))

# Repeatable on every machine, and without a time limit: the first call of a compiled loop takes seconds.
settings.register_profile("weightstream", derandomize=True, deadline=None, database=None)
settings.load_profile("weightstream")
