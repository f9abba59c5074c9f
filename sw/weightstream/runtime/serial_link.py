"""Requests and answers on a serial line: docs/serial.md. What is lost is asked for again."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from ..errors import DeviceError, TargetError
from ..spec.serial import (
    ANSWERED,
    BLOCK_BYTES,
    IDENTITY,
    MAGIC,
    REPLY,
    REQUEST,
    VERSION,
    Command,
    Frames,
    Status,
    encode,
)

#: Times that a request is sent before the line is given up.
ATTEMPTS = 6
#: Bytes of something else that are read before a request counts as unanswered.
_NOISE = 16 * BLOCK_BYTES
_ADVICE = "is it the board's port, and is the board configured with this version's bitstream?"


class Line(Protocol):
    """A serial line, as pyserial has it."""

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once."""
        ...

    def write(self, data: bytes, /) -> int | None:
        """Send bytes."""
        ...

    def read(self, size: int = 1, /) -> bytes:
        """Return so many bytes, fewer if they do not come in time."""
        ...

    def close(self) -> None:
        """Close it; calling it again does nothing."""
        ...


@dataclass(frozen=True)
class Identity:
    """What a bridge says of itself.

    Parameters
    ----------
    block_bytes : int
        The most bytes of memory that a request carries.
    base, size : int
        Where its memory begins, and how many bytes there are.
    clock_hz : int
        The accelerator's clock.
    """

    block_bytes: int
    base: int
    size: int
    clock_hz: int


class SerialLink:
    """Asks a bridge, and waits for its answers.

    Parameters
    ----------
    line : Line
        The line; its reads end after some time without a byte.
    name : str
        What messages call it.

    Attributes
    ----------
    retries : int
        Requests that had to be sent again.
    """

    def __init__(self, line: Line, name: str):
        self._line = line
        self.name = name
        self.retries = 0
        self._frames = Frames()
        self._sequence = 0
        self._heard = 0

    def identify(self) -> Identity:
        """Ask who answers.

        Raises
        ------
        TargetError
            No bridge, or one of another version.
        """
        nonce = int.from_bytes(os.urandom(4), "little")
        try:
            answer, _ = self.ask(Command.IDENTIFY, nonce, IDENTITY.size)
        except DeviceError as error:
            raise TargetError(f"{error}; {_ADVICE}") from error
        magic, version, block_bytes, base, size, clock_hz, returned = IDENTITY.unpack(answer)
        if magic != MAGIC or returned != nonce:
            raise TargetError(
                f"what answers on {self.name} is no weightstream bridge: {answer.hex()}; {_ADVICE}"
            )
        if version != VERSION:
            raise TargetError(
                f"the bridge on {self.name} speaks version {version} of the protocol, this driver {VERSION}: "
                "configure the board with the bitstream that belongs to this version of weightstream"
            )
        return Identity(block_bytes, base, size, clock_hz)

    def ask(
        self, command: Command, address: int = 0, length: int = 0, data: bytes = b""
    ) -> tuple[bytes, int]:
        """Send a request until it is answered.

        Parameters
        ----------
        command : Command
            What is asked for.
        address, length : int
            Of a register, or of a range of memory.
        data : bytes
            What is written.

        Returns
        -------
        bytes
            What was read.
        int
            Flags of the answer.

        Raises
        ------
        DeviceError
            There is no answer, or the bridge refuses the request.
        """
        self._sequence = (self._sequence + 1) % 256
        frame = encode(REQUEST.pack(command, self._sequence, length, address) + data)
        for attempt in range(ATTEMPTS):
            self.retries += attempt > 0
            if answer := self._try(frame, command):
                break
        else:
            heard = f"{self._heard} bytes came, none of them an answer" if self._heard else "nothing came"
            raise DeviceError(
                f"{self.name} does not answer to {command.name} of 0x{address:x}: "
                f"it was asked {ATTEMPTS} times, {heard} after the last one"
            )
        status, flags, payload = answer
        if status != Status.OK:
            sentence = Status(status).sentence if status in list(Status) else "This driver does not know it."
            raise DeviceError(
                f"{self.name} refuses {command.name} of 0x{address:x}, {length} bytes, with status {status}: "
                f"{sentence}"
            )
        if len(payload) != (0 if data else length):
            raise DeviceError(
                f"{self.name} answers to {command.name} of 0x{address:x}, {length} bytes, "
                f"with {len(payload)} bytes"
            )
        return payload, flags

    def _try(self, frame: bytes, command: Command) -> tuple[int, int, bytes] | None:
        """Send a frame once; return status, flags and payload of its answer, if it comes whole."""
        self._heard = 0
        broken = self._frames.broken
        with self._failures():
            self._line.write(frame)
        while self._heard < _NOISE and self._frames.broken == broken:
            with self._failures():
                text = self._line.read(max(1, self._line.in_waiting))
            if not text:
                break
            self._heard += len(text)
            for body in self._frames.feed(text):
                # Others are late answers to what was asked more than once.
                if body[:2] == bytes([command | ANSWERED, self._sequence]) and len(body) >= REPLY.size:
                    _, _, status, flags = REPLY.unpack_from(body)
                    return status, flags, body[REPLY.size :]
        return None

    def close(self) -> None:
        """Close the line; calling it again does nothing."""
        self._line.close()

    @contextmanager
    def _failures(self):
        """Say of what the system reports which line it is."""
        try:
            yield
        except OSError as error:
            raise DeviceError(f"{self.name} failed: {error}") from error
