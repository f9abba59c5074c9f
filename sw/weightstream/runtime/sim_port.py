"""The way to a simulated accelerator: its RTL, compiled, with a memory around it.

The only file of the software that imports the gateware, and only when something is simulated.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..errors import DeviceError, TargetError
from ..spec.machine import PRESETS, Machine
from .ranges import first_free

#: Where the simulated memory begins, as on a Zynq board, and how much of it there is.
BASE = 0x1000_0000
MEMORY_BYTES = 256 << 20
_PAGE = 4096
#: Cycles that are simulated at once: in between, the keyboard can interrupt.
_CYCLES = 20_000
#: The reported time is that of a board: cycles at this clock.
CLOCK_HZ = 100e6


class SimBuffer:
    """A range of the simulated memory."""

    def __init__(self, port: SimPort, start: int, size: int):
        self._port: SimPort | None = port
        self.start, self.size = start, size
        self.data = port.memory[start : start + size]
        self.address = BASE + start

    def flush(self) -> None:
        """Do nothing: the simulated memory has no cache."""

    def invalidate(self) -> None:
        """Do nothing: the simulated memory has no cache."""

    def free(self) -> None:
        """Give the range back."""
        if self._port is not None:
            self._port.release(self)
            self._port = None


class SimPort:
    """A simulated accelerator.

    Parameters
    ----------
    machine : Machine
        What is simulated.
    waves : path, optional
        Where to write waves (VCD).
    options
        Of `weightstream_hw.sim.compiled.CompiledModel`: latency, bandwidth, pause, seed.

    Raises
    ------
    TargetError
        The gateware's packages are not installed.
    """

    def __init__(self, machine: Machine, *, waves: str | os.PathLike[str] | None = None, **options: Any):
        try:
            from weightstream_hw.sim.compiled import CompiledModel, compile_machine
        except ImportError as error:
            raise TargetError(
                f"a simulated accelerator needs {error.name}: pip install 'weightstream[hw,sim]'"
            ) from error
        self.memory = np.zeros(MEMORY_BYTES, np.uint8)
        self._taken: list[SimBuffer] = []
        self._closed = False
        library = compile_machine(machine, trace=waves is not None)
        self._model = CompiledModel(library, self.memory, base=BASE, **options)
        self._model.reset()
        if waves is not None:
            self._model.trace(waves)

    def read32(self, address: int) -> int:
        """Return a register."""
        self._check_open()
        return self._model.read32(address)

    def write32(self, address: int, value: int) -> None:
        """Write a register."""
        self._check_open()
        self._model.write32(address, value)

    def allocate(self, size: int) -> SimBuffer:
        """Return the first range that is free.

        Raises
        ------
        DeviceError
            There is none.
        """
        taken = [range(other.start, other.start + other.size) for other in self._taken]
        start = first_free(taken, size, MEMORY_BYTES, _PAGE)
        if start is None:
            raise DeviceError(
                f"the simulated memory has no {size} bytes left of {MEMORY_BYTES}: free other buffers"
            )
        buffer = SimBuffer(self, start, size)
        self._taken.append(buffer)
        return buffer

    def release(self, buffer: SimBuffer) -> None:
        """Take a range back."""
        self._taken.remove(buffer)

    @property
    def buffers(self) -> int:
        """Buffers that were not given back."""
        return len(self._taken)

    def wait(self, seconds: float) -> bool:
        """Let the clock of a board run for so long, at most."""
        self._check_open()
        left = int(seconds * CLOCK_HZ)
        while left > _CYCLES:
            if self._model.run(_CYCLES):
                return True
            left -= _CYCLES
        return self._model.run(left)

    def step(self, cycles: int) -> None:
        """Let the clock run, interrupt or not."""
        self._check_open()
        self._model.step(cycles)

    def reset(self) -> None:
        """Reset the accelerator, as loading a bitstream does; its memory stays as it is."""
        self._check_open()
        self._model.reset()

    def add_fault(self, fault: Any, address: int = 0, size: int = 1 << 63) -> None:
        """Make a range of memory fail: see `CompiledModel.add_fault`."""
        self._model.add_fault(fault, address, size)

    def clear_faults(self) -> None:
        """Heal the memory."""
        self._model.clear_faults()

    def close(self) -> None:
        """End the simulation; calling it again does nothing."""
        self._closed = True
        self._model.close()

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceError("the simulated accelerator is closed: open it again")


def machine_of_target(target: str) -> Machine:
    """Return the machine that ``sim`` or ``sim:<preset>`` names.

    Raises
    ------
    TargetError
        There is no such preset.
    """
    preset = target.partition(":")[2] or "tiny"
    if preset not in PRESETS:
        raise TargetError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    return PRESETS[preset]


def simulated_board(name: str) -> tuple[Any, str]:
    """Return the description of a board, and the hardware handoff of its overlay.

    Raises
    ------
    TargetError
        There is no such board.
    """
    from weightstream_hw.boards.description import find_board
    from weightstream_hw.boards.hwh import build_hwh

    board = find_board(name)
    return board, build_hwh(board)
