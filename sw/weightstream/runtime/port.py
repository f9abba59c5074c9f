"""What the driver asks of whatever connects it to an accelerator."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Buffer(Protocol):
    """Memory that the processor and the accelerator share.

    Attributes
    ----------
    data : ndarray of uint8, shape (bytes,)
        The processor's view.
    address : int
        Where the accelerator sees it; a multiple of 64.
    """

    data: np.ndarray
    address: int

    def flush(self) -> None:
        """Make what the processor wrote visible to the accelerator."""
        ...

    def invalidate(self) -> None:
        """Make what the accelerator wrote visible to the processor."""
        ...

    def free(self) -> None:
        """Give the memory back; calling it again does nothing."""
        ...


class Port(Protocol):
    """A way to the registers and to the memory of an accelerator."""

    def read32(self, address: int) -> int:
        """Return the register at a byte address."""
        ...

    def write32(self, address: int, value: int) -> None:
        """Write the register at a byte address."""
        ...

    def allocate(self, size: int) -> Buffer:
        """Return a buffer of so many bytes."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt, at most so long; return whether it came."""
        ...

    def close(self) -> None:
        """Give back what the port holds; calling it again does nothing."""
        ...
