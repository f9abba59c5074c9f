"""Opening: the driver knows what answers, or refuses it. Closing: it says so, and leaves nothing running."""

import pytest

from fake_port import IDLE, TINY, FakePort
from weightstream.errors import DeviceError, TargetError
from weightstream.runtime.driver import Accelerator
from weightstream.spec.machine import PRESETS


@pytest.mark.parametrize(
    ("register", "value", "message"),
    [
        ("identity", 0, r"the identity of what answers is 0x00000000, this driver knows 0x52545357: load"),
        ("map", 0x1234, r"the register map of what answers is 0x00001234, this driver knows 0x\w{8}: load"),
        ("machine", 0xABCD, r"the machine digest of what answers is 0x0000ABCD, but its registers shape 0x"),
        (
            "shape",
            0,
            r"the registers shape 0x00000000 and memory 0x\w{8} describe a machine that cannot be: ",
        ),
    ],
    ids=["identity", "map", "machine", "shape"],
)
def test_what_is_not_known_is_refused_and_not_written_to(port, register, value, message):
    port.poke(register, value)
    with pytest.raises(TargetError, match=f"^{message}.*overlay"):
        Accelerator(port)
    assert port.closed and not port.written


def test_parameters_other_than_the_digest_are_refused(port):
    port.poke("shape", port.peek("shape") ^ 1 << 24)  # no thresholds
    with pytest.raises(TargetError, match=f"digest of what answers is 0x{TINY.digest:08X}, but"):
        Accelerator(port)


@pytest.mark.parametrize("name", PRESETS)
def test_the_machine_is_read_back(name):
    with Accelerator(FakePort(PRESETS[name])) as device:
        assert device.machine == PRESETS[name]


def test_a_job_that_someone_left_running_is_given_up(port):
    port.hang()
    Accelerator(port).close()
    assert port.written[0] == "reset"


# ---- closing -------------------------------------------------------------------------------------


def test_closing_leaves_an_accelerator_that_is_idle_and_does_not_interrupt(port):
    with Accelerator(port):
        assert port.peek("gie") == port.peek("ier") == 1
        port.hang()
    assert port.peek("ctrl") == IDLE and port.peek("gie") == 0


@pytest.mark.parametrize(
    "use",
    [
        lambda d, m, x: d.run(m, x),
        lambda d, m, x: d.run_async(m, x),
        lambda d, m, x: d.load(m),
        lambda d, m, x: d.counters(),
        lambda d, m, x: d.profile(),
        lambda d, m, x: d.buffer(10).__enter__(),
    ],
    ids=["run", "async", "load", "counters", "profile", "buffer"],
)
def test_a_closed_device_says_so(port, model, x, use):
    device = Accelerator(port)
    device.close()
    with pytest.raises(DeviceError, match=r"^the device is closed: open it again$"):
        use(device, model, x)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_must_be_positive(port, timeout):
    with pytest.raises(ValueError, match="^timeout must be positive, not"):
        Accelerator(port, timeout=timeout)
