"""Keys of rows, from the Rice codes of their gaps, bit by bit.

A Rice code of parameter r is ``gap >> r`` ones, a zero, and the r low bits of the gap. Gaps are those between
the keys of a row class in the order of the rows, from 0 on; a class with a lift stores each gap plus 1.
"""

# Ref: Basu and Varshney, "Universal and Succinct Source Coding of Deep Neural Networks", 2022
# Id: arXiv:1804.02800
# Differs: gaps of sorted keys, Rice coded, instead of a tree of counts

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import FormatError
from ...spec.coder import MAX_KEY_BITS

if TYPE_CHECKING:
    from ...codec.keys import KeyCode

#: Ones of a code are counted so far and no further: even with r = 0 no key is that far from the one before.
_MAX_ONES = (1 << MAX_KEY_BITS + 1) - 1


class RiceKeyDecoder:
    """Decode the keys of a matrix, class after class.

    Parameters
    ----------
    data : bytes
        The codes, most significant bit first; the last byte is padded.
    """

    def __init__(self, data: bytes):
        self._data = data
        #: at <= 8 * len(data): the next bit
        self._at = 0

    def _bit(self) -> int:
        if self._at == 8 * len(self._data):
            raise FormatError("the keys end before their last row: the section is truncated")
        bit = self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
        self._at += 1
        return bit

    def _gap(self, rice: int) -> int:
        """Return the next stored gap."""
        ones = 0
        while self._bit():
            ones = min(ones + 1, _MAX_ONES)
        gap = ones
        for _ in range(rice):
            gap = gap << 1 | self._bit()
        return gap

    def decode(self, code: KeyCode, rows: int) -> list[int]:
        """Return the keys of one row class.

        Parameters
        ----------
        code : KeyCode
            k, the parameter of the Rice codes, and the lift.
        rows : int
            Rows of the class.

        Returns
        -------
        list of int
            A key of k bits for each row; 0 where k is 0, of which nothing is stored.

        Raises
        ------
        FormatError
            The data end too early, or a key has more than its k bits.
        """
        if code.bits == 0:
            return [0] * rows
        keys = []
        #: key < 2**k, unless impossible
        key = 0
        #: sticky; looked at behind the class, so that data that end within it are called truncated
        impossible = False
        for _ in range(rows):
            key = key + self._gap(code.rice) - code.lift
            impossible = impossible or not 0 <= key < 1 << code.bits
            key &= (1 << code.bits) - 1
            keys.append(key)
        if impossible:
            raise FormatError(f"a row key has more than its {code.bits} bits: the section is corrupt")
        return keys

    def finish(self) -> None:
        """Check, behind the last class, that nothing but the padding of a byte is left.

        Raises
        ------
        FormatError
            There is more.
        """
        if 8 * len(self._data) - self._at >= 8:
            raise FormatError("the keys end before their section does: it is corrupt")
