"""The way to an accelerator on a PYNQ board: registers, shared memory and interrupt, through pynq."""

from __future__ import annotations

import importlib
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeviceError, TargetError, WeightstreamError
from ..spec.registers import ADDRESS_BITS, BY_NAME
from .interrupt import InterruptLine
from .names import INTERRUPT, OVERLAY, VLNV

_PAGE = 4096
_WORD = 0xFFFFFFFF
#: Where pynq is told that the board is in the network.
_REMOTE = "PYNQ_REMOTE_DEVICES"
#: XRT 2.17 puts buffers below two pages where 32-bit masters do not reach.
_SMALLEST = 2 * _PAGE
#: Seconds between looks at the accelerator while an interrupt is awaited.
_CHECK = 0.25
#: The same without an interrupt, at first and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 1e-4, 5e-3
#: Seconds that an interrupt may come after its cause was seen.
_GRACE = 0.05

_ROOT = (
    "PYNQ maps registers and memory as root: sudo -E python, in an environment that has run "
    "'source /etc/profile.d/pynq_venv.sh' and 'source /etc/profile.d/xrt_setup.sh'"
)


class BoardBuffer:
    """A buffer of its own: pynq flushes and invalidates whole buffers, so none is shared by two writers."""

    def __init__(self, port: PynqPort, raw: Any, size: int):
        self._port: PynqPort | None = port
        self._raw: Any = raw
        self.size = size
        # Of the whole buffer, never of a slice: slices of a pynq buffer have wrong addresses.
        self.address = int(raw.device_address)
        self.data = raw.view(np.ndarray)[:size]

    def flush(self) -> None:
        """Write the cache back."""
        with _answering("flush a buffer"):
            self._whole().flush()

    def invalidate(self) -> None:
        """Forget what is cached."""
        with _answering("invalidate a buffer"):
            self._whole().invalidate()

    def _whole(self) -> Any:
        if self._raw is None:
            raise DeviceError("the buffer was freed: allocate another one")
        return self._raw

    def free(self) -> None:
        """Give the memory back; `data` is empty from then on, for what it showed is no longer mapped."""
        if self._port is None:
            return
        self._port.release(self)
        raw, self._raw, self._port = self._raw, None, None
        self.data = np.zeros(0, np.uint8)
        with _answering("free a buffer"):
            raw.freebuffer()


class PynqPort:
    """An accelerator in a loaded overlay.

    Parameters
    ----------
    core : dict
        Its entry in the overlay's `ip_dict`.
    device : pynq.Device
        Where the overlay is loaded.
    overlay : pynq.Overlay, optional
        The overlay, which is kept as long as the port.
    interrupt : bool
        Use the interrupt if the overlay has one; else the accelerator is polled.

    Attributes
    ----------
    polling : str
        Why the accelerator is polled; empty if its interrupt is used.
    interrupt_failed : bool
        Whether that is because an interrupt that should have come did not.

    Raises
    ------
    TargetError
        pynq is not there, registers cannot be mapped, or there is room for too few of them.
    """

    def __init__(self, core: dict[str, Any], device: Any, overlay: Any = None, *, interrupt: bool = True):
        self._pynq = import_pynq()
        self._device = device
        self.overlay = overlay
        self.name = str(core.get("fullpath", "accelerator"))
        room = int(core["addr_range"])
        if room < 1 << ADDRESS_BITS:
            raise TargetError(
                f"{self.name} has {room} bytes of addresses, its registers take {1 << ADDRESS_BITS}"
            )
        self._buffers: list[BoardBuffer] = []
        try:
            self._mmio = self._pynq.MMIO(int(core["phys_addr"]), room, device=device)
        except (OSError, RuntimeError) as error:
            raise _denied(error, f"cannot map the registers of {self.name}") from error
        self.polling = "not asked to use the interrupt"
        self.interrupt_failed = False
        self._line: InterruptLine | None = None
        if interrupt:
            self._line = self._find_line(core)

    def _find_line(self, core: dict[str, Any]) -> InterruptLine | None:
        pin = core.get("interrupts", {}).get(INTERRUPT)
        if self._device.has_capability("REMOTE"):
            self.polling = "interrupts do not come over PYNQ.remote"
            return None
        if pin is None:
            self.polling = "the overlay has no interrupt controller that serves it"
            return None
        try:
            line = InterruptLine(self._pynq, pin["fullpath"])
        # No pin, no UIO device, no permission, another overlay: polling serves as well.
        except Exception as error:
            self.polling = f"its interrupt cannot be used: {error}"
            return None
        self.polling = ""
        return line

    def read32(self, address: int) -> int:
        """Return a register."""
        with _answering("read a register"):
            # PYNQ.remote of pynq 3 has signed words.
            return int(self._mmio.read(address)) & _WORD

    def write32(self, address: int, value: int) -> None:
        """Write a register."""
        with _answering("write a register"):
            # Of an integer of numpy, or of a bool, pynq would say that it is neither int nor bytes.
            self._mmio.write(address, int(value))

    def allocate(self, size: int) -> BoardBuffer:
        """Return a buffer in cached memory that nothing else uses.

        Raises
        ------
        DeviceError
            There is no such memory left.
        """
        whole = max(-(-size // _PAGE) * _PAGE, _SMALLEST)
        try:
            raw = self._pynq.allocate((whole,), dtype=np.uint8, target=self._device, cacheable=1)
            # Asks for its address: over PYNQ.remote, a buffer that was not allocated has none.
            buffer = BoardBuffer(self, raw, size)
        # Over PYNQ.remote, whatever gRPC raises.
        except Exception as error:
            held = sum(buffer.size for buffer in self._buffers)
            raise DeviceError(
                f"cannot allocate {whole} bytes of shared memory ({_said(error)}); this device holds {held} "
                f"bytes in {len(self._buffers)} buffers{_free_memory()}"
            ) from error
        self._buffers.append(buffer)
        return buffer

    def release(self, buffer: BoardBuffer) -> None:
        """Take a buffer off the list."""
        self._buffers.remove(buffer)

    @property
    def buffers(self) -> int:
        """Buffers that were not given back."""
        return len(self._buffers)

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt, at most so long; return whether it came.

        One that does not come is noticed from the registers; from then on the accelerator is polled.
        """
        end = time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while not self._is_up():
            left = end - time.monotonic()
            if left <= 0:
                return False
            if self._line is None:
                time.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)
            elif not self._line.wait(min(left, _CHECK)) and self._is_up() and not self._line.wait(_GRACE):
                self._line = None
                self.polling = "its interrupt does not come"
                self.interrupt_failed = True
                warnings.warn(
                    f"the interrupt of {self.name} does not come: it is polled from now on", stacklevel=2
                )
        return True

    def _is_up(self) -> bool:
        """Whether an enabled event is pending; reading these registers changes nothing."""
        return bool(self.read32(BY_NAME["isr"].address) & self.read32(BY_NAME["ier"].address))

    def close(self) -> None:
        """Give back all buffers; the overlay stays loaded."""
        while self._buffers:
            self._buffers[-1].free()
        self._line = None
        self.overlay = None


def open_port(name: str = "", *, download: bool = True, interrupt: bool = True) -> PynqPort:
    """Load an overlay and return the port of its accelerator.

    Parameters
    ----------
    name : str
        Path of a ``.bit`` file, with a ``.hwh`` file beside it, or a name that pynq finds; default:
        ``weightstream.bit``.
    download : bool
        Configure the board; else the overlay is there already.
    interrupt : bool
        Use the interrupt if there is one.

    Raises
    ------
    TargetError
        Something is missing; the message says what.
    """
    overlay = load_overlay(name or f"{OVERLAY}.bit", download=download)
    return PynqPort(find_core(overlay), overlay.device, overlay, interrupt=interrupt)


def import_pynq() -> Any:
    """Return the package pynq.

    Raises
    ------
    TargetError
        It is not installed, or not with all that it needs.
    """
    try:
        return importlib.import_module("pynq")
    except ImportError as error:
        raise TargetError(
            f"target 'pynq' needs {error.name or 'pynq'}, which the image of a PYNQ board brings: "
            "source /etc/profile.d/pynq_venv.sh, or pip install 'weightstream[board]'"
        ) from error


def load_overlay(name: str, *, download: bool = True) -> Any:
    """Return the overlay of a name; parameters as in `open_port`.

    Raises
    ------
    TargetError
        Something is missing; the message says what.
    """
    pynq = import_pynq()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No devices found")
            device = pynq.Device.active_device
    # Over PYNQ.remote, whatever gRPC raises.
    except Exception as error:
        raise _no_board(error) from error
    try:
        bitstream = Path(pynq.Bitstream(name, device=device).bitfile_name)
    except OSError as error:
        raise TargetError(
            f"there is no overlay {name}: weightstream-hw build --board B -o DIR makes one with Vivado; "
            "then name it, as in 'pynq:DIR/weightstream.bit'"
        ) from error
    description = bitstream.with_suffix(".hwh")
    if not description.is_file():
        raise TargetError(f"{bitstream.name} needs {description}, which says what is in it: copy both files")
    try:
        return pynq.Overlay(str(bitstream), download=download, device=device)
    # The parsers raise all kinds of exceptions.
    except Exception as error:
        raise _not_loaded(error, bitstream, str(pynq.__version__)) from error


def find_core(overlay: Any) -> dict[str, Any]:
    """Return the accelerator in the description of an overlay.

    Raises
    ------
    TargetError
        There is none, or one of another version.
    """
    types = {name: str(entry.get("type")) for name, entry in overlay.ip_dict.items()}
    found = [name for name, kind in types.items() if kind == VLNV]
    if found:
        return overlay.ip_dict[found[0]]
    others = [kind for kind in types.values() if kind.rpartition(":")[0] == VLNV.rpartition(":")[0]]
    if others:
        raise TargetError(
            f"the overlay has {others[0]}, this driver knows {VLNV}: load the overlay that belongs to it"
        )
    listed = ", ".join(sorted(set(types.values()))) or "nothing"
    raise TargetError(f"the overlay has no {VLNV}; in it: {listed}")


@contextmanager
def _answering(what: str) -> Iterator[None]:
    """Turn what pynq raises into an error of ours: over PYNQ.remote it can be whatever gRPC raises."""
    try:
        yield
    except WeightstreamError:
        raise
    except Exception as error:
        raise DeviceError(f"cannot {what}: {_said(error)}") from error


def _said(error: Exception) -> str:
    """Return what an error says: those of gRPC have a method for it."""
    details = getattr(error, "details", None)
    return str(details() if callable(details) else error) or type(error).__name__


def _no_board(error: Exception) -> TargetError:
    if remote := os.environ.get(_REMOTE):
        advice = "is it on, with PYNQ.remote or 'weightstream fake-board' running?"
        if "pynq.pl_server.remote_device" not in sys.modules:
            advice = "set the variable before anything imports pynq, and use pynq 3.1 or newer"
        return TargetError(f"no board answers at {_REMOTE}={remote} ({_said(error)}): {advice}")
    unset = "" if "XILINX_XRT" in os.environ else ", XILINX_XRT is not set"
    return TargetError(f"pynq finds no board ({error}{unset}). {_ROOT}")


def _denied(error: Exception, what: str) -> TargetError:
    """Return the error of something that perhaps only root may do."""
    denied = isinstance(error, PermissionError) or "root permissions" in str(error).lower()
    return TargetError(f"{what}: {_said(error)}" + (f" {_ROOT}" if denied else ""))


def _not_loaded(error: Exception, bitstream: Path, version: str) -> TargetError:
    if version.startswith("4") and "processing_system7" in bitstream.with_suffix(".hwh").read_text("utf-8"):
        return TargetError(
            f"pynq {version} does not load {bitstream.name}: it has dropped boards with Zynq-7000 "
            f"(PYNQ-Z1, PYNQ-Z2), which need pynq 3 ({error})"
        )
    return _denied(error, f"pynq {version} cannot load {bitstream} ({type(error).__name__})")


def _free_memory() -> str:
    try:
        found = re.search(r"^CmaFree:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    except OSError:
        found = None
    return f"; Linux has {int(found[1]) << 10} bytes free for all" if found else ""
