"""Bit fields and Rice codes, most significant bit first."""

from array import array

import numpy as np

from ..errors import FormatError


def pack_fields(values: np.ndarray, widths: np.ndarray) -> bytes:
    """Concatenate bit fields: of each value its lowest `width` bits. The last byte is padded with zeros.

    Parameters
    ----------
    values : ndarray of int64, shape (n,)
        Fields; negative ones in two's complement.
    widths : ndarray of int64, shape (n,)
        Widths in bits, 0 to 63.
    """
    widths = np.asarray(widths, np.int64)
    ends = np.cumsum(widths)
    total = int(ends[-1]) if len(ends) else 0
    owner = np.repeat(np.arange(len(widths)), widths)
    shift = ends[owner] - 1 - np.arange(total)
    return np.packbits((np.asarray(values, np.int64)[owner] >> shift & 1).astype(np.uint8)).tobytes()


def unpack_records(data: bytes | memoryview, count: int, widths: list[int]) -> list[np.ndarray]:
    """Read records of bit fields; the opposite of `pack_fields` for equal records.

    Parameters
    ----------
    data : bytes
        At least ``count * sum(widths)`` bits.
    count : int
        Records.
    widths : list of int
        Widths of a record's fields in bits.

    Returns
    -------
    list of ndarray of int64, shape (count,)
        Each field of all records.
    """
    width = sum(widths)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * width).reshape(count, width)
    result = []
    at = 0
    for field in widths:
        values = np.zeros(count, np.int64)
        for column in range(at, at + field):
            values = values << 1 | bits[:, column]
        result.append(values)
        at += field
    return result


def rice_bits(values: np.ndarray, parameter: int) -> int:
    """Return the length of the Rice codes of values >= 0."""
    return int((values >> parameter).sum()) + len(values) * (1 + parameter)


def best_rice_parameter(values: np.ndarray, limit: int = 15) -> int:
    """Return the parameter, at most `limit`, that makes the Rice codes of values >= 0 shortest."""
    return min(range(limit + 1), key=lambda parameter: rice_bits(values, parameter))


def rice_fields(values: np.ndarray, parameter: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Rice codes as bit fields: ``value >> parameter`` ones, a zero, `parameter` bits.

    A code is at most 63 bits long: the caller chooses the parameter so.
    """
    quotient = values >> parameter
    widths = quotient + 1 + parameter
    ones = (np.int64(1) << quotient) - 1
    return ones << (parameter + 1) | values & ((1 << parameter) - 1), widths


class RiceReader:
    """Read Rice codes one after another."""

    def __init__(self, data: bytes):
        self._bits = np.unpackbits(np.frombuffer(data, np.uint8)).tobytes()
        self._at = 0

    def read(self, count: int, parameter: int) -> array:
        """Return `count` values.

        Raises
        ------
        FormatError
            The data end too early.
        """
        bits, at, result = self._bits, self._at, array("q")
        if count * (1 + parameter) > len(bits) - at:
            raise FormatError("the keys end before their last row: the section is truncated")
        for _ in range(count):
            end = bits.find(0, at)
            if end < 0 or end + parameter >= len(bits):
                raise FormatError("the keys end before their last row: the section is truncated")
            value = end - at
            for bit in bits[end + 1 : end + 1 + parameter]:
                value = value << 1 | bit
            result.append(value)
            at = end + 1 + parameter
        self._at = at
        return result

    def finish(self) -> None:
        """Check that less than a byte is left.

        Raises
        ------
        FormatError
            A byte or more is left.
        """
        if len(self._bits) - self._at >= 8:
            raise FormatError("the keys end before their section does: it is corrupt")
