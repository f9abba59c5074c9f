"""Tests that need pynq are collected where it is installed: see docs/testing.md."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("pynq") else ["test_pynq.py"]
