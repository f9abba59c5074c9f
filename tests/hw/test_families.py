"""Networks on gateware that instantiates the multipliers of a family of FPGAs, with models of them."""

import numpy as np
import pytest

import mnist_networks
from family_cells import MODELS
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.numpy_device import NumpyDevice
from weightstream.runtime.sim_port import SimPort
from weightstream.spec.machine import PRESETS
from weightstream_hw.sim import compiled
from weightstream_hw.top import Accelerator as Gateware

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module", params=MODELS)
def device(request):
    library = compiled.compile_component(Gateware(TINY, dsp=request.param), cells=MODELS[request.param]())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "compile_machine", lambda machine, trace: library)
        port = SimPort(TINY)
    with Accelerator(port) as opened:
        yield opened


@pytest.mark.parametrize("name", mnist_networks.NETWORKS)
def test_mnist_networks_equal_numpy(device, name):
    model, x = mnist_networks.mnist(name, layout=TINY, batch=8)
    x = x[:8]
    assert np.array_equal(device.run(model, x, raw=True), NumpyDevice().run(model, x, raw=True))
    device.unload(model)
