"""The accelerator behind real buses, on every simulator."""

import pytest

import needs
from simulators import run
from weightstream.spec.machine import PRESETS
from weightstream_hw.top import Accelerator


@pytest.mark.slow
@pytest.mark.parametrize("simulator", needs.simulators())
def test_driver_runs_networks(simulator):
    run(Accelerator(PRESETS["tiny"]), "accelerator_bench", simulator)


# Icarus takes minutes for these.
@pytest.mark.slow
@pytest.mark.parametrize("simulator", needs.simulators(pytest.mark.long))
def test_driver_runs_mnist(simulator):
    run(Accelerator(PRESETS["tiny"]), "mnist_bench", simulator)
