"""The way to an accelerator behind a serial line: registers, memory and interrupt by frames."""

from __future__ import annotations

import time
from contextlib import suppress

import numpy as np

from ..errors import DeviceError, TargetError
from ..spec.serial import INTERRUPT, REGISTER_BYTES, WORD_BYTES, Command
from .ranges import first_free, largest_free
from .serial_link import SerialLink

#: Bits a second, unless others are named: what the bitstream of ULX3S has.
BAUD = 3_000_000
#: Seconds without a byte after which a request counts as lost.
PATIENCE = 0.25
_ALIGNMENT = 64
#: Seconds between looks at the interrupt line, at first and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 5e-4, 1e-2


class SerialBuffer:
    """A range of the board's memory, and a copy of it here."""

    def __init__(self, port: SerialPort, start: int, size: int):
        self._port: SerialPort | None = port
        # Memory is read and written in words; the next range begins behind the last one.
        self._copy = np.zeros(-(-size // WORD_BYTES) * WORD_BYTES, np.uint8)
        self.range = range(start, start + len(self._copy))
        self.data = self._copy[:size]
        self.address = port.identity.base + start

    def flush(self) -> None:
        """Send the copy to the board."""
        self._held().write(self.address, self._copy.tobytes())

    def invalidate(self) -> None:
        """Fetch the copy from the board."""
        self._copy[:] = np.frombuffer(self._held().read(self.address, len(self._copy)), np.uint8)

    def _held(self) -> SerialPort:
        if self._port is None:
            raise DeviceError("the buffer was freed")
        return self._port

    def free(self) -> None:
        """Give the range back."""
        if self._port is not None:
            self._port.release(self)
            self._port = None


class SerialPort:
    """An accelerator behind a serial line.

    Parameters
    ----------
    link : SerialLink
        The line; the port closes it.

    Attributes
    ----------
    identity : Identity
        The bridge at its other end.

    Raises
    ------
    TargetError
        What answers is no bridge, or one of another version.
    """

    def __init__(self, link: SerialLink):
        self._link = link
        self._taken: list[SerialBuffer] = []
        self._closed = False
        try:
            self.identity = link.identify()
        except BaseException:
            link.close()
            raise

    def read32(self, address: int) -> int:
        """Return a register."""
        return int.from_bytes(self._ask(Command.READ_REGISTER, address, REGISTER_BYTES), "little")

    def write32(self, address: int, value: int) -> None:
        """Write a register."""
        self._ask(Command.WRITE_REGISTER, address, REGISTER_BYTES, int(value).to_bytes(4, "little"))

    def write(self, address: int, data: bytes) -> None:
        """Write whole words of memory."""
        step = self.identity.block_bytes
        for at in range(0, len(data), step):
            block = data[at : at + step]
            self._ask(Command.WRITE_MEMORY, address + at, len(block), block)

    def read(self, address: int, size: int) -> bytes:
        """Return whole words of memory."""
        step = self.identity.block_bytes
        blocks = (
            self._ask(Command.READ_MEMORY, address + at, min(step, size - at)) for at in range(0, size, step)
        )
        return b"".join(blocks)

    def allocate(self, size: int) -> SerialBuffer:
        """Return the first range of the board's memory that is free.

        Raises
        ------
        DeviceError
            There is none of that size.
        """
        taken, limit = [buffer.range for buffer in self._taken], self.identity.size
        start = first_free(taken, size, limit, _ALIGNMENT)
        if start is None:
            raise DeviceError(
                f"{size} bytes do not fit the board's memory: of its {limit} bytes, "
                f"{largest_free(taken, limit, _ALIGNMENT)} are free side by side"
            )
        buffer = SerialBuffer(self, start, size)
        self._taken.append(buffer)
        return buffer

    def release(self, buffer: SerialBuffer) -> None:
        """Take a range back."""
        self._taken.remove(buffer)

    @property
    def buffers(self) -> int:
        """Buffers that were not given back."""
        return len(self._taken)

    @property
    def retries(self) -> int:
        """Requests that were sent again, for the line had lost them or their answers."""
        return self._link.retries

    def wait(self, seconds: float) -> bool:
        """Look at the interrupt line until it is up, at most so long."""
        end, pause = time.monotonic() + seconds, _FIRST_PAUSE
        while True:
            self._check_open()
            _, flags = self._link.ask(Command.STATUS)
            if flags & INTERRUPT:
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Close the line; calling it again does nothing."""
        self._closed = True
        self._link.close()

    def _ask(self, command: Command, address: int, length: int, data: bytes = b"") -> bytes:
        self._check_open()
        return self._link.ask(command, address, length, data)[0]

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceError(f"{self._link.name} is closed")


def open_port(target: str, *, patience: float = PATIENCE) -> SerialPort:
    """Return the port of ``<device>`` or ``<device>@<baud>``.

    Parameters
    ----------
    target : str
        What the system calls the serial port, such as ``/dev/ttyUSB0`` or ``COM3``.
    patience : float
        Seconds without a byte after which a request is sent again.

    Raises
    ------
    TargetError
        pyserial is missing, there is no such port, or no bridge at its other end.
    """
    if not patience > 0:
        raise ValueError(f"patience must be positive, not {patience!r}")
    name, mark, rate = target.rpartition("@")
    if not mark:
        name, rate = target, str(BAUD)
    if not name or not rate.isdecimal() or not int(rate):
        raise TargetError(f"target must be 'serial:<port>' or 'serial:<port>@<baud>', not 'serial:{target}'")
    try:
        import serial
    except ModuleNotFoundError as error:
        raise TargetError(
            f"target 'serial' needs {error.name}: pip install 'weightstream[serial]'"
        ) from error
    try:
        line = serial.Serial(name, int(rate), timeout=patience, write_timeout=10 * patience, exclusive=True)
        line.reset_input_buffer()
    except (OSError, ValueError) as error:
        raise TargetError(f"cannot open serial port {name}: {error}; {_ports()}") from error
    # Without it, an FTDI adapter holds short answers back for 16 ms. Not all ports have it.
    with suppress(OSError, ValueError, NotImplementedError):
        line.set_low_latency_mode(True)
    return SerialPort(SerialLink(line, f"{name} at {rate} baud"))


def _ports() -> str:
    """Return which serial ports there are, in words."""
    from serial.tools.list_ports import comports

    names = ", ".join(sorted(port.device for port in comports()))
    return f"there are {names}" if names else "there are no serial ports"
