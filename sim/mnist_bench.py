"""MNIST end to end: from an ONNX file, through the driver and real buses, to the golden model's outputs."""

import cocotb
import numpy as np
from cocotb.task import bridge

import mnist_networks
from cocotb_port import CocotbPort
from tb import started
from weightstream.golden import network as golden
from weightstream.runtime.driver import Accelerator
from weightstream.spec.machine import PRESETS

TINY = PRESETS["tiny"]


@cocotb.test
@cocotb.parametrize(name=list(mnist_networks.NETWORKS))
async def mnist_networks_equal_golden(dut, name):
    tb = await started(dut, latency=40)

    @bridge
    def run():
        model, images = mnist_networks.mnist(name, layout=TINY, batch=TINY.columns)
        x = images[: TINY.columns]
        with Accelerator(CocotbPort(tb)) as device:
            assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))

    await run()
