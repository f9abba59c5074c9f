"""The tables that configure a layer, as configuration words write them.

What is not written keeps what the layer before wrote.
"""

from __future__ import annotations

from ..errors import ImageError
from ..spec.coder import (
    MAX_COLUMN_BITS,
    MAX_CONTEXT_BITS,
    MAX_PASSES,
    MAX_ROW_BITS,
    MAX_TABLES,
    SYMBOL_BITS,
    SYMBOLS,
)
from ..spec.image import (
    COLUMNS_A_WORD,
    CONFIG_COARSE,
    CONFIG_COLUMN_FIELD,
    CONFIG_COLUMNS,
    CONFIG_CONTEXTS,
    CONFIG_FINE,
    CONFIG_KEY_CLASS,
    CONFIG_NEIGHBOUR,
    CONFIG_NONE,
    CONFIG_PALETTE,
    CONTEXTS_A_WORD,
    THRESHOLD_LSBS,
    unpack_config_word,
    unpack_key_class,
)
from ..spec.machine import Machine
from ..spec.registers import ErrorCode
from .decode.contexts import Neighbours

_QUARTERS = 4
#: Weights of a symbol that a word of a palette holds.
PALETTE_WEIGHTS = 4
_FIELD_MASK = (1 << MAX_CONTEXT_BITS) - 1
_TABLE_MASK = MAX_TABLES - 1
_THRESHOLD_MASK = (1 << 14) - 1
#: Bits of a word of the map of neighbours that are the field of the neighbour before.
_PREVIOUS_BITS = 8


class Configuration:
    """Tables, maps and parameters.

    Parameters
    ----------
    machine : Machine
        Entries of the map of columns.
    """

    def __init__(self, machine: Machine):
        #: cum[4, 8, 12] of each table; cum[4q + 1 .. 4q + 3] of each table and quarter q
        self._coarse = [[0] * 3 for _ in range(MAX_TABLES)]
        self._fine = [[0] * 3 for _ in range(MAX_TABLES * _QUARTERS)]
        #: table < 64 of each context
        self.contexts = [0] * (1 << MAX_CONTEXT_BITS)
        #: class of the neighbour further back, field of the neighbour before; address: has_previous, symbol
        self.neighbours = [0] * (2 * SYMBOLS)
        #: class < 16 of each group of weights; field of each class, address: pass, class
        self.columns = [0] * machine.column_classes
        self.column_fields = [0] * (MAX_PASSES << MAX_COLUMN_BITS)
        #: weights of each symbol, address: pass, symbol
        self.palette = [[0] * PALETTE_WEIGHTS for _ in range(MAX_PASSES * SYMBOLS)]
        self.key_classes = [unpack_key_class(0) for _ in range(1 << MAX_ROW_BITS)]

    def write(self, word: int) -> None:
        """Execute a configuration word.

        Raises
        ------
        ImageError
            There is no such kind of word.
        """
        kind, address, data = unpack_config_word(word)
        if kind == CONFIG_COARSE:
            self._coarse[address] = [data >> lsb & _THRESHOLD_MASK for lsb in THRESHOLD_LSBS]
        elif kind == CONFIG_FINE:
            self._fine[address] = [data >> lsb & _THRESHOLD_MASK for lsb in THRESHOLD_LSBS]
        elif kind == CONFIG_CONTEXTS:
            for i in range(CONTEXTS_A_WORD):
                self.contexts[address + i] = data >> 6 * i & _TABLE_MASK
        elif kind == CONFIG_NEIGHBOUR:
            self.neighbours[address] = data & _FIELD_MASK
        elif kind == CONFIG_COLUMNS:
            for i in range(COLUMNS_A_WORD):
                self.columns[address * COLUMNS_A_WORD + i] = data >> 4 * i & (1 << MAX_COLUMN_BITS) - 1
        elif kind == CONFIG_COLUMN_FIELD:
            self.column_fields[address] = data & _FIELD_MASK
        elif kind == CONFIG_PALETTE:
            weights = [data >> 8 * i & 255 for i in range(PALETTE_WEIGHTS)]
            self.palette[address] = [weight - 256 if weight > 127 else weight for weight in weights]
        elif kind == CONFIG_KEY_CLASS:
            self.key_classes[address] = unpack_key_class(data)
        elif kind != CONFIG_NONE:
            raise ImageError(f"there is no configuration word of kind {kind}", ErrorCode.CONFIGURATION)

    def thresholds(self) -> list[list[int]]:
        """Return ``cum[0..15]`` of each table, put together from coarse and fine ones."""
        tables = []
        for number, coarse in enumerate(self._coarse):
            cum = []
            for quarter, first in enumerate([0, *coarse]):
                cum += [first, *self._fine[_QUARTERS * number + quarter]]
            tables.append(cum)
        return tables


class FieldContexts:
    """Choose tables by fields that were shifted to their places when they were written.

    Parameters
    ----------
    configuration : Configuration
        Maps.
    passes, column_period, distance : int
        Symbols a group of weights; groups after which classes repeat; how far back the second neighbour is.
    """

    def __init__(self, configuration: Configuration, *, passes: int, column_period: int, distance: int):
        self._configuration = configuration
        self._passes = passes
        self._column_period = column_period
        self._distance = distance

    def table(self, row_class: int, j: int, neighbours: Neighbours) -> int:
        """Return the number of the table for the symbol at position `j` of a codeword.

        Parameters
        ----------
        row_class : int
            Field of the row, as the key memory holds it.
        j : int
            Position within the codeword.
        neighbours : Neighbours
            The symbols before it.
        """
        maps = self._configuration
        group, number = divmod(j, self._passes)
        column_class = maps.columns[group % self._column_period]
        context = row_class << MAX_CONTEXT_BITS - MAX_ROW_BITS
        context |= maps.column_fields[number << MAX_COLUMN_BITS | column_class]
        has_previous = int(j >= 1)
        word = maps.neighbours[has_previous << SYMBOL_BITS | (neighbours.before(j, 1) if has_previous else 0)]
        context |= word & (1 << _PREVIOUS_BITS) - 1
        if j >= self._distance:
            context |= maps.neighbours[SYMBOLS | neighbours.before(j, self._distance)] >> _PREVIOUS_BITS
        return maps.contexts[context]
