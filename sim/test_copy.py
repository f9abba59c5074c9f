"""The benches on a small design: what they offer is there, on every simulator."""

import pytest

import needs
from copy_engine import CopyEngine
from simulators import run


@pytest.mark.parametrize("simulator", needs.simulators())
def test_benches_work(simulator):
    run(CopyEngine(64), "copy_bench", simulator)
