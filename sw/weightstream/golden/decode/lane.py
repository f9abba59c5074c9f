"""The decoder of one lane: slots that take turns, each with a stream of its own.

A row is a codeword of an order-preserving arithmetic code. A slot decodes it from a range R, a window V < R
of what the codeword holds above its symbols so far, and a buffer B of the stream bits behind the window::

    row start    push the window's 15 bits back in front of B       (first row of a stream: nothing to push)
                 V = the key's k bits, then 15 - k bits of B;  R = 2**15
    symbol       s = the largest s with floor(R * cum[s] / 2**14) <= V
                 lo = floor(R * cum[s] / 2**14);  hi = floor(R * cum[s + 1] / 2**14), or R for the last symbol
                 V -= lo;  R = hi - lo;  sh = 16 - bits of R;  R <<= sh;  V = V << sh | sh bits of B
                 16 or fewer bits left in B: a word of the lane's queue goes behind them

The gateware does side by side what is done here one after another. The order in which the slots of a lane
take words is the only order that shows in the result.
"""

# Ref: Basu and Varshney, "Universal and Succinct Source Coding of Deep Neural Networks", 2022
# Id: arXiv:1804.02800
# Differs: sorted order-preserving row codewords instead of a tree of counts; see docs/format.md

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...errors import FormatError
from ...spec.coder import (
    FREQUENCY_BITS,
    MAX_KEY_BITS,
    RANGE_BITS,
    REFILL_BITS,
    START_WORDS,
    SYMBOLS,
    WINDOW_BITS,
    WORD_BITS,
)
from .contexts import Neighbours, TableChoice
from .word_queue import WordQueue

#: Bits of the buffer B: two words, and a window pushed back in front of them.
BUFFER_BITS = 2 * WORD_BITS + WINDOW_BITS


@dataclass(frozen=True)
class Row:
    """What a slot is told about the codeword that it starts.

    Parameters
    ----------
    key, k : int
        The first k bits of the codeword, and how many; only the first part of a row has a key.
    row_class : int
        Class of the row.
    """

    key: int
    k: int
    row_class: int

    def __post_init__(self):
        assert 0 <= self.k <= MAX_KEY_BITS and 0 <= self.key < 1 << self.k


class Slot:
    """Decode one stream.

    Attributes
    ----------
    R, V, B : int
        Range, window, stream bits behind the window.
    fill : int
        Bits in B.
    row : Row or None
        The row that is decoded; None if the slot has none.
    """

    def __init__(self):
        #: R < 2**16; R >= 2**15 between symbols
        self.R = 1 << WINDOW_BITS
        #: V < R; between two rows V < 2**15
        self.V = 0
        #: B < 2**fill
        self.B = 0
        #: fill <= 32 + 15; fill > 16 between symbols
        self.fill = 0
        self.row: Row | None = None
        self._neighbours = Neighbours()
        self._first = True

    def _check_widths(self) -> None:
        assert 1 << WINDOW_BITS <= self.R < 1 << RANGE_BITS
        assert 0 <= self.V < self.R
        assert 0 <= self.B and self.B.bit_length() <= self.fill <= BUFFER_BITS

    def put_word(self, word: int) -> None:
        """Put a word of the queue behind the bits in B."""
        self.B = self.B << WORD_BITS | word
        self.fill += WORD_BITS
        self._check_widths()

    def _take_bits(self, count: int) -> int:
        """Take bits from the front of B."""
        assert count <= self.fill
        self.fill -= count
        bits = self.B >> self.fill
        self.B &= (1 << self.fill) - 1
        return bits

    def start_row(self, row: Row | None) -> None:
        """Begin a row, or none: behind its last row a slot rests."""
        self.row = row
        if row is None:
            return
        if not self._first:
            self.B = self.V << self.fill | self.B
            self.fill += WINDOW_BITS
        self._first = False
        self.V = row.key << (WINDOW_BITS - row.k) | self._take_bits(WINDOW_BITS - row.k)
        self.R = 1 << WINDOW_BITS
        self._check_widths()

    def decode(self, j: int, contexts: TableChoice, thresholds: Sequence[Sequence[int]]) -> int:
        """Decode the symbol at position `j` of the row; `thresholds` are ``cum[0..15]`` of each table."""
        assert self.row is not None
        cum = thresholds[contexts.table(self.row.row_class, j, self._neighbours)]
        products = [self.R * threshold >> FREQUENCY_BITS for threshold in cum]
        s = SYMBOLS - 1
        while products[s] > self.V:
            s -= 1
        lo = products[s]
        hi = products[s + 1] if s < SYMBOLS - 1 else self.R
        self.V -= lo
        self.R = hi - lo
        sh = RANGE_BITS - self.R.bit_length()
        self.R <<= sh
        self.V = self.V << sh | self._take_bits(sh)
        self._neighbours.write(j, s)
        self._check_widths()
        return s

    def check_row_end(self) -> None:
        """Check what a row leaves behind: a window of 15 bits, and at most two words in the buffer.

        An encoder picks the bits that a window hands on, and keys so short that a row uses up what they free.

        Raises
        ------
        FormatError
            No row can end like this.
        """
        if self.V >> WINDOW_BITS or self.fill > 2 * WORD_BITS:
            raise FormatError("a weight stream holds an impossible row end: it is corrupt")

    def check_stream_end(self) -> None:
        """Check that behind its last row the stream holds zeros only.

        Raises
        ------
        FormatError
            The stream does not end with its last row.
        """
        if self.B:
            raise FormatError("a weight stream does not end where its last row does: it is corrupt")


class LaneDecoder:
    """Decode the streams of one lane.

    Parameters
    ----------
    words : iterable of int
        Words of the lane.
    slots : int
        Streams of the lane.
    contexts : TableChoice
        What chooses the table of a symbol.
    thresholds : sequence of 16 int for each table
        ``cum[0..15]`` of the tables.
    """

    def __init__(
        self, words: Iterable[int], slots: int, contexts: TableChoice, thresholds: Sequence[Sequence[int]]
    ):
        self.queue = WordQueue(words)
        self.slots = [Slot() for _ in range(slots)]
        self._contexts = contexts
        self._thresholds = thresholds

    def start_streams(self, active: Sequence[bool]) -> None:
        """Give each slot that will have rows its first two words: round by round, in slot order."""
        for _ in range(START_WORDS):
            for slot, has_rows in zip(self.slots, active, strict=True):
                if has_rows:
                    slot.put_word(self.queue.take())

    def start_rows(self, rows: Sequence[Row | None]) -> None:
        """Begin a tile: a row, or none, for each slot."""
        for slot, row in zip(self.slots, rows, strict=True):
            slot.start_row(row)

    def decode(self, j: int) -> list[int | None]:
        """Decode position `j` of the tile's rows; return a symbol, or None, for each slot."""
        symbols: list[int | None] = []
        for slot in self.slots:
            if slot.row is None:
                symbols.append(None)
                continue
            symbols.append(slot.decode(j, self._contexts, self._thresholds))
            if slot.fill <= REFILL_BITS:
                slot.put_word(self.queue.take())
        return symbols
