"""The accelerator compiled: RTL in a shared library, with a memory and a processor's bus around it."""

import ctypes
import enum
import importlib.metadata
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from amaranth.lib import wiring

import weightstream.spec
from weightstream.errors import WeightstreamError
from weightstream.spec.machine import Machine

from .clocked import Clocked, simulation_verilog
from .verilator import build, cache_directory, digest

#: Name of the module that is compiled.
TOP = "simulation"
#: Cycles from the address of a burst to its first beat.
LATENCY = 40
#: Bytes that the memory moves in a cycle, both directions together.
BANDWIDTH = 16.0

_OKAY = 0
_NAMES = {-1: "no answer", 1: "EXOKAY", 2: "SLVERR", 3: "DECERR"}


class SimulationError(WeightstreamError):
    """The simulated accelerator broke a rule of its buses, or did not answer."""


class Fault(enum.IntEnum):
    """What can be wrong with a range of memory."""

    #: Beats in the range are answered with an error of the memory, or of the interconnect.
    SLVERR = 2
    DECERR = 3
    #: Bursts that touch the range are never answered, nor those behind them.
    SILENT = 4
    #: No address is accepted, whatever the range.
    DEAF = 5


def compile_component(component: wiring.Component, *, cells: str = "", trace: bool = False) -> Path:
    """Return the shared library of a component that has the accelerator's ports.

    Parameters
    ----------
    component : wiring.Component
        With the ports `s_axi_*` (AXI4-Lite slave), `m_axi_*` (AXI4 master) and `interrupt`.
    cells : str
        Verilog of modules that it instantiates and that are no gateware.
    trace : bool
        Whether it can write waves.
    """
    return build(_convert(component) + cells, TOP, trace=trace)


def compile_machine(machine: Machine, *, trace: bool = False) -> Path:
    """Return the shared library of a machine's accelerator; `trace`: it can write waves, and is slower.

    The gateware is elaborated only if one of its sources has changed.
    """

    def make() -> wiring.Component:
        from ..top import Accelerator

        return Accelerator(machine)

    return build(kept_verilog(repr(machine), make), TOP, trace=trace)


def kept_verilog(name: str, make: Callable[[], wiring.Component]) -> str:
    """Return the Verilog of a component that is compiled, from the cache if no source has changed.

    Parameters
    ----------
    name : str
        What distinguishes it from other components of the same sources.
    make : callable
        Returns the component.
    """
    here, spec = Path(__file__).parents[1], Path(weightstream.spec.__file__).parent
    sources = [path.read_text("utf-8") for root in (here, spec) for path in sorted(root.rglob("*.py"))]
    stem = digest(name, importlib.metadata.version("amaranth"), *sources)
    path = cache_directory() / "models" / f"{stem}.v"
    if path.is_file():
        os.utime(path)
        return path.read_text()
    text = _convert(make())
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: another process may look for it.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)
    return text


def _convert(component: wiring.Component) -> str:
    """Return the Verilog that is compiled.

    Memories begin as zeros anyway: one statement for each of their words is most of the text.
    """
    text = simulation_verilog(Clocked(component), TOP)
    zero = re.compile(r"^    \S+\[\d+\] = \d+'[a-z]0+;\n", re.M)
    return re.sub(
        r"^  initial begin\n.*?^  end\n", lambda block: zero.sub("", block.group()), text, flags=re.M | re.S
    )


class CompiledModel:
    """A compiled accelerator, its memory, and the bus of a processor.

    Time passes only in `read32`, `write32`, `run`, `step` and `reset`.

    Parameters
    ----------
    library : path
        From `compile_component` or `compile_machine`.
    memory : ndarray
        One-dimensional uint8 array: what the accelerator reads and writes, and Python too.
    base : int
        Address of its first byte. Beats outside are answered with DECERR.
    latency : int
        Cycles from the address of a burst to its first beat, and from a write's last beat to its response.
    bandwidth : float
        Bytes that the memory moves in a cycle, both directions together.
    pause : float
        Share of cycles in which a channel of the memory rests, at random.
    seed : int
        Of those pauses.

    Attributes
    ----------
    bus_bytes : int
        Bytes of a beat.

    Raises
    ------
    TypeError
        `memory` is no one-dimensional, contiguous array of uint8.
    ValueError
        `memory` cannot be written, or a figure of it is out of its range.
    """

    def __init__(
        self,
        library: str | os.PathLike,
        memory: np.ndarray,
        *,
        base: int = 0,
        latency: int = LATENCY,
        bandwidth: float = BANDWIDTH,
        pause: float = 0.0,
        seed: int = 1,
    ):
        if memory.dtype != np.uint8 or memory.ndim != 1 or not memory.flags.c_contiguous:
            raise TypeError("memory must be a one-dimensional, contiguous array of uint8")
        if not memory.flags.writeable:
            raise ValueError("memory must be writeable")
        if latency < 1:
            raise ValueError(f"latency must be at least 1, not {latency!r}")
        if not bandwidth > 0:
            raise ValueError(f"bandwidth must be positive, not {bandwidth!r}")
        if not 0 <= pause < 1:
            raise ValueError(f"pause must be in [0, 1), not {pause!r}")
        self._library = _load(library)
        self.memory = memory
        self.base = base
        self.bus_bytes: int = self._library.ws_bus_bytes()
        self._model = self._library.ws_new(memory.ctypes.data, memory.size, base)
        self._library.ws_memory(self._model, latency, round(bandwidth * 2**16), round(pause * 2**32), seed)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """End waves and free the model; calling it again does nothing."""
        model, self._model = self._model, None
        if model is not None:
            self._library.ws_delete(model)

    def reset(self) -> None:
        """Reset accelerator and buses; memory, faults and counters stay."""
        self._library.ws_reset(self._model)

    def read32(self, address: int) -> int:
        """Return a register.

        Raises
        ------
        SimulationError
            The accelerator answers with an error, or not at all.
        """
        value = ctypes.c_uint32()
        self._check_response(
            "read", address, self._library.ws_read32(self._model, address, ctypes.byref(value))
        )
        return value.value

    def write32(self, address: int, value: int) -> None:
        """Write a register; raises what `read32` raises."""
        self._check_response("write", address, self._library.ws_write32(self._model, address, value))

    def run(self, cycles: int) -> bool:
        """Let time pass until the interrupt is high; return False if it is not after so many cycles.

        Raises
        ------
        SimulationError
            The accelerator broke a rule of the memory's bus.
        """
        interrupt = bool(self._library.ws_run(self._model, cycles))
        self._check_rules()
        return interrupt

    def step(self, cycles: int = 1) -> None:
        """Let cycles pass, interrupt or not; raises what `run` raises."""
        self._library.ws_step(self._model, cycles)
        self._check_rules()

    def add_fault(self, fault: Fault, address: int = 0, size: int = 1 << 63) -> None:
        """Make a range of addresses answer with an error, or not at all, for bursts from now on."""
        self._library.ws_fault(self._model, Fault(fault), address, address + size - 1)

    def clear_faults(self) -> None:
        """Heal the memory; bursts that waited in vain are answered."""
        self._library.ws_clear_faults(self._model)

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
    def cycles(self) -> int:
        """Cycles since the model was made."""
        return self._counters()[0]

    @property
    def traffic(self) -> dict[str, int]:
        """Beats and bursts that the memory has read and written."""
        names = ("read_beats", "write_beats", "read_bursts", "write_bursts")
        return dict(zip(names, self._counters()[1:], strict=True))

    def _counters(self) -> list[int]:
        counters = (ctypes.c_uint64 * 5)()
        self._library.ws_counters(self._model, counters)
        return list(counters)

    def _check_rules(self) -> None:
        if text := self._library.ws_violation(self._model):
            raise SimulationError(f"the accelerator broke a rule of its memory bus in {text.decode()}")

    def _check_response(self, what: str, address: int, response: int) -> None:
        if response != _OKAY:
            raise SimulationError(f"{what} of register 0x{address:03x}: {_NAMES[response]}")
        self._check_rules()


def _load(path: str | os.PathLike) -> ctypes.CDLL:
    library = ctypes.CDLL(os.fspath(path))
    model, u32, u64, number = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int
    signatures = {
        "ws_new": (model, u64, u64, u64),
        "ws_delete": (None, model),
        "ws_bus_bytes": (number,),
        "ws_reset": (None, model),
        "ws_memory": (None, model, u64, u64, u64, u64),
        "ws_fault": (None, model, number, u64, u64),
        "ws_clear_faults": (None, model),
        "ws_write32": (number, model, u32, u32),
        "ws_read32": (number, model, u32, ctypes.POINTER(u32)),
        "ws_run": (number, model, u64),
        "ws_step": (None, model, u64),
        "ws_counters": (None, model, ctypes.POINTER(u64)),
        "ws_violation": (ctypes.c_char_p, model),
        "ws_trace": (number, model, ctypes.c_char_p),
    }
    for name, (result, *arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
