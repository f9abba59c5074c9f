"""The overlay of a fake board: a handoff that says what is in it, and a bitstream that configures nothing."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from ...errors import TargetError
from ..names import OVERLAY

#: What the bitstream begins with. No FPGA takes it: it has no synchronisation word.
_MARK = b"no bitstream: made by weightstream fake-board, for fake boards alone. "
_HEADER = bytes.fromhex("0009 0ff0 0ff0 0ff0 0ff0 00 0001")


def build_bitstream(part: str, handoff: str) -> bytes:
    """Return a `.bit` file whose data are a text.

    Parameters
    ----------
    part : str
        FPGA that its header names.
    handoff : str
        What it belongs to: PYNQ takes a handoff from its cache if it knows the bitstream.
    """
    fields = {b"a": f"{OVERLAY};fake-board", b"b": part, b"c": "2000/01/01", b"d": "00:00:00"}
    data = _MARK + hashlib.sha256(handoff.encode()).hexdigest().encode()
    data += b" " * (-len(data) % 4)
    parts = [_HEADER]
    for name, text in fields.items():
        parts.append(name + struct.pack(">H", len(text) + 1) + text.encode() + b"\0")
    return b"".join(parts) + b"e" + struct.pack(">I", len(data)) + data


def write_overlay(folder: Path, part: str, handoff: str) -> Path:
    """Write the overlay into a folder, and return the path of the bitstream.

    Raises
    ------
    TargetError
        A bitstream is there that somebody else has made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{OVERLAY}.bit"
    if path.exists() and _MARK not in path.read_bytes()[:1024]:
        raise TargetError(f"{path} is no file of a fake board: name another folder, as in -o fake-overlay")
    path.write_bytes(build_bitstream(part, handoff))
    path.with_suffix(".hwh").write_bytes(handoff.encode())
    return path
