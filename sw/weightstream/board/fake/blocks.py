"""What registers a board has beside the accelerator's: its interrupt controller, and the processor's own."""

from __future__ import annotations

from collections.abc import Callable

_IPR, _IER, _SIE, _CIE, _MER = 0x04, 0x08, 0x10, 0x14, 0x1C


class InterruptController:
    """The registers of an axi_intc with one level input.

    Parameters
    ----------
    line : callable
        Returns whether the input is up.
    """

    def __init__(self, line: Callable[[], bool]):
        self._line = line
        self._words: dict[int, int] = {}

    def read32(self, offset: int) -> int:
        """Return a register."""
        if offset == _IPR:
            return self._words.get(_IER, 0) & int(self._line())
        return self._words.get(offset, 0)

    def write32(self, offset: int, value: int) -> None:
        """Write a register."""
        enabled = self._words.get(_IER, 0)
        if offset in (_SIE, _CIE):
            offset, value = _IER, enabled | value if offset == _SIE else enabled & ~value
        self._words[offset] = value

    @property
    def raised(self) -> bool:
        """Whether the controller interrupts the processor."""
        return bool(self._words.get(_MER, 0) & 1 and self._words.get(_IER, 0) and self._line())


def _zynq_clock(divisor: int) -> int:
    return 1 << 20 | divisor << 8


def _mpsoc_pll(factor: int) -> int:
    return 1 << 16 | factor << 8


def _mpsoc_clock(divisor: int) -> int:
    return 1 << 24 | 1 << 16 | divisor << 8


#: Ranges of the processors' registers that PYNQ touches: clocks, and widths of the ports to the logic.
_RANGES = {
    "armv7l": ((0xF800_0000, 0x1000),),
    "aarch64": (
        (0xFD1A_0000, 0x1_0000),
        (0xFD36_0000, 0x6_0000),
        (0xFD61_0000, 0x1_0000),
        (0xFF41_0000, 0x1_0000),
        (0xFF5E_0000, 0x1_0000),
        (0xFF9B_0000, 0x1_0000),
    ),
}
#: What a boot loader leaves in the registers of clocks: cores at 650 and 1,200 MHz, logic at 100 MHz.
_BOOTED = {
    "armv7l": {
        0xF800_0100: 26 << 12,
        0xF800_0104: 21 << 12,
        0xF800_0108: 20 << 12,
        0xF800_0120: 2 << 8,
        **{0xF800_0170 + 16 * i: _zynq_clock(10) for i in range(4)},
    },
    "aarch64": {
        0xFD1A_0020: _mpsoc_pll(72),
        0xFD1A_002C: _mpsoc_pll(64),
        0xFD1A_0038: _mpsoc_pll(90),
        0xFD1A_0060: 1 << 8,
        0xFF5E_0020: _mpsoc_pll(90),
        0xFF5E_0030: _mpsoc_pll(90),
        **{0xFF5E_00C0 + 4 * i: _mpsoc_clock(15) for i in range(4)},
    },
}


class ProcessorRegisters:
    """Registers of the processing system: words that keep what is written, and do nothing.

    Parameters
    ----------
    architecture : str
        ``armv7l`` (Zynq-7000) or ``aarch64`` (Zynq UltraScale+).
    """

    def __init__(self, architecture: str):
        self._ranges = _RANGES[architecture]
        self._words = dict(_BOOTED[architecture])

    def __contains__(self, address: int) -> bool:
        return any(start <= address < start + size for start, size in self._ranges)

    def read32(self, address: int) -> int:
        """Return the register at an address."""
        return self._words.get(address, 0)

    def write32(self, address: int, value: int) -> None:
        """Write the register at an address."""
        self._words[address] = value
