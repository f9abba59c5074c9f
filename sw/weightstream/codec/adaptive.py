"""Adaptive binary range coder for side information: tables, context maps, class maps.

Side information is read once, by software, before a layer starts; so it is coded as tightly as adaptive
statistics allow, one binary decision after another. The weights themselves never pass through here.

A decision in context ``c`` with counts ``n0, n1`` splits the range at
``range * (2*n0 + 1) // (2*(n0 + n1) + 2)`` [Krichevsky-Trofimov estimate]; counts are halved at 255.
Bytes past the end read as zero, so trailing zero bytes are not stored.
"""

from abc import ABC, abstractmethod

from ..errors import FormatError

_TOP = 1 << 24
_MASK = (1 << 32) - 1
_HALVE_AT = 255
#: No number of the side information needs more bits: a longer prefix is corrupt.
_MAX_NUMBER_BITS = 32


def _count(pair: list[int], bit: int) -> None:
    pair[bit] += 1
    if pair[bit] >= _HALVE_AT:
        pair[0] = (pair[0] + 1) >> 1
        pair[1] = (pair[1] + 1) >> 1


class Coder(ABC):
    """What encoder and decoder share: contexts, and numbers made of binary decisions.

    The encoder's and the decoder's `bit` take the same arguments and return the bit, so that every code
    built on it is written once and cannot differ between the two directions.
    """

    def __init__(self):
        self._contexts: dict[object, list[int]] = {}

    @abstractmethod
    def bit(self, context: object, bit: int = 0) -> int:
        """Code a decision in a context; None is a fair coin. Return the decision."""

    def _pair(self, context: object) -> list[int]:
        pair = self._contexts.get(context)
        if pair is None:
            pair = self._contexts[context] = [0, 0]
        return pair

    def raw(self, bits: int, value: int = 0) -> int:
        """Code `bits` equiprobable bits, most significant first."""
        result = 0
        for i in range(bits - 1, -1, -1):
            result = result << 1 | self.bit(None, value >> i & 1)
        return result

    def number(self, context: object, value: int = 0) -> int:
        """Code a number >= 0: the length of ``value + 1`` in unary, then its bits below the leading one.

        Raises
        ------
        FormatError
            What is read is beyond 32 bits.
        """
        value += 1
        length = value.bit_length()
        size = 1
        while self.bit((context, size), int(size < length)):
            size += 1
            if size > _MAX_NUMBER_BITS:
                raise FormatError("side information holds a number beyond 32 bits: the section is corrupt")
        result = 1
        for i in range(size - 2, -1, -1):
            # The bit below the leading one is far from uniform where numbers are small.
            where = (context, size, "top") if i == size - 2 else None
            result = result << 1 | self.bit(where, value >> i & 1)
        return result - 1

    def signed(self, context: object, value: int = 0) -> int:
        """Code any integer: its magnitude as a number, then its sign."""
        magnitude = self.number((context, "magnitude"), abs(value))
        if magnitude and self.bit((context, "sign"), int(value < 0)):
            return -magnitude
        return magnitude

    def choice(self, context: object, count: int, value: int = 0) -> int:
        """Code one of `count` values, as a path down a binary tree.

        Raises
        ------
        FormatError
            What is read is none of the choices.
        """
        bits = (count - 1).bit_length()
        node = 1
        for i in range(bits - 1, -1, -1):
            node = node << 1 | self.bit((context, node), value >> i & 1)
        result = node - (1 << bits)
        if result >= count:
            raise FormatError(f"side information holds choice {result} of {count}: the section is corrupt")
        return result


class AdaptiveEncoder(Coder):
    """Write binary decisions; `finish` returns the bytes."""

    def __init__(self):
        super().__init__()
        self._low = 0
        self._range = _MASK
        self._bytes = bytearray()

    def bit(self, context: object, bit: int = 0) -> int:
        """Code `bit` in `context`; None is a fair coin."""
        if context is None:
            bound = self._range >> 1
        else:
            pair = self._pair(context)
            bound = self._range * (2 * pair[0] + 1) // (2 * (pair[0] + pair[1]) + 2)
            _count(pair, bit)
        if bit:
            self._low += bound
            self._range -= bound
        else:
            self._range = bound
        while self._range < _TOP:
            self._shift()
        return bit

    def _shift(self) -> None:
        if self._low > _MASK:
            self._carry()
        self._bytes.append(self._low >> 24)
        self._low = self._low << 8 & _MASK
        self._range <<= 8

    def _carry(self) -> None:
        self._low &= _MASK
        at = len(self._bytes) - 1
        while self._bytes[at] == 255:
            self._bytes[at] = 0
            at -= 1
        self._bytes[at] += 1

    def finish(self) -> bytes:
        """Return the bytes: of all numbers in the last range, the one with most trailing zeros."""
        for bits in range(32, -1, -1):
            value = (self._low + (1 << bits) - 1) >> bits << bits
            if value < self._low + self._range:
                break
        self._low = value
        for _ in range(4):
            self._shift()
        return bytes(self._bytes).rstrip(b"\0")


class AdaptiveDecoder(Coder):
    """Read what an `AdaptiveEncoder` wrote."""

    def __init__(self, data: bytes | memoryview):
        super().__init__()
        self._data = data
        self._at = 4
        self._range = _MASK
        self._code = int.from_bytes(bytes(data[:4]).ljust(4, b"\0"), "big")

    def bit(self, context: object, bit: int = 0) -> int:
        """Return the next decision; the argument `bit` is ignored."""
        if context is None:
            bound = self._range >> 1
        else:
            pair = self._pair(context)
            bound = self._range * (2 * pair[0] + 1) // (2 * (pair[0] + pair[1]) + 2)
        bit = int(self._code >= bound)
        if bit:
            self._code -= bound
            self._range -= bound
        else:
            self._range = bound
        if context is not None:
            _count(pair, bit)
        while self._range < _TOP:
            byte = self._data[self._at] if self._at < len(self._data) else 0
            self._at += 1
            self._code = (self._code << 8 | byte) & _MASK
            self._range <<= 8
        return bit

    def finish(self) -> None:
        """Check that nothing was left over.

        Raises
        ------
        FormatError
            Bytes are left.
        """
        if self._at < len(self._data):
            raise FormatError(
                f"side information ends after {self._at} of its {len(self._data)} bytes: it is corrupt"
            )
