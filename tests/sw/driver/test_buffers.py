"""Whatever fails, no buffer is left, and none is given back while the accelerator may write to it."""

import numpy as np
import pytest

from fake_port import BASE, FakeBuffer, FakePort
from weightstream.errors import DeviceError
from weightstream.golden import network as golden
from weightstream.runtime.driver import Accelerator
from weightstream.spec.registers import BY_NAME


@pytest.mark.parametrize("before", [0, 1, 2], ids=["image", "input", "output"])
@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CMA is full"), OSError("no"), DeviceError("full")], ids=repr
)
def test_memory_that_is_used_up_leaves_no_buffer(device, port, model, x, before, error):
    allocate = port.allocate
    left = [before]

    def failing(size):
        if not left[0]:
            raise error
        left[0] -= 1
        return allocate(size)

    port.allocate = failing
    with pytest.raises(
        DeviceError, match=r"^no memory for an? \w+ of \d+ bytes: .*; [01] loaded networks hold"
    ):
        device.run(model, x)
    assert port.buffers == min(before, 1)
    port.allocate = allocate
    assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))


@pytest.mark.parametrize("address", [(1 << 32) - 64, 1 << 33, BASE + 8], ids=["end", "above", "odd"])
def test_memory_out_of_reach_is_refused(device, port, model, x, address):
    port.next = address
    with pytest.raises(
        DeviceError, match=rf"an image of \d+ bytes lies at 0x{address:x}: the accelerator reach"
    ):
        device.run(model, x)
    assert port.buffers == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("link lost")], ids=repr)
def test_whatever_ends_a_job_the_accelerator_is_reset_before_its_memory_goes(device, port, model, x, error):
    device.load(model)
    port.job = FakePort.hang
    order = []

    def interrupt():
        raise error

    port.on_wait = interrupt
    write = port.write32
    port.write32 = lambda address, value: (order.append((address, port.buffers)), write(address, value))
    with pytest.raises(type(error)):
        device.run(model, x)
    assert order[-1] == (BY_NAME["reset"].address, 3)
    assert port.buffers == 1


def test_an_error_of_the_progress_callback_leaves_no_buffer(device, port, model, x):
    device.load(model)
    with pytest.raises(ZeroDivisionError):
        device.run(model, x, progress=lambda items: items / 0)
    assert port.buffers == 1


def test_an_image_that_cannot_be_written_leaves_no_buffer(device, port, model, monkeypatch):
    def flush(self):
        raise OSError("link lost")

    monkeypatch.setattr(FakeBuffer, "flush", flush)
    with pytest.raises(OSError, match="link lost"):
        device.load(model)
    assert port.buffers == 0


def test_closing_gives_all_back_though_the_port_is_broken(port, model):
    def broken(address):
        raise OSError("link lost")

    device = Accelerator(port)
    device.load(model)
    port.read32 = broken
    device.close()
    device.close()
    assert port.closed and port.buffers == 0
