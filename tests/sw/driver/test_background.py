"""Jobs in the background: results, errors, order, and how they are given up."""

import asyncio
import threading

import numpy as np
import pytest

import machine_networks
from fake_port import FakePort, network
from weightstream.errors import DeviceError, InputError
from weightstream.golden import network as golden
from weightstream.model import Model
from weightstream.runtime.driver import Accelerator


@pytest.fixture
def gate(port):
    """Jobs end when this is set; the second event says that one waits."""
    opened, waits = threading.Event(), threading.Event()

    def job(port):
        waits.set()
        assert opened.wait(20)
        FakePort.finish(port)

    port.job = job
    yield opened, waits
    opened.set()


def test_a_background_job_returns_what_a_run_returns(device, port, model, x, gate):
    opened, waits = gate
    parts = []
    job = device.run_async(model, x, raw=True, progress=parts.append)
    assert waits.wait(20) and not job.done()
    with pytest.raises(TimeoutError, match=r"^the job is not over after 0\.01 s: 0 of 5 items are done$"):
        job.result(0.01)
    later = device.run_async(model, x[:2], raw=True)
    opened.set()
    assert np.array_equal(job.result(20), golden.run(model.network, x))
    assert np.array_equal(later.result(20), golden.run(model.network, x[:2]))
    assert (parts, job.done_items, job.done()) == ([5], 5, True)


def test_jobs_of_several_threads_run_one_after_the_other(device, port, model, x, gate):
    opened, waits = gate
    job = device.run_async(model, x)
    assert waits.wait(20)
    threading.Timer(0.05, opened.set).start()
    device.run(model, x)  # the fake port allows no start while it is not idle
    assert job.done()


def test_a_background_job_raises_what_a_run_raises(device, model, x):
    with pytest.raises(InputError, match="must be of shape"):
        device.run_async(model, x[:, :3]).result(20)


def test_a_background_job_can_be_given_up(device, port, gate):
    net = network(3, (200, 90))
    model = Model(net, b"")
    most = device.load(model).max_batch
    x = machine_networks.random_inputs(np.random.default_rng(1), net, most + 3)
    job, waiting = device.run_async(model, x), device.run_async(model, x)
    assert gate[1].wait(20)
    job.cancel()
    waiting.cancel()
    gate[0].set()
    with pytest.raises(DeviceError, match=rf"^the job was given up: {most} of {most + 3} items are done$"):
        job.result(20)
    with pytest.raises(DeviceError, match="given up: 0 of"):
        waiting.result(20)
    assert port.buffers == 1


def test_closing_waits_for_the_job_under_way_and_gives_the_others_up(port, model, x, gate):
    device = Accelerator(port)
    job, other = device.run_async(model, x), device.run_async(model, x)
    assert gate[1].wait(20)
    threading.Timer(0.05, gate[0].set).start()
    device.close()
    assert job.done() and other.done()
    with pytest.raises(DeviceError, match="given up: 0 of 5"):
        other.result(0)
    assert port.buffers == 0 and port.closed


def test_a_background_job_can_be_awaited(device, model, x):
    async def main():
        return await device.run_async(model, x, raw=True)

    assert np.array_equal(asyncio.run(main()), golden.run(model.network, x))
