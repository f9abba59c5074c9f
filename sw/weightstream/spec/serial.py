"""The protocol of a serial line to an accelerator, declared once: for gateware, driver and docs/serial.md.

Frames are those of HDLC on an asynchronous line, as RFC 1662 has them: a flag before and behind, escapes, a
CRC-32 at the end. Whoever sees a flag is in step again, whatever was lost before it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

#: Begins and ends a frame.
FLAG = 0x7E
#: Says that the next byte is inverted in the bit of `FLIP`: so FLAG and ESCAPE are never data.
ESCAPE, FLIP = 0x7D, 0x20

#: What `IDENTIFY` answers first: "WSSB", and the version of this protocol.
MAGIC, VERSION = b"WSSB", 1
#: Bytes of a word of memory, and of a register: what lengths are multiples of.
WORD_BYTES, REGISTER_BYTES = 8, 4
#: The most bytes of memory that a frame carries.
BLOCK_BYTES = 1024
#: Where a bridge's memory begins, as on a Zynq board: a forgotten address of 0 is refused.
MEMORY_BASE = 0x1000_0000

#: Command, sequence number, length, address; what is written follows.
REQUEST = struct.Struct("<BBHI")
#: Command and `ANSWERED`, sequence number, status, flags; what was read follows.
REPLY = struct.Struct("<BBBB")
#: Magic, version, block bytes; base and bytes of the memory; clock in Hz, the request's address: whole words.
IDENTITY = struct.Struct("<4sHHIIII")
#: The CRC-32 of a frame: that of Ethernet and zlib, the lowest byte first.
CRC = struct.Struct("<I")
#: Bit of a reply's command: a line that sends back what it hears is no bridge.
ANSWERED = 0x80
#: Bit of a reply's flags: the accelerator's interrupt line is up.
INTERRUPT = 1


class _Documented(IntEnum):
    """A number with a sentence about it."""

    sentence: str

    def __new__(cls, value: int, sentence: str):
        member = int.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


class Command(_Documented):
    """What a request asks for."""

    IDENTIFY = 1, "Say who answers, and forget the request before. Length 24; any address, which is returned."
    STATUS = 2, "Say nothing but status and flags. Length 0."
    READ_REGISTER = 3, "Read a register of 32 bits. Length 4."
    WRITE_REGISTER = 4, "Write a register of 32 bits. Length 4."
    READ_MEMORY = 5, "Read words of memory. Length: a multiple of 8, at most the bytes of a block."
    WRITE_MEMORY = 6, "Write words of memory. Length: a multiple of 8, at most the bytes of a block."


class Status(_Documented):
    """What became of a request."""

    OK = 0, "It was done."
    COMMAND = 1, "There is no such command."
    LENGTH = 2, "The length is not one of the command's, or not that of what followed."
    ADDRESS = 3, "There is no such register or memory, or the address is no multiple of 4 or 8."
    RESPONSE = 4, "The register bus answered with an error."


def encode(body: bytes) -> bytes:
    """Return the frame of a body: with CRC, escapes and flags."""
    flag, escape = bytes([FLAG]), bytes([ESCAPE])
    text = body + CRC.pack(zlib.crc32(body))
    for special in (escape, flag):  # ESCAPE first: those that FLAGs bring must not be escaped again
        text = text.replace(special, escape + bytes([special[0] ^ FLIP]))
    return flag + text + flag


@dataclass
class Frames:
    """A reader of frames: takes bytes as they come, and puts out the bodies of those that are whole.

    Parameters
    ----------
    longest : int
        Bytes of the longest frame; what is longer is dropped.

    Attributes
    ----------
    broken : int
        Frames that were dropped: too long, cut off within an escape, or with a wrong CRC.
    """

    longest: int = 2 * (REQUEST.size + BLOCK_BYTES + CRC.size)
    broken: int = 0
    _kept: bytes = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the bodies of the frames that they complete."""
        *ended, self._kept = (self._kept + data).split(bytes([FLAG]))
        # What is not read any more still counts as too long at its end.
        self._kept = self._kept[: self.longest + 1]
        bodies = []
        for text in filter(None, ended):  # two flags side by side hold no frame
            body = self._body(text)
            if body is None:
                self.broken += 1
            else:
                bodies.append(body)
        return bodies

    def _body(self, text: bytes) -> bytes | None:
        if len(text) > self.longest or text[-1] == ESCAPE:
            return None
        first, *escaped = text.split(bytes([ESCAPE]))
        if not all(escaped):  # two escapes side by side
            return None
        plain = first + b"".join(bytes([part[0] ^ FLIP]) + part[1:] for part in escaped)
        body, crc = plain[: -CRC.size], plain[-CRC.size :]
        return body if len(crc) == CRC.size and CRC.unpack(crc)[0] == zlib.crc32(body) else None


_INTRODUCTION = f"""\
# Serial line

Generated from `sw/weightstream/spec/serial.py`; a test compares the two.

What a computer and an accelerator behind a UART say to each other: 8 data bits, no parity, one stop bit. The
computer asks, the bridge answers; one request at a time. Numbers begin with their lowest byte.

## Frames

`0x{FLAG:02X}`, body, CRC, `0x{FLAG:02X}`: the asynchronous HDLC framing of RFC 1662, without its header.

- The CRC is the CRC-32 of Ethernet and zlib over the body, 4 bytes.
- In body and CRC, `0x{FLAG:02X}` and `0x{ESCAPE:02X}` are sent as `0x{ESCAPE:02X}` and the byte with bit
  `0x{FLIP:02X}` inverted.
- A flag ends a frame and begins the next; two flags side by side hold none.
- A frame with a wrong CRC, too long, or cut off within an escape is dropped in silence.

| body | bytes 0 | 1 | 2 | 3 | 4 to 7 | then |
|---|---|---|---|---|---|---|
| request | command | sequence number | length, lower byte | length, upper byte | address | what is written |
| reply | command + 0x{ANSWERED:02X} | sequence number | status | flags | what was read | |

The length is that of what is written, or is to be read. Bit 0 of the flags: the interrupt line is up.

"""

_RULES = f"""
## What is lost

- A request that is not answered is sent again, with the same sequence number. A new request has the next
  one, after 255 comes 0.
- A register request with the sequence number of the request before it is not done again: the bridge repeats
  what it answered. So `ap_start` starts once, and what reading clears is not lost.
- Memory requests name their addresses: doing them twice does no harm.
- Nothing is written before the CRC of the whole frame is right.
- Replies to another command or sequence number are late ones: the computer drops them.
- While the bridge works and answers, it hears nothing. It then waits for a flag.

## Who answers

`IDENTIFY` answers {IDENTITY.size} bytes:

| bytes | what they say |
|---|---|
| 0 to 3 | "{MAGIC.decode()}" |
| 4, 5 | version of this protocol: {VERSION} |
| 6, 7 | bytes of a block: {BLOCK_BYTES} |
| 8 to 11 | where memory begins: 0x{MEMORY_BASE:08X} |
| 12 to 15 | bytes of the memory |
| 16 to 19 | the accelerator's clock in Hz |
| 20 to 23 | the address of the request, which tells an answer to somebody else apart |

Registers are those of docs/registers.md.
"""


def to_markdown() -> str:
    """Return docs/serial.md."""
    lines = ["## Commands", "", "| number | command | what it does |", "|---|---|---|"]
    lines += [f"| {command.value} | `{command.name}` | {command.sentence} |" for command in Command]
    lines += ["", "## Status", "", "| number | status | what became of the request |", "|---|---|---|"]
    lines += [f"| {status.value} | `{status.name}` | {status.sentence} |" for status in Status]
    return _INTRODUCTION + "\n".join(lines) + "\n" + _RULES
