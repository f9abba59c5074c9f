"""The accelerator behind real buses: the driver runs networks on it, whatever memory and buses do."""

import cocotb
import numpy as np
from cocotb.task import bridge

import machine_networks
from cocotb_port import CocotbPort
from tb import MEMORY, started
from weightstream import Model
from weightstream.errors import DeviceError
from weightstream.golden import network as golden
from weightstream.runtime.driver import Accelerator
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import BY_NAME, ID_MAGIC, ErrorCode

TINY = PRESETS["tiny"]
#: Rows and columns; whole beats, halves of beats, and less than one.
SIZES = [21, 40, 10]


def network(seed: int):
    """Return a random network, inputs, and what it makes of them."""
    rng = np.random.default_rng(seed)
    net = machine_networks.chain(rng, TINY, SIZES)
    x = machine_networks.random_inputs(rng, net, 3)
    return Model(net, b""), x, golden.run(net, x)


@cocotb.test
async def registers_tell_what_is_there(dut):
    tb = await started(dut, pause=0.5)
    assert await tb.read32(BY_NAME["identity"].address) == ID_MAGIC
    assert await tb.read32(BY_NAME["machine"].address) == TINY.digest
    for value in (0, 0xFFFFFFFF, 0x12345678):
        await tb.write32(BY_NAME["image"].address + 4, value)
        assert await tb.read32(BY_NAME["image"].address + 4) == value


@cocotb.test
@cocotb.parametrize((("latency", "pause"), [(1, 0.0), (40, 0.3), (100, 0.5)]))
async def networks_equal_golden(dut, latency, pause):
    tb = await started(dut, latency=latency, pause=pause, seed=latency)

    @bridge
    def run():
        model, x, expected = network(latency)
        with Accelerator(CocotbPort(tb)) as device:
            assert np.array_equal(device.run(model, x, raw=True), expected)

    await run()


@cocotb.test
@cocotb.parametrize(written=[False, True])
async def memory_error_ends_the_job_and_the_next_one_runs(dut, written):
    tb = await started(dut, latency=10, pause=0.2)
    code = ErrorCode.WRITE_RESPONSE if written else ErrorCode.READ_RESPONSE

    @bridge
    def run():
        model, x, expected = network(7)
        with Accelerator(CocotbPort(tb)) as device:
            tb.ram.faults["write" if written else "read"].append(range(MEMORY))
            try:
                device.run(model, x)
            except DeviceError as error:
                assert error.code == code
            else:
                raise AssertionError("the job did not fail")
            tb.ram.faults["write" if written else "read"].clear()
            assert np.array_equal(device.run(model, x, raw=True), expected)

    await run()
