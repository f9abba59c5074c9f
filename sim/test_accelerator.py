"""The accelerator behind real buses, on every simulator."""

import pytest

from simulators import SIMULATORS, missing, run
from weightstream.spec.machine import PRESETS
from weightstream_hw.top import Accelerator


def run_bench(module: str, simulator: str) -> None:
    if reason := missing(simulator):
        pytest.skip(reason)
    run(Accelerator(PRESETS["tiny"]), module, simulator)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_driver_runs_networks(simulator):
    run_bench("accelerator_bench", simulator)


# Icarus takes minutes: it goes with the long tests.
@pytest.mark.parametrize(
    "simulator",
    [
        pytest.param(name, marks=pytest.mark.long if name == "icarus" else pytest.mark.slow)
        for name in SIMULATORS
    ],
)
def test_driver_runs_mnist(simulator):
    run_bench("mnist_bench", simulator)
