"""Serial lines for tests: to a bridge in Python, with faults, as a pseudo-terminal."""

import os
import random
import select
import threading
import tty

from weightstream.spec import serial
from weightstream.spec.serial import Command, Frames, Status, encode

#: Bytes of memory of the boards here.
MEMORY_BYTES = 64 << 10


class FakeBridge:
    """A line with a bridge at its end that follows docs/serial.md, written a second time.

    Attributes
    ----------
    requests : list of tuple
        Command, sequence number, length, address, data of what was heard.
    before_answer : callable
        Takes the number of the request; what it returns, if anything, is sent instead of the answer.
    """

    def __init__(self):
        self.registers, self.memory = {}, bytearray(MEMORY_BYTES)
        self.requests, self.writes = [], []
        self.identity = [
            *(serial.MAGIC, serial.VERSION, serial.BLOCK_BYTES, serial.MEMORY_BASE, MEMORY_BYTES, 48_000_000)
        ]
        self.before_answer = lambda number, answer: answer
        self.interrupt = False
        self.closed = False
        self._frames, self._out, self._last = Frames(), b"", None

    @property
    def in_waiting(self):
        return len(self._out)

    def write(self, data):
        for body in self._frames.feed(data):
            fields = serial.REQUEST.unpack_from(body)
            request = (*fields, body[serial.REQUEST.size :])
            answer = encode(self._answer(*request))
            self._out += self.before_answer(len(self.requests), answer)
            self.requests.append(request)
        return len(data)

    def read(self, size=1):
        taken, self._out = self._out[:size], self._out[size:]
        return taken

    def close(self):
        self.closed = True

    def _answer(self, command, sequence, length, address, data):
        if command in (Command.READ_REGISTER, Command.WRITE_REGISTER) and self._last == (command, sequence):
            payload = self._repeated
        elif command == Command.WRITE_REGISTER:
            self.registers[address], payload = data, b""
            self.writes.append((address, data))
        elif command == Command.READ_REGISTER:
            payload = self.registers.get(address, bytes(4))
        else:
            payload = self._other(command, length, address, data)
        self._last, self._repeated = (command, sequence), payload
        flags = serial.INTERRUPT if self.interrupt else 0
        return serial.REPLY.pack(command | serial.ANSWERED, sequence, Status.OK, flags) + payload

    def _other(self, command, length, address, data):
        if command == Command.IDENTIFY:
            return serial.IDENTITY.pack(*self.identity, address)
        at = address - serial.MEMORY_BASE
        if command == Command.WRITE_MEMORY:
            assert len(data) == length and 0 <= at <= MEMORY_BYTES - length
            self.memory[at : at + length] = data
        if command == Command.READ_MEMORY:
            assert 0 <= at <= MEMORY_BYTES - length
            return bytes(self.memory[at : at + length])
        return b""


class BadLine:
    """A line that loses and damages bytes at random, in both directions.

    Parameters
    ----------
    line
        The line.
    lost, damaged : float
        Shares of bytes.
    seed : int
        Of which ones.
    """

    def __init__(self, line, *, lost=0.0, damaged=0.0, seed=1):
        self._line, self._lost, self._damaged = line, lost, damaged
        self._random = random.Random(seed)
        self.faults = 0

    @property
    def in_waiting(self):
        return self._line.in_waiting

    def write(self, data):
        self._line.write(self._spoil(data))
        return len(data)

    def read(self, size=1):
        while data := self._line.read(size):
            if spoilt := self._spoil(data):
                return spoilt
        return b""

    def close(self):
        self._line.close()

    def _spoil(self, data):
        kept = bytearray()
        for byte in data:
            dice = self._random.random()
            if dice < self._lost:
                self.faults += 1
                continue
            if dice < self._lost + self._damaged:
                self.faults += 1
                byte ^= 1 << self._random.randrange(8)
            kept.append(byte)
        return bytes(kept)


class PseudoTerminal:
    """A pseudo-terminal with something at its end.

    Parameters
    ----------
    pump : callable
        Takes the bytes that came, returns those that go back; called again and again by a thread.

    Attributes
    ----------
    path : str
        What programs open.
    """

    def __init__(self, pump):
        self._pump = pump
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()
        os.close(self._ours)
        os.close(self._theirs)

    def _run(self):
        while not self._ending.is_set():
            readable, _, _ = select.select([self._ours], [], [], 0)
            answer = self._pump(os.read(self._ours, 4096) if readable else b"")
            while answer:
                answer = answer[os.write(self._ours, answer) :]
