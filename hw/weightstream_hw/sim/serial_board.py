"""An accelerator behind a UART, compiled, and the other end of its line."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from amaranth.lib import wiring

from weightstream.spec.machine import Machine

from .compiled import TOP, SimulationError, kept_verilog
from .verilator import build

#: Clocks of a bit: the fewest that the UART takes, for less is to be simulated then.
DIVISOR = 4
#: The clock that the simulated bridge says it has.
CLOCK_HZ = 48_000_000


def compile_bridged(machine: Machine, memory_bytes: int, *, trace: bool = False) -> Path:
    """Return the shared library of a machine behind a UART; `trace`: it can write waves, and is slower."""

    def make() -> wiring.Component:
        from ..bridge.bridged import BridgedAccelerator

        return BridgedAccelerator(machine, memory_bytes=memory_bytes, divisor=DIVISOR, clock_hz=CLOCK_HZ)

    name = f"bridged {machine!r} {memory_bytes} {DIVISOR} {CLOCK_HZ}"
    return build(kept_verilog(name, make), TOP, around="serial", trace=trace)


class SerialModel:
    """A compiled accelerator behind a UART.

    Time passes only in `run`.

    Parameters
    ----------
    library : path
        From `compile_bridged`.
    """

    def __init__(self, library: str | os.PathLike):
        self._library = _load(library)
        self._model = self._library.ws_new(DIVISOR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """End waves and free the model; calling it again does nothing."""
        model, self._model = self._model, None
        if model is not None:
            self._library.ws_delete(model)

    def send(self, data: bytes) -> None:
        """Put bytes behind those that go to the board, at its rate."""
        self._library.ws_send(self._model, data, len(data))

    def run(self, cycles: int) -> bytes:
        """Let cycles pass; return what has come from the board."""
        count = self._library.ws_run(self._model, cycles)
        taken = ctypes.create_string_buffer(count)
        self._library.ws_take(self._model, taken, count)
        return taken.raw

    def trace(self, path: str | os.PathLike | None) -> None:
        """Write waves (VCD) to a file from now on; None ends them.

        Raises
        ------
        SimulationError
            The library is not built for waves, or the file cannot be written.
        """
        name = "" if path is None else os.fspath(path)
        if not self._library.ws_trace(self._model, os.fsencode(name)):
            raise SimulationError(f"cannot write waves to {name}: is the library built with trace=True?")

    @property
    def waiting(self) -> int:
        """Bytes that are not yet on their way to the board."""
        return self._library.ws_waiting(self._model)

    @property
    def cycles(self) -> int:
        """Cycles since the model was made."""
        return self._library.ws_cycles(self._model)

    @property
    def interrupt(self) -> bool:
        """Whether the interrupt line is up."""
        return bool(self._library.ws_interrupt(self._model))


def _load(path: str | os.PathLike) -> ctypes.CDLL:
    library = ctypes.CDLL(os.fspath(path))
    model, u64, number = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int
    signatures = {
        "ws_new": (model, ctypes.c_uint),
        "ws_delete": (None, model),
        "ws_send": (None, model, ctypes.c_char_p, u64),
        "ws_run": (u64, model, u64),
        "ws_take": (None, model, ctypes.c_char_p, u64),
        "ws_waiting": (u64, model),
        "ws_cycles": (u64, model),
        "ws_interrupt": (number, model),
        "ws_trace": (number, model, ctypes.c_char_p),
    }
    for name, (result, *arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
