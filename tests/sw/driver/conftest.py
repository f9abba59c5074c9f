"""The fixtures of all tests of the driver: an accelerator that is opened on a fake port, and a network."""

import numpy as np
import pytest

import machine_networks
from fake_port import FakePort, network
from weightstream.model import Model
from weightstream.runtime.driver import Accelerator


@pytest.fixture
def port():
    return FakePort()


@pytest.fixture
def device(port):
    with Accelerator(port, timeout=0.5) as opened:
        yield opened
    assert port.closed and port.buffers == 0


@pytest.fixture
def model():
    return Model(network(), b"")


@pytest.fixture
def x(model):
    return machine_networks.random_inputs(np.random.default_rng(2), model.network, 5)
