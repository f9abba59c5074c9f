"""Row keys: the leading bits of sorted codewords, stored as Rice-coded gaps.

Keys are what collects the log2(N!) bits that the order of N rows would cost: sorted numbers are cheaper than
numbers. Rows that must keep their places have no keys (k = 0).
"""

from dataclasses import dataclass

import numpy as np

from ..errors import FormatError
from ..spec.coder import MAX_KEY_BITS
from .bits import RiceReader, best_rice_parameter, pack_fields, rice_bits, rice_fields

#: Rice codes are limited to this length, so that they can be handled as 64-bit fields.
_MAX_CODE_BITS = 60


@dataclass(frozen=True)
class KeyCode:
    """How the keys of one row class are stored.

    Parameters
    ----------
    bits : int
        k, 0 to 15.
    rice : int
        Parameter of the Rice code of the gaps.
    lift : int
        1 if gaps are stored plus 1: a carry from what follows can make a key smaller by one than that of an
        equal row before it.
    """

    bits: int
    rice: int = 0
    lift: int = 0


def choose_key_bits(leading: np.ndarray, limit: int) -> int:
    """Return the k that saves most on sorted rows.

    Parameters
    ----------
    leading : ndarray of int64, shape (rows,)
        The first 15 bits of the codewords of one class, in order.
    limit : int
        The largest k that the class allows.
    """
    best, saved = 0, 0
    for bits in range(1, limit + 1):
        gaps = np.maximum(np.diff(leading >> (MAX_KEY_BITS - bits), prepend=0), 0)
        gain = bits * len(leading) - rice_bits(gaps, _rice_parameter(gaps))
        if gain > saved:
            best, saved = bits, gain
    return best


def _rice_parameter(gaps: np.ndarray) -> int:
    parameter = best_rice_parameter(gaps)
    while int(gaps.max(initial=0) >> parameter) + parameter > _MAX_CODE_BITS:
        parameter += 1
    return parameter


def encode_keys(keys: np.ndarray, bits: list[int], rows: list[int]) -> tuple[list[KeyCode], bytes]:
    """Code keys, class after class.

    Parameters
    ----------
    keys : ndarray of uint16, shape (rows,)
        Keys in the order of the rows.
    bits, rows : list of int
        k and the number of rows of each class.
    """
    codes, values, widths = [], [], []
    start = 0
    for k, count in zip(bits, rows, strict=True):
        own = keys[start : start + count].astype(np.int64)
        start += count
        if not k or not count:
            codes.append(KeyCode(0))
            continue
        gaps = np.diff(own, prepend=0)
        lift = int(gaps.min() < 0)
        gaps += lift
        parameter = _rice_parameter(gaps)
        codes.append(KeyCode(k, parameter, lift))
        value, width = rice_fields(gaps, parameter)
        values.append(value)
        widths.append(width)
    if not values:
        return codes, b""
    return codes, pack_fields(np.concatenate(values), np.concatenate(widths))


def check_keys(complete: bool, possible: bool, code: KeyCode | None = None, bits_left: int = 0) -> None:
    """Raise a `FormatError` for keys that ended early, have too many bits, or ended before their section."""
    if not complete:
        raise FormatError("the keys end before their last row: the section is truncated")
    if not possible:
        assert code is not None
        raise FormatError(f"a row key has more than its {code.bits} bits: the section is corrupt")
    if bits_left >= 8:
        raise FormatError("the keys end before their section does: it is corrupt")


def decode_keys(data: bytes, codes: list[KeyCode], rows: list[int]) -> np.ndarray:
    """Return the keys of all rows, uint16, in the order of the rows.

    Raises
    ------
    FormatError
        The section is truncated or holds a key beyond its bits.
    """
    reader = RiceReader(data)
    result = np.zeros(sum(rows), np.uint16)
    start = 0
    for code, count in zip(codes, rows, strict=True):
        if code.bits and count:
            keys = np.cumsum(np.array(reader.read(count, code.rice), np.int64) - code.lift)
            check_keys(True, int(keys.min()) >= 0 and not int(keys.max()) >> code.bits, code)
            result[start : start + count] = keys
        start += count
    reader.finish()
    return result
