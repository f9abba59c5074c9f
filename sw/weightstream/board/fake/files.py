"""The files of a board that PYNQ.remote reads and writes, all in memory: no file of the host is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from .errors import BoardError, Status

_FIRMWARE = PurePosixPath("/lib/firmware")
_MANAGER = PurePosixPath("/sys/class/fpga_manager/fpga0")
#: Bytes of all bitstreams together.
LIMIT = 256 << 20


class BoardFiles:
    """Files of a board, among them the FPGA manager, which configures the logic.

    Parameters
    ----------
    architecture, name : str
        What the board says of itself.
    configure : callable
        Called with the name of a bitstream when it is to be loaded.
    """

    def __init__(self, architecture: str, name: str, configure: Callable[[str], None]):
        self._configure = configure
        self._files = {
            "/proc/version": f"Linux version 0 (weightstream fake-board) {architecture}\n".encode(),
            "/proc/device-tree/chosen/pynq_board": name.encode() + b"\0",
            f"{_MANAGER}/state": b"unknown\n",
            f"{_MANAGER}/flags": b"0\n",
        }

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return path in self._files

    def read(self, path: str) -> bytes:
        """Return what is in a file.

        Raises
        ------
        BoardError
            There is none.
        """
        if path not in self._files:
            raise BoardError(Status.NOT_FOUND, f"the fake board has no file {path!r}")
        return self._files[path]

    def check_write(self, path: str, size: int) -> None:
        """Refuse to write so many bytes to a file, if it cannot be.

        Raises
        ------
        BoardError
            The file cannot be written, or is too large.
        """
        place = PurePosixPath(path)
        is_bitstream = place.parent == _FIRMWARE and str(place) == path
        if not is_bitstream and path not in (f"{_MANAGER}/flags", f"{_MANAGER}/firmware"):
            raise BoardError(
                Status.PERMISSION_DENIED,
                f"the fake board takes files in {_FIRMWARE} and orders to its FPGA manager, not {path!r}",
            )
        others = sum(len(data) for name, data in self._files.items() if name != path)
        if others + size > LIMIT:
            raise BoardError(
                Status.RESOURCE_EXHAUSTED, f"the files of the fake board are limited to {LIMIT} bytes"
            )

    def write(self, path: str, data: bytes) -> None:
        """Write a file; a bitstream's name, written to the FPGA manager, loads it.

        Raises
        ------
        BoardError
            The file cannot be written, or the bitstream cannot be loaded.
        """
        self.check_write(path, len(data))
        if path == f"{_MANAGER}/firmware":
            self._load(data)
        else:
            self._files[path] = data

    def _load(self, order: bytes) -> None:
        name = order.decode("utf-8", "replace").strip()
        path = str(_FIRMWARE / name)
        if not self._files.get(path):
            raise BoardError(Status.NOT_FOUND, f"there is no bitstream {path!r} on the fake board")
        if self._files[f"{_MANAGER}/flags"].strip() not in (b"0", b""):
            raise BoardError(Status.UNIMPLEMENTED, "the fake board does not configure parts of its logic")
        self._configure(name)
        self._files[f"{_MANAGER}/state"] = b"operating\n"
