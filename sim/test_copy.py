"""The benches on a small design: what they offer is there, on every simulator."""

import pytest

from copy_engine import CopyEngine
from simulators import SIMULATORS, missing, run


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_benches_work(simulator):
    if reason := missing(simulator):
        pytest.skip(reason)
    run(CopyEngine(64), "copy_bench", simulator)
