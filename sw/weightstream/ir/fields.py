"""Fields of the graph section: variable-length numbers, floats, names."""

import struct

from ..errors import FormatError, NetworkError
from ..spec.container import MAX_NAME_BYTES

_MAX_NUMBER_BYTES = 10


class FieldWriter:
    """Append fields to bytes."""

    def __init__(self):
        self.data = bytearray()

    def number(self, value: int) -> None:
        """Append a number >= 0, seven bits a byte, lowest first; the top bit says that more follow."""
        while value > 0x7F:
            self.data.append(value & 0x7F | 0x80)
            value >>= 7
        self.data.append(value)

    def signed(self, value: int) -> None:
        """Append an integer as the number ``2 * value``, or ``-2 * value - 1`` if it is negative."""
        self.number(2 * value if value >= 0 else -2 * value - 1)

    def real(self, value: float) -> None:
        """Append a float32."""
        self.data += struct.pack("<f", value)

    def name(self, value: str) -> None:
        """Append a name in UTF-8, its length first.

        Raises
        ------
        NetworkError
            The name is too long, or no text.
        """
        try:
            raw = value.encode()
        except UnicodeEncodeError as error:
            raise NetworkError(f"the name {value!r} cannot be written in UTF-8") from error
        if len(raw) > MAX_NAME_BYTES:
            raise NetworkError(f"the name {value!r} has {len(raw)} bytes; a file takes {MAX_NAME_BYTES}")
        self.number(len(raw))
        self.data += raw


class FieldReader:
    """Take fields from bytes; whatever is wrong is a `FormatError`."""

    def __init__(self, data: bytes | memoryview):
        self._data = memoryview(data)
        self._at = 0

    def _take(self, count: int) -> memoryview:
        if count > len(self._data) - self._at:
            raise FormatError(f"the graph section of {len(self._data)} bytes is truncated")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, what: str, limit: int, least: int = 0) -> int:
        """Return a number in [least, limit]; `what` names it in errors.

        Raises
        ------
        FormatError
            The number is truncated, longer than it needs to be, or out of range.
        """
        value = 0
        for i in range(_MAX_NUMBER_BYTES):
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << 7 * i
            if not byte & 0x80:
                if i and not byte:
                    raise FormatError(f"{what} is longer than it needs to be: the file is corrupt")
                break
        else:
            raise FormatError(
                f"{what} is a number of more than {_MAX_NUMBER_BYTES} bytes: the file is corrupt"
            )
        if not least <= value <= limit:
            raise FormatError(f"{what} must be in [{least}, {limit}], not {value}: the file is corrupt")
        return value

    def signed(self, what: str, low: int, high: int) -> int:
        """Return an integer in [low, high].

        Raises
        ------
        FormatError
            The number is truncated, or out of range.
        """
        raw = self.number(what, (1 << 63) - 1)
        value = -(raw + 1) // 2 if raw & 1 else raw // 2
        if not low <= value <= high:
            raise FormatError(f"{what} must be in [{low}, {high}], not {value}: the file is corrupt")
        return value

    def real(self) -> float:
        """Return a float32."""
        return struct.unpack("<f", self._take(4))[0]

    def name(self) -> str:
        """Return a name.

        Raises
        ------
        FormatError
            The name is truncated, or not UTF-8.
        """
        raw = self._take(self.number("the length of a name", MAX_NAME_BYTES))
        try:
            return bytes(raw).decode()
        except UnicodeDecodeError as error:
            raise FormatError("a name is not UTF-8: the file is corrupt") from error

    def finish(self) -> None:
        """Check that nothing is left over.

        Raises
        ------
        FormatError
            Bytes are left.
        """
        if self._at != len(self._data):
            raise FormatError(
                f"the graph section ends after {self._at} of its {len(self._data)} bytes: it is corrupt"
            )
