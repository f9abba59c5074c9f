"""The driver's way to an accelerator in cocotb: registers and memory of a test bench."""

import numpy as np
from cocotb.task import resume

from tb import GUARD, GUARD_BYTE, MEMORY, PERIOD, TB

PAGE = 4096


class Buffer:
    """A range of memory between bytes that nobody may write."""

    def __init__(self, memory: np.ndarray, address: int, size: int):
        self.address = address
        self.data = memory[address : address + size]
        self._guards = memory[address - GUARD : address], memory[address + size : address + size + GUARD]
        for guard in self._guards:
            guard[:] = GUARD_BYTE

    def flush(self) -> None:
        """Do nothing: there is no cache."""

    def invalidate(self) -> None:
        """Do nothing: there is no cache."""

    def free(self) -> None:
        """Check the guards; the memory is not used again."""
        for guard in self._guards:
            assert np.all(guard == GUARD_BYTE), f"something was written beside 0x{self.address:x}"


class CocotbPort:
    """A port for `weightstream.runtime.driver.Accelerator`, in code that cocotb's `bridge` runs.

    Buffers begin just below the end of a page, so that whatever is longer than a beat or two crosses it.

    Parameters
    ----------
    tb : TB
        The bench.
    """

    def __init__(self, tb: TB):
        self._tb = tb
        self._memory = np.frombuffer(tb.ram.mem, np.uint8)
        self._page = 0
        self.read32 = resume(tb.read32)
        self.write32 = resume(tb.write32)

    def allocate(self, size: int) -> Buffer:
        """Return a buffer with guards around it."""
        address = (self._page + 2) * PAGE - 32
        self._page = -(-(address + size + GUARD) // PAGE)
        assert self._page * PAGE < MEMORY, "the memory of the bench is used up"
        return Buffer(self._memory, address, size)

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt."""
        return resume(self._tb.interrupt)(int(seconds * 1e9 / PERIOD)) is not None

    def close(self) -> None:
        """Do nothing: the bench holds all."""
