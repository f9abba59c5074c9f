"""The accelerator behind real buses, on every simulator."""

import pytest

from simulators import SIMULATORS, missing, run
from weightstream.spec.machine import PRESETS
from weightstream_hw.top import Accelerator


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_driver_runs_networks(simulator):
    if reason := missing(simulator):
        pytest.skip(reason)
    run(Accelerator(PRESETS["tiny"]), "accelerator_bench", simulator)
