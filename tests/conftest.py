"""Settings of all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Processes that fill one numba cache together can mix up the code of two signatures: each has its own.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
_CACHE = Path(__file__).resolve().parent.parent / "build" / "numba" / _WORKER
os.environ.setdefault("NUMBA_CACHE_DIR", str(_CACHE))

# Repeatable on every machine, and without a time limit: the first call of a compiled loop takes seconds.
settings.register_profile("weightstream", derandomize=True, deadline=None, database=None)
settings.load_profile("weightstream")


@pytest.fixture
def numpy_backend(monkeypatch):
    """Code with numpy, where a test does not say otherwise: to compile takes longer than many tests."""
    monkeypatch.setenv("WEIGHTSTREAM_CODEC", "numpy")
