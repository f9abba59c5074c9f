"""The context of a symbol: bit fields side by side, which address the map that holds the number of its table.

::

    context = | row class | column class | class of the symbol before | class of that `distance` before |

A class takes as many bits as their number needs, none if there is one. Those of the row and of the column are
known beforehand; only the neighbours are part of the decoding loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...spec.coder import (
    MAX_COLUMN_BITS,
    MAX_CONTEXT_BITS,
    MAX_DISTANCE,
    MAX_NEIGHBOUR_BITS,
    MAX_ROW_BITS,
    MAX_TABLES,
    SYMBOLS,
)

if TYPE_CHECKING:
    from ...codec.contexts import ContextModel


def class_bits(classes: int) -> int:
    """Return ceil(log2(classes)), the bits of a class."""
    return (classes - 1).bit_length()


class TableChoice(Protocol):
    """What chooses the table of a symbol; see `ContextMap.table`."""

    def table(self, row_class: int, j: int, neighbours: Neighbours) -> int:
        """Return the number of the table."""
        ...


class ContextMap:
    """Choose tables.

    Parameters
    ----------
    model : ContextModel
        Class maps, and the table of each combination of classes.
    """

    def __init__(self, model: ContextModel):
        rows, columns, previous, back = model.classes
        self._column_bits = class_bits(columns)
        self._previous_bits = class_bits(previous)
        self._back_bits = class_bits(back)
        bits = class_bits(rows) + self._column_bits + self._previous_bits + self._back_bits
        assert class_bits(rows) <= MAX_ROW_BITS and self._column_bits <= MAX_COLUMN_BITS
        assert max(self._previous_bits, self._back_bits) <= MAX_NEIGHBOUR_BITS
        assert bits <= MAX_CONTEXT_BITS
        #: column < columns
        self._columns = [int(c) for c in model.columns]
        #: 16 classes each
        self._previous = [int(c) for c in model.previous]
        self._back = [int(c) for c in model.back]
        assert len(self._previous) == len(self._back) == SYMBOLS
        self.distance = model.distance
        assert 1 <= self.distance <= MAX_DISTANCE
        #: entry < 64; contexts that no combination of classes forms are never asked for
        self._entries = [0] * (1 << bits)
        for r in range(rows):
            for c in range(columns):
                for p in range(previous):
                    for b in range(back):
                        self._entries[self._context(r, c, p, b)] = int(model.tables[r, c, p, b])
        assert max(self._entries) < MAX_TABLES

    def _context(self, row_class: int, column_class: int, previous_class: int, back_class: int) -> int:
        """Put the fields side by side."""
        context = row_class
        context = context << self._column_bits | column_class
        context = context << self._previous_bits | previous_class
        context = context << self._back_bits | back_class
        return context

    def table(self, row_class: int, j: int, neighbours: Neighbours) -> int:
        """Return the number of the table for the symbol at position `j` of a codeword.

        Parameters
        ----------
        row_class : int
            Class of the row that the codeword is of.
        j : int
            Position within the codeword.
        neighbours : Neighbours
            The symbols before it.
        """
        column_class = self._columns[j % len(self._columns)]
        # A missing neighbour is of class 0, whatever class symbol 0 has.
        previous_class = self._previous[neighbours.before(j, 1)] if j >= 1 else 0
        back_class = self._back[neighbours.before(j, self.distance)] if j >= self.distance else 0
        return self._entries[self._context(row_class, column_class, previous_class, back_class)]


class Neighbours:
    """The last 16 symbols of a slot: a ring, written at the position of each symbol."""

    def __init__(self):
        #: symbol < 16
        self._ring = [0] * MAX_DISTANCE

    def before(self, j: int, distance: int) -> int:
        """Return the symbol `distance`, 1 to 16, before position `j`."""
        return self._ring[(j - distance) % MAX_DISTANCE]

    def write(self, j: int, symbol: int) -> None:
        """Keep the symbol at position `j`."""
        assert 0 <= symbol < SYMBOLS
        self._ring[j % MAX_DISTANCE] = symbol
