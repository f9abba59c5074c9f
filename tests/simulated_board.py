"""A board for pynq: its registers are the compiled RTL, its memory has caches that nobody flushes unasked."""

import asyncio
import threading
import weakref

import numpy as np
import pynq
from pynq.buffer import PynqBuffer
from pynq.pl_server.device import Device
from pynqmetadata.frontends import Metadata

try:
    from pynqmetadata.views.runtime import RuntimeMetadataParser
except ImportError:  # pynq 3
    from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser

from weightstream.board.fake.blocks import InterruptController
from weightstream.runtime.sim_port import SimPort

#: Seconds of a board that pass, at most, with each look at a register, and at the UIO device.
_TICK, _UIO_TICK = 2e-6, 1e-5


class BufferObject:
    """What pynq calls a buffer object: the processor's bytes, and where the accelerator has its own."""

    def __init__(self, simulated, size):
        self.memory = simulated
        self.cache = np.full(size, 0xA5, np.uint8)


class SimulatedBoard(Device):
    """A `pynq.Device`.

    Parameters
    ----------
    machine : Machine
        What its PL is configured with, whatever the bitstream.
    """

    def __init__(self, machine):
        super().__init__("simulated")
        self.name = "simulated"
        self.arch = "aarch64"
        self.capabilities = {"REGISTER_RW": True}
        self.port = SimPort(machine)
        # The loop that serves interrupts runs in a thread of its own.
        self._lock = threading.RLock()
        self.controller = InterruptController(self.line)
        self.flushed = self.invalidated = self.looks = 0
        self.memory_left = 1 << 27

    def line(self, seconds=0):
        """Whether the accelerator's interrupt is up, at the latest after so much time of the board."""
        with self._lock:
            return self.port.wait(seconds)

    def read_registers(self, address, length):
        assert length == 4
        block, offset = self._block(address)
        if block is self.controller:
            return int(block.read32(offset)).to_bytes(4, "little")
        self.looks += 1
        with self._lock:
            self.port.wait(_TICK)
            return self.port.read32(offset).to_bytes(4, "little")

    def write_registers(self, address, data):
        block, offset = self._block(address)
        value = int.from_bytes(bytes(data), "little")
        with self._lock:
            block.write32(offset, value)

    def _block(self, address):
        for name, block in (("accelerator_0", self.port), ("axi_intc_0", self.controller)):
            entry = self.ip_dict[name]
            if entry["phys_addr"] <= address < entry["phys_addr"] + entry["addr_range"]:
                return block, address - entry["phys_addr"]
        raise AssertionError(f"nothing is at 0x{address:x}: a board would hang")

    def allocate(self, shape, dtype, cacheable=0, **_):
        assert cacheable
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > self.memory_left:
            raise RuntimeError("BO allocation failed: Cannot allocate memory")
        held = BufferObject(self.port.allocate(size), size)
        # Freed as on a board: when nobody has the buffer object any more.
        weakref.finalize(held, held.memory.free)
        held.memory.data[:] = 0x5A
        return PynqBuffer(
            shape,
            dtype,
            device=self,
            bo=held,
            buffer=held.cache,
            device_address=held.memory.address,
            coherent=False,
        )

    def flush(self, bo, offset, vaddr, nbytes):
        self.flushed += 1
        bo.memory.data[:] = bo.cache

    def invalidate(self, bo, offset, vaddr, nbytes):
        self.invalidated += 1
        bo.cache[:] = bo.memory.data

    def get_bitfile_metadata(self, bitfile_name, partial=False):
        parser = RuntimeMetadataParser(Metadata(input=bitfile_name.replace(".bit", ".hwh")))
        # The clocks of the processor are no part of this board.
        self.clocks = dict(parser.clock_dict.items())
        parser.clock_dict = {}
        return parser

    def gen_cache(self, bitstream, parser=None):
        pass

    def download(self, bitstream, parser=None):
        self.post_download(bitstream, parser, self.name)


class SimulatedUio:
    """The UIO device of the interrupt controller: looks at its line from the loop that it was made in."""

    board = None
    ignored = False

    def __init__(self, _path):
        self._loop = asyncio.get_running_loop()
        self._events = []

    def add_event(self, event, number):
        self._events.append(event)
        self._loop.call_later(0.001, self._look)

    def _look(self):
        if not self._events:
            return
        board = type(self).board
        board.line(_UIO_TICK)
        if board.controller.raised and not type(self).ignored:
            events, self._events = self._events, []
            for event in events:
                event.set()
        else:
            self._loop.call_later(0.001, self._look)


def connect_interrupts(patch, board):
    """Give pynq the UIO device of a board."""
    import pynq.interrupt as module

    SimulatedUio.board, SimulatedUio.ignored = board, False
    patch.setattr(module, "get_uio_irq", lambda irq: f"uio of {irq}")
    patch.setattr(module, "UioController", SimulatedUio)
    module._InterruptController._controllers.clear()
    module._InterruptController._uio_devices.clear()
    pynq.Device.active_device = board
