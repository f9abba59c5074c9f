"""The fake board itself: what lies at which address, its memory, its files."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import numpy as np

from ...errors import DeviceError
from ...runtime.sim_port import MEMORY_BYTES, SimBuffer, SimPort
from ...spec.registers import ADDRESS_BITS
from .blocks import InterruptController, ProcessorRegisters
from .errors import BoardError, Status
from .files import BoardFiles

_CONTROLLER_BYTES = 0x20
#: What memory is full of before anything is written: the accelerator's bytes, and the processor's.
_STALE, _CACHED = 0x5A, 0xA5

_log = logging.getLogger("weightstream")


class BoardMemory:
    """A buffer: the bytes that the processor has in its cache, and those that the accelerator has."""

    def __init__(self, shared: SimBuffer):
        self.shared = shared
        self.cache = np.full(shared.size, _CACHED, np.uint8)
        shared.data[:] = _STALE


class FakeBoard:
    """A board with a processor, and the simulated accelerator in its logic.

    One thread calls its methods.

    Parameters
    ----------
    description : weightstream_hw.boards.description.Board
        Which board it is.
    port : SimPort
        What its logic holds, once a bitstream is loaded, whichever it is; it is closed with the board.

    Attributes
    ----------
    files : BoardFiles
        Its files.
    """

    def __init__(self, description: Any, port: SimPort):
        processor = description.processor
        architecture = "armv7l" if processor.architecture == "zynq" else "aarch64"
        self._port = port
        self._core, self._intc = processor.core, processor.controller
        self._processor = ProcessorRegisters(architecture)
        self._controller = InterruptController(lambda: port.wait(0))
        self._buffers: dict[str, BoardMemory] = {}
        self._numbers = itertools.count(1)
        self._configured = False
        self.files = BoardFiles(architecture, description.name, self._configure)

    def step(self, cycles: int) -> None:
        """Let the clock of the logic run."""
        self._port.step(cycles)

    def close(self) -> None:
        """End the simulation."""
        self._port.close()

    # ---- registers -------------------------------------------------------------------------------

    def read32(self, address: int) -> int:
        """Return the register at a physical address.

        Raises
        ------
        BoardError
            Nothing answers there.
        """
        block, offset = self._find(address)
        return block.read32(offset)

    def write32(self, address: int, value: int) -> None:
        """Write the register at a physical address; raises what `read32` raises."""
        block, offset = self._find(address)
        block.write32(offset, value)

    def _find(self, address: int) -> tuple[Any, int]:
        """Return the block at an address, and which of its registers is there."""
        if address % 4:
            raise BoardError(Status.INVALID_ARGUMENT, f"0x{address:x} is no multiple of 4")
        if address in self._processor:
            return self._processor, address
        if not self._configured:
            raise BoardError(
                Status.FAILED_PRECONDITION,
                f"no bitstream is loaded: a board would hang at the access to 0x{address:x}",
            )
        if 0 <= address - self._core < 1 << ADDRESS_BITS:
            return self._port, address - self._core
        if 0 <= address - self._intc < _CONTROLLER_BYTES:
            return self._controller, address - self._intc
        raise BoardError(
            Status.OUT_OF_RANGE, f"nothing is at 0x{address:x}: a board would hang at the access to it"
        )

    def _configure(self, bitstream: str) -> None:
        self._port.reset()
        self._configured = True
        _log.info("loaded %s: the logic now holds the simulated accelerator", bitstream)

    # ---- memory ----------------------------------------------------------------------------------

    def allocate(self, size: int) -> str:
        """Return the name of a new buffer of so many bytes.

        Raises
        ------
        BoardError
            There is no such memory left.
        """
        if not 0 < size <= MEMORY_BYTES:
            raise BoardError(
                Status.INVALID_ARGUMENT, f"a buffer must have 1 to {MEMORY_BYTES} bytes, not {size}"
            )
        try:
            memory = BoardMemory(self._port.allocate(size))
        except DeviceError as error:
            text = f"{error}, {len(self._buffers)} buffers hold some"
            raise BoardError(Status.RESOURCE_EXHAUSTED, text) from error
        name = f"buffer-{next(self._numbers)}"
        self._buffers[name] = memory
        return name

    def free(self, name: str) -> None:
        """Give a buffer back; raises what `buffer` raises."""
        self.buffer(name).shared.free()
        del self._buffers[name]

    def buffer(self, name: str) -> BoardMemory:
        """Return a buffer.

        Raises
        ------
        BoardError
            There is none of that name.
        """
        if name not in self._buffers:
            raise BoardError(Status.NOT_FOUND, f"there is no buffer {name!r}: was it allocated, or freed?")
        return self._buffers[name]

    def address(self, name: str) -> int:
        """Return where the accelerator sees a buffer; raises what `buffer` raises."""
        return self.buffer(name).shared.address

    @property
    def buffers(self) -> int:
        """Buffers that were not given back."""
        return len(self._buffers)

    def fill(self, name: str, start: int, data: bytes) -> None:
        """Write to the processor's copy of a buffer.

        Raises
        ------
        BoardError
            There is no such buffer, or it ends before the data do.
        """
        cache = self.buffer(name).cache
        if start + len(data) > len(cache):
            raise BoardError(
                Status.OUT_OF_RANGE, f"{start + len(data)} bytes do not fit {name!r} of {len(cache)} bytes"
            )
        cache[start : start + len(data)] = np.frombuffer(data, np.uint8)

    def content(self, name: str) -> bytes:
        """Return the processor's copy of a buffer; raises what `buffer` raises."""
        return self.buffer(name).cache.tobytes()

    def flush(self, name: str) -> None:
        """Let the accelerator see the processor's copy of a buffer; raises what `buffer` raises."""
        memory = self.buffer(name)
        memory.shared.data[:] = memory.cache

    def invalidate(self, name: str) -> None:
        """Let the processor see what the accelerator has written; raises what `buffer` raises."""
        memory = self.buffer(name)
        memory.cache[:] = memory.shared.data
