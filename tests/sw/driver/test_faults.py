"""What the driver says and does when a job fails, hangs, or its interrupt is lost: the next job runs."""

import numpy as np
import pytest

from fake_port import FakePort
from weightstream.errors import DeviceError
from weightstream.golden import network as golden
from weightstream.spec.registers import ErrorCode


@pytest.mark.parametrize("code", [c for c in ErrorCode if c] + [99], ids=lambda c: getattr(c, "name", str(c)))
def test_errors_of_the_hardware_are_told_in_words(device, port, model, x, code):
    def fail(port):
        port.poke("error", int(code))
        port.poke("error_at", port.peek("image") + 0x40)
        port.end()

    device.load(model)
    port.job = fail
    with pytest.raises(DeviceError) as caught:
        device.run(model, x)
    text = str(caught.value)
    assert caught.value.code == code
    assert (
        (code.name in text and code.sentence in text) if isinstance(code, ErrorCode) else "not know" in text
    )
    assert f"at 0x{port.held[0].address + 0x40:x} (image + 0x40)" in text
    assert "Registers: ctrl 0x4" in text and "Counters: cycles 0" in text
    assert port.buffers == 1 and port.written[-1] == "reset"
    port.job = FakePort.finish
    assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))


def _count(*names):
    return lambda port: [port.count(name, 1) for name in names]


@pytest.mark.parametrize(
    ("job", "on_wait", "words"),
    [
        (lambda port: None, None, "is idle: it did not take the job up"),
        (FakePort.hang, None, "nothing moves: does its memory answer"),
        (FakePort.hang, _count("cycles", "idle_queue"), r"only waits \(idle_queue go up\)"),
        (FakePort.hang, _count("cycles", "busy"), r"at work \(busy go up\): it may need a larger timeout"),
    ],
    ids=["not-taken", "stopped", "waiting", "working"],
)
def test_a_job_without_end_is_given_up_with_a_diagnosis(device, port, model, x, job, on_wait, words):
    device.load(model)
    port.job = job
    port.on_wait = (lambda: on_wait(port)) if on_wait else port.on_wait
    with pytest.raises(
        DeviceError, match=rf"^the job is not over after 0\.5 s\. .*{words}.*Registers: .*Count"
    ):
        device.run(model, x)
    assert 0.5 <= port.waited < 0.52
    assert port.buffers == 1 and port.written[-1] == "reset"
    port.job = FakePort.finish
    device.run(model, x)


def test_no_job_starts_while_memory_owes_answers(device, port, model, x, monkeypatch):
    device.load(model)
    port.poke("ctrl", 0)
    monkeypatch.setattr(port, "write32", lambda address, value: None)
    with pytest.raises(DeviceError, match=r"^no job can start: the accelerator does not become idle\. .*Reg"):
        device.run(model, x)
    assert port.buffers == 1


def test_an_interrupt_that_never_comes_is_made_good_and_told_once(device, port, model, x, caplog):
    port.waits = [False] * 4
    for _ in range(2):
        assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))
    (warning,) = caplog.messages
    assert "interrupt did not come" in warning
    assert device.control.interrupts_lost == 2


def test_an_interrupt_that_comes_late_is_waited_for(device, port, model, x, caplog):
    port.job = FakePort.hang
    looks = []

    def on_wait():
        looks.append(port.peek("isr"))
        if len(looks) == 4:
            FakePort.finish(port)

    port.on_wait = on_wait
    assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))
    assert len(looks) == 4 and not caplog.messages


def test_an_interrupt_of_something_else_does_not_end_the_job(device, port, model, x):
    port.job = FakePort.hang
    port.waits = [True, True, True, False]
    port.on_wait = lambda: port.waits or FakePort.finish(port)
    assert np.array_equal(device.run(model, x, raw=True), golden.run(model.network, x))
