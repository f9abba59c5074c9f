"""A port of plain Python: registers in a dictionary, jobs run by the golden machine."""

import numpy as np

import machine_networks
from weightstream.golden.machine import run_image
from weightstream.runtime import selftest
from weightstream.spec.image import HEADER
from weightstream.spec.machine import PRESETS
from weightstream.spec.registers import BY_NAME, constants

TINY = PRESETS["tiny"]
START, IDLE, DONE = 1, 4, 1
BASE = 0x10000000


class FakeBuffer:
    """Memory with a cache: what is not flushed or invalidated does not arrive."""

    def __init__(self, port, address, size):
        self.port, self.address = port, address
        self.data = np.full(size, 0xC5, np.uint8)
        self.memory = np.full(size, 0x5C, np.uint8)
        self.dirty = True

    def flush(self):
        self.memory[:] = self.data
        self.dirty = False

    def invalidate(self):
        self.data[:] = self.memory

    def free(self):
        if self in self.port.held:
            self.port.held.remove(self)


class FakePort:
    """An accelerator of a dictionary; `job`: what a start does, `waits`: what waits return if not empty."""

    def __init__(self, machine=TINY):
        self.machine = machine
        self.held = []
        self.registers = {BY_NAME["ctrl"].address: IDLE}
        for (register, field), value in constants(machine).items():
            self.poke(register, self.peek(register) | value << BY_NAME[register].field(field).lsb)
        self.written = []
        self.waits = []
        self.waited = 0.0
        self.job = FakePort.finish
        self.on_wait = lambda: None
        self.failing = None
        self.next = BASE
        self.closed = False

    def peek(self, name):
        address = BY_NAME[name].address
        high = self.registers.get(address + 4, 0) if BY_NAME[name].words == 2 else 0
        return self.registers.get(address, 0) | high << 32

    def poke(self, name, value):
        address = BY_NAME[name].address
        self.registers[address] = value & 0xFFFFFFFF
        if BY_NAME[name].words == 2:
            self.registers[address + 4] = value >> 32

    def count(self, name, amount):
        self.poke(name, self.peek(name) + amount)

    def read32(self, address):
        return self.registers.get(address, 0)

    def write32(self, address, value):
        assert type(value) is int and 0 <= value < 1 << 32
        names = [name for name, register in BY_NAME.items() if register.address == address]
        self.written += names
        if names == ["ctrl"]:
            assert value == START and self.peek("ctrl") & IDLE
            self.job(self)
        elif names == ["isr"]:
            self.poke("isr", self.peek("isr") ^ value)
        elif names == ["reset"]:
            self.poke("error", 0)
            self.poke("ctrl", IDLE)
        else:
            self.registers[address] = value

    def allocate(self, size):
        if self.failing is not None:
            raise self.failing
        buffer = FakeBuffer(self, self.next, size)
        self.next += -(-size // 4096) * 4096
        self.held.append(buffer)
        return buffer

    @property
    def buffers(self):
        return len(self.held)

    def wait(self, seconds):
        assert seconds > 0
        self.on_wait()
        came = self.waits.pop(0) if self.waits else bool(self.peek("isr") & self.peek("ier"))
        self.waited += 0 if came else seconds
        return came

    def close(self):
        self.closed = True

    # ---- what jobs do ----

    def at(self, name):
        (found,) = (buffer for buffer in self.held if buffer.address == self.peek(name))
        return found

    def finish(self):
        """Run the job to its end."""
        image = self.at("image").memory.tobytes()
        assert HEADER.unpack_from(image)[2] == self.machine.digest
        inputs = self.at("input").memory[: self.peek("input_size")]
        size = self.peek("output_size")
        outputs = run_image(image, self.machine, inputs.tobytes(), self.peek("batch"), size)
        assert len(outputs) == size
        self.at("output").memory[: len(outputs)] = np.frombuffer(outputs, np.uint8)
        if self.at("output").dirty:  # the cache writes it back now
            self.at("output").flush()
        for name, amount in (("cycles", 1000), ("busy", 50), ("beats_read", 100), ("jobs", 1)):
            self.count(name, amount)
        self.end()

    def end(self):
        self.poke("ctrl", IDLE)
        self.poke("isr", DONE)

    def hang(self):
        self.poke("ctrl", 0)


def network(seed=1, sizes=(30, 20), machine=TINY):
    return machine_networks.chain(np.random.default_rng(seed), machine, list(sizes))


def file_model(layout=TINY.layout):
    """Return a model that can be written to a file, and inputs."""
    model = selftest._random_model(np.random.default_rng(1), "int4", "even", layout)
    return model, machine_networks.random_inputs(np.random.default_rng(2), model.network, 5)
