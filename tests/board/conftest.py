"""Tests that need pynq are collected where it is installed: see docs/testing.md."""

from importlib.util import find_spec

_WITH_PYNQ = ["test_fake_board.py", "test_notebooks.py", "test_pynq.py", "test_remote.py"]
collect_ignore = [] if find_spec("pynq") else _WITH_PYNQ
