"""The serial line, from the computer's side: frames, retries, allocation, errors in words."""

import random
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import needs
import weightstream as ws
from serial_lines import MEMORY_BYTES, BadLine, FakeBridge
from weightstream.errors import DeviceError, TargetError
from weightstream.runtime.ranges import first_free, largest_free
from weightstream.runtime.serial_link import ATTEMPTS, SerialLink
from weightstream.runtime.serial_port import SerialPort
from weightstream.spec import serial
from weightstream.spec.serial import BLOCK_BYTES, MEMORY_BASE, Command, Frames, Status, encode

BODY = serial.REPLY.pack(3, 125, 0, 126) + bytes(range(100, 140))


@pytest.fixture
def bridge():
    return FakeBridge()


def port_to(line):
    return SerialPort(SerialLink(line, "line"))


def heard(bridge, command):
    return [request for request in bridge.requests if request[0] == command]


# ---- frames --------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=5), st.integers(1, 9))
def test_frames_come_out_as_they_went_in(bodies, step):
    frames, text, got = Frames(), b"".join(map(encode, bodies)), []
    for at in range(0, len(text), step):
        got += frames.feed(text[at : at + step])
    assert got == bodies and frames.broken == 0


def test_a_frame_with_one_byte_lost_or_changed_is_dropped_and_the_next_one_is_not():
    frame = encode(BODY)
    for at in range(1, len(frame) - 1):
        for changed in (b"", bytes([frame[at] ^ 1]), bytes([frame[at] ^ 0x80]), b"\x7d", b"\x7e"):
            if changed != frame[at : at + 1]:
                text = frame[:at] + changed + frame[at + 1 :]
                assert Frames().feed(text + encode(b"next")) == [b"next"], (at, changed)


@pytest.mark.parametrize("text", [b"", b"noise", b"\x7e\x7e\x7e", b"\x7d\x7d\x7e", b"a\x7d"], ids=repr)
def test_noise_before_a_frame_is_left_behind(text):
    assert Frames().feed(text + encode(BODY) + encode(BODY))[-1] == BODY


def test_frames_that_never_end_take_no_more_memory():
    frames = Frames(longest=100)
    for _ in range(50):
        assert frames.feed(bytes(90)) == []
    assert len(frames._kept) <= 101
    assert frames.feed(bytes([serial.FLAG])) == [] and frames.broken == 1


# ---- requests ------------------------------------------------------------------------------------


def test_registers_and_memory_are_reached(bridge):
    port = port_to(bridge)
    port.write32(0x10, 0x01020304)
    assert bridge.writes == [(0x10, bytes([4, 3, 2, 1]))] and port.read32(0x10) == 0x01020304
    buffer = port.allocate(3 * BLOCK_BYTES + 5)
    buffer.data[:] = np.arange(buffer.data.size) % 251
    buffer.flush()
    at = buffer.address - MEMORY_BASE
    assert bytes(bridge.memory[at : at + buffer.data.size]) == buffer.data.tobytes()
    assert [request[2] for request in heard(bridge, Command.WRITE_MEMORY)] == [BLOCK_BYTES] * 3 + [8]
    expected = buffer.data.tobytes()
    buffer.data[:] = 0
    buffer.invalidate()
    assert buffer.data.tobytes() == expected
    assert port.retries == 0
    port.close()
    assert bridge.closed


def test_sequence_numbers_go_round(bridge):
    port = port_to(bridge)
    for value in range(600):
        port.write32(0x10, value)
    numbers = [request[1] for request in bridge.requests]
    assert numbers == [(1 + n) % 256 for n in range(601)]
    assert [int.from_bytes(data, "little") for _, data in bridge.writes] == list(range(600))


LOSSES = {
    "lost": lambda answer: b"",
    "cut off": lambda answer: answer[:5],
    "damaged": lambda answer: answer[:3] + bytes([answer[3] ^ 8]) + answer[4:],
    "without its end": lambda answer: answer[:-1],
    "of somebody else": lambda answer: encode(
        serial.REPLY.pack(serial.ANSWERED | Command.READ_MEMORY, 0, 0, 0)
    ),
    "too short": lambda answer: encode(b"\x84"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_an_answer_that_is_lost_is_asked_for_again_and_nothing_is_done_twice(bridge, loss):
    port = port_to(bridge)
    first = len(bridge.requests)
    bridge.before_answer = lambda number, answer: LOSSES[loss](answer) if number < first + 2 else answer
    port.write32(0x00, 1)
    assert bridge.writes == [(0x00, bytes([1, 0, 0, 0]))]
    assert len(set(heard(bridge, Command.WRITE_REGISTER))) == 1
    # The flag that begins the second answer ends the first one, if that is all that it lacks.
    sent = 2 if loss == "without its end" else 3
    assert len(heard(bridge, Command.WRITE_REGISTER)) == sent == port.retries + 1


def test_late_answers_are_not_taken_for_answers_to_later_requests(bridge):
    port = port_to(bridge)
    late = []

    def delay(number, answer):
        late.append(answer)
        return b"" if len(late) % 2 else b"".join(late)  # both come when it is asked again

    bridge.before_answer = delay
    for value in range(5):
        port.write32(4 * value, value)
        assert port.read32(4 * value) == value


def test_a_line_that_loses_and_damages_bytes_loses_no_data(bridge):
    line = BadLine(bridge, lost=1e-4, damaged=1e-4, seed=3)
    port = port_to(line)
    buffer = port.allocate(48 << 10)
    buffer.data[:] = np.frombuffer(random.Random(1).randbytes(48 << 10), np.uint8)
    expected = buffer.data.tobytes()
    buffer.flush()
    buffer.data[:] = 0
    buffer.invalidate()
    assert buffer.data.tobytes() == expected
    assert port.retries > 0 and line.faults > 5


def test_silence_ends_after_so_many_attempts(bridge):
    port = port_to(bridge)
    bridge.before_answer = lambda number, answer: b""
    text = rf"^line does not answer to READ_REGISTER of 0x80: it was asked {ATTEMPTS} times, nothing came"
    with pytest.raises(DeviceError, match=text):
        port.read32(0x80)
    assert len(heard(bridge, Command.READ_REGISTER)) == ATTEMPTS


def test_a_line_that_is_unplugged_is_named(bridge):
    port = port_to(bridge)

    def unplugged(data):
        raise OSError(5, "Input/output error")

    bridge.write = unplugged
    with pytest.raises(DeviceError, match=r"^line failed: \[Errno 5\] Input/output error$"):
        port.read32(0)


def test_refusals_say_why(bridge):
    port = port_to(bridge)
    bridge.before_answer = lambda number, answer: encode(
        serial.REPLY.pack(serial.ANSWERED | Command.READ_MEMORY, 2, Status.ADDRESS, 0)
    )
    text = r"^line refuses READ_MEMORY of 0x10000000, 16 bytes, with status 3: There is no such register"
    with pytest.raises(DeviceError, match=text):
        port.read(MEMORY_BASE, 16)


def test_answers_of_another_length_are_no_answers(bridge):
    port = port_to(bridge)
    bridge.before_answer = lambda number, answer: encode(
        serial.REPLY.pack(serial.ANSWERED | Command.READ_REGISTER, 2, Status.OK, 0) + b"123"
    )
    with pytest.raises(DeviceError, match="^line answers to READ_REGISTER of 0x80, 4 bytes, with 3 bytes$"):
        port.read32(0x80)


def test_the_interrupt_line_is_looked_at_until_it_is_up(bridge):
    port = port_to(bridge)
    assert not port.wait(1e-3)

    def soon(number, answer):
        bridge.interrupt = len(bridge.requests) > 10
        return answer

    bridge.before_answer = soon
    assert port.wait(60.0)


# ---- who answers ---------------------------------------------------------------------------------


class Babbler(FakeBridge):
    """Something else that talks all the time, or sends back what it hears."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    @property
    def in_waiting(self):
        return len(self.text)

    def write(self, data):
        self.text = self.text or data
        return len(data)

    def read(self, size=1):
        return self.text[:size]


@pytest.mark.parametrize(
    "text",
    [b"login: ", bytes([serial.FLAG]) * 3, encode(b"hello"), random.Random(1).randbytes(999), b""],
    ids=["words", "flags", "frames", "noise", "echo"],
)
def test_something_else_that_talks_is_no_bridge(text):
    line = Babbler(text)
    with pytest.raises(TargetError, match=r"^line does not answer to IDENTIFY .* is it the board's port"):
        port_to(line)
    assert line.closed


def test_nobody_is_no_bridge(bridge):
    bridge.before_answer = lambda number, answer: b""
    with pytest.raises(TargetError, match=r"IDENTIFY .*nothing came after the last one; is it the board's"):
        port_to(bridge)
    assert bridge.closed


def test_another_magic_or_version_is_refused(bridge):
    bridge.identity[0] = b"ABCD"
    with pytest.raises(TargetError, match="^what answers on line is no weightstream bridge: 41424344"):
        port_to(bridge)
    bridge.identity[:2] = serial.MAGIC, 2
    with pytest.raises(
        TargetError, match="^the bridge on line speaks version 2 of the protocol, this driver 1"
    ):
        port_to(bridge)


# ---- memory --------------------------------------------------------------------------------------


def test_ranges_are_given_out_from_the_start_and_aligned():
    taken = [range(0, 10), range(64, 128), range(256, 300)]
    assert first_free(taken, 54, 512, 64) == 128
    assert first_free(taken, 128, 512, 64) == 128
    assert first_free(taken, 129, 512, 64) == 320
    assert first_free(taken, 193, 512, 64) is None
    assert largest_free(taken, 512, 64) == 192
    assert first_free([], 512, 512, 64) == 0 and largest_free([range(0, 500)], 512, 64) == 0


def test_memory_that_does_not_suffice_is_refused_in_numbers(bridge):
    port = port_to(bridge)
    first = port.allocate(40_000)
    text = f"^30000 bytes do not fit the board's memory: of its {MEMORY_BYTES} bytes, 25536 are free side by"
    with pytest.raises(DeviceError, match=text):
        port.allocate(30_000)
    second = port.allocate(25_536)
    assert (first.address, second.address) == (MEMORY_BASE, MEMORY_BASE + 40_000)
    first.free()
    first.free()
    assert port.allocate(30_000).address == MEMORY_BASE and port.buffers == 2
    with pytest.raises(DeviceError, match="^the buffer was freed$"):
        first.flush()


def test_a_closed_port_says_so(bridge):
    port = port_to(bridge)
    port.close()
    for call in (lambda: port.read32(0), lambda: port.wait(1), lambda: port.write(MEMORY_BASE, bytes(8))):
        with pytest.raises(DeviceError, match="^line is closed$"):
            call()


# ---- opening -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "@3000000", "/dev/ttyUSB0@", "/dev/ttyUSB0@fast", "/dev/ttyUSB0@0"])
def test_targets_that_name_no_port_are_refused(name):
    with pytest.raises(TargetError, match=rf"^target must be 'serial:<port>' or .*, not 'serial:{name}'$"):
        ws.open(f"serial:{name}")


def test_a_port_that_is_not_there_is_named():
    needs.package("serial")
    with pytest.raises(TargetError, match=r"^cannot open serial port /dev/no-such-port: .*; there are "):
        ws.open("serial:/dev/no-such-port")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(
        TargetError, match=r"^target 'serial' needs serial: pip install 'weightstream\[serial\]'$"
    ):
        ws.open("serial:/dev/ttyUSB0")


def test_patience_must_be_positive():
    with pytest.raises(ValueError, match="^patience must be positive, not 0$"):
        ws.open("serial:/dev/ttyUSB0", patience=0)
