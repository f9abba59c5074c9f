"""Read streams of row codewords in numpy alone, all side by side: what runs where numba is not installed."""

from collections.abc import Iterator

import numpy as np

from ..errors import FormatError
from ..spec.coder import FREQUENCY_BITS, REFILL_BITS, SYMBOLS, WINDOW_BITS, WORD_BITS
from .arrange import Arrangement, lane_words
from .contexts import ContextModel
from .encode_numpy import NORMALISING_SHIFT
from .palette import Palette
from .product import ExactProduct

#: Symbols of each stream that are decoded between two looks at the result.
_BLOCK_SYMBOLS = 1024
_WINDOW_SHIFT = 64 - WORD_BITS
_U = np.uint64
_SHIFT = NORMALISING_SHIFT.astype(np.int64)


class Decoder:
    """Decode streams, all side by side.

    A stream's window and the bits behind it are one 64-bit number: V in the upper 16, up to 47 bits below.

    Parameters
    ----------
    arrangement : Arrangement
        Streams of the codewords.
    lanes : list of ndarray of uint16
        Words of each lane.
    keys : ndarray of uint16, shape (rows,)
        Keys of the rows.
    key_bits : ndarray of uint8, shape (rows,)
        k of the rows.
    row_class : ndarray of uint8, shape (rows,)
        Class of the rows.
    cum : ndarray of int64, shape (tables, 17)
        Thresholds.
    contexts : ContextModel
        What chooses the table.
    """

    def __init__(
        self,
        arrangement: Arrangement,
        lanes: list[np.ndarray],
        keys: np.ndarray,
        key_bits: np.ndarray,
        row_class: np.ndarray,
        cum: np.ndarray,
        contexts: ContextModel,
    ):
        self._arrangement = arrangement
        self._words, self._starts, self._ends = lane_words(lanes)
        self._keys, self._key_bits, self._row_class = keys, key_bits, row_class
        self._contexts = contexts
        self._cum = cum
        #: Symbol of each of the 2**14 slots of a table.
        self._symbols = np.empty((len(cum), 1 << FREQUENCY_BITS), np.uint8)
        for row, table in zip(self._symbols, cum, strict=True):
            row[:] = np.repeat(np.arange(SYMBOLS, dtype=np.uint8), np.diff(table))

    def blocks(self, columns: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Decode everything, at most `columns` symbols of each stream at a time.

        Yields
        ------
        tile : int
            Which tile.
        start : int
            Position of the first symbol within the codewords.
        block : ndarray of uint8, shape (n, streams)
            Symbols. It is overwritten by the next step; streams without a row hold anything.

        Raises
        ------
        FormatError
            The streams are not what an encoder writes.
        """
        plan = self._arrangement.plan
        run = _Run(self._arrangement, self._words, self._starts, self._ends)
        block = np.zeros((columns, plan.streams), np.uint8)
        decode = self._decode_by_slot if self._contexts.by_slot else self._decode_shared
        following = self._arrangement.active(0)
        for tile in range(plan.tiles):
            active = following
            last = tile + 1 == plan.tiles
            following = np.zeros_like(active) if last else self._arrangement.active(tile + 1)
            context = run.start_rows(tile, active, self._keys, self._key_bits, self._row_class)
            history = np.zeros((self._contexts.distance + 1, plan.streams), np.uint8)
            for start in range(0, plan.part_symbols, columns):
                part = block[: min(columns, plan.part_symbols - start)]
                decode(run, part, start, context, history)
                yield tile, start, part
            run.check_row_ends(active, active & ~following)
        run.check_words()

    def _decode_shared(
        self, run: "_Run", block: np.ndarray, start: int, _row_class: np.ndarray, _history: np.ndarray
    ) -> None:
        """Decode some columns, all streams by the same table."""
        contexts = self._contexts
        classes = contexts.column_classes(start + len(block))[start:]
        numbers = contexts.tables[0, :, 0, 0]
        # Thresholds by slot too: a look-up by symbol would first have to widen the symbols.
        bounds = {
            t: (self._cum[t][self._symbols[t]], self._cum[t][1:][self._symbols[t]])
            for t in set(numbers.tolist())
        }
        for out, table in zip(block, numbers[classes].tolist(), strict=True):
            slots = run.slots()
            self._symbols[table].take(slots, out=out, mode="clip")
            run.advance(*bounds[table], slots)

    def _decode_by_slot(
        self, run: "_Run", block: np.ndarray, start: int, row_class: np.ndarray, history: np.ndarray
    ) -> None:
        """Decode some columns, each stream by the table of its context; `history` holds the last symbols."""
        contexts = self._contexts
        _, columns, previous, back = contexts.classes
        classes = contexts.column_classes(start + len(block))[start:].tolist()
        tables = contexts.tables.reshape(-1).astype(np.int64)
        symbols = self._symbols.reshape(-1)
        cum = self._cum.reshape(-1)
        row_index = row_class.astype(np.int64) * columns
        depth = len(history)
        for i, (out, column) in enumerate(zip(block, classes, strict=True)):
            here = start + i
            index = (row_index + column) * previous
            if here >= 1:
                index += contexts.previous[history[(here - 1) % depth]]
            index *= back
            if here >= contexts.distance:
                index += contexts.back[history[(here - contexts.distance) % depth]]
            table = tables[index]
            slots = run.slots()
            slots += table << FREQUENCY_BITS
            symbols.take(slots, out=out, mode="clip")
            history[here % depth] = out
            table *= SYMBOLS + 1
            table += out
            run.advance(cum, cum[1:], table)

    def symbols(self) -> np.ndarray:
        """Decode all symbols, uint8, shape (rows, symbols)."""
        plan = self._arrangement.plan
        parts = plan.sharing.parts
        result = np.empty((plan.rows * parts, plan.part_symbols), np.uint8)
        for tile, start, block in self.blocks(_BLOCK_SYMBOLS):
            active = self._arrangement.active(tile)
            rows = tile * plan.tile_rows * parts + self._arrangement.position[active]
            result[rows, start : start + len(block)] = block[:, active].T
        return self._arrangement.join(result)

    def weights(self, palette: Palette, columns: int) -> np.ndarray:
        """Decode all weights, int8 or int16, shape (rows, columns)."""
        return palette.weights(self.symbols())[:, :columns]

    def multiply(self, palette: Palette, inputs: np.ndarray) -> np.ndarray:
        """Decode and multiply as it goes; no more than a block of weights is ever there.

        Parameters
        ----------
        palette : Palette
            What symbols stand for.
        inputs : ndarray of int16, shape (batch, columns)
            Inputs.

        Returns
        -------
        ndarray of int32, shape (batch, rows)
        """
        plan = self._arrangement.plan
        parts = plan.sharing.parts
        passes, group = palette.passes, palette.group
        # What lies behind the last weight of the last part is multiplied by zeros.
        batch, part_weights = len(inputs), plan.part_symbols // passes * group
        padded = np.zeros((batch, parts * part_weights), np.int16)
        padded[:, : inputs.shape[1]] = inputs
        by_part = padded.reshape(batch, parts, part_weights)
        sums = np.zeros((batch, plan.rows), np.int32)
        products: dict[int, ExactProduct] = {}
        for tile, start, block in self.blocks(_BLOCK_SYMBOLS // passes * passes):
            if start not in products:
                first, last = (n // passes * group for n in (start, start + len(block)))
                own = by_part[:, :, first:last].reshape(batch, parts * (last - first))
                products[start] = ExactProduct(own, palette.largest)
            base = tile * plan.tile_rows
            codewords = self._arrangement.stream[: plan.rows - base]
            weights = palette.weights(np.ascontiguousarray(block[:, codewords.reshape(-1)].T))
            weights = weights.reshape(len(codewords), weights.shape[1] * parts)
            products[start].add(sums[:, base : base + len(codewords)], weights)
        return sums


class _Run:
    """The state of all streams while they are decoded once, and buffers for what a step computes."""

    def __init__(self, arrangement: Arrangement, words: np.ndarray, starts: np.ndarray, ends: np.ndarray):
        self._arrangement = arrangement
        streams = arrangement.plan.streams
        self._lane_of = arrangement.lane_of
        self._words, self._ends = words, ends
        self._next = starts.copy()
        # While no lane is so near its end, no pointer needs to be checked.
        self._safe = ends - arrangement.plan.slots
        self._window = np.zeros(streams, np.uint64)
        self._left = np.zeros(streams, np.int64)
        self._span = np.zeros(streams, np.int64)
        self._active: np.ndarray | None = None
        self._wide = np.empty(streams, np.uint64)
        self._quotient = np.empty(streams)
        self._slot, self._bottom, self._top, self._shift = (np.empty(streams, np.int64) for _ in range(4))

    def _take(self, streams: np.ndarray) -> np.ndarray:
        """Return the next words of streams, given in rising order: a lane serves its slots in turn."""
        if len(self._ends) == 1:
            start = int(self._next[0])
            self._next[0] += len(streams)
            if start + len(streams) <= self._ends[0]:
                return self._words[start : start + len(streams)].astype(np.uint64)
            at, end = np.arange(start, start + len(streams)), self._ends[0]
        else:
            lane = self._lane_of[streams]
            counts = np.bincount(lane, minlength=len(self._ends))
            first = self._next + counts - np.cumsum(counts)
            at = first[lane] + np.arange(len(streams))
            self._next += counts
            if not np.any(self._next > self._safe):
                return self._words[at].astype(np.uint64)
            end = self._ends[lane]
        if not len(self._words):
            return np.zeros(len(streams), np.uint64)
        # Past its end a lane reads as zeros.
        return np.where(at < end, self._words[np.minimum(at, len(self._words) - 1)], 0).astype(np.uint64)

    def start_rows(
        self, tile: int, active: np.ndarray, keys: np.ndarray, key_bits: np.ndarray, row_class: np.ndarray
    ) -> np.ndarray:
        """Push the windows back, put the keys of the tile's rows in front; return the rows' classes."""
        plan = self._arrangement.plan
        parts = plan.sharing.parts
        position = self._arrangement.position
        row = np.minimum(tile * plan.tile_rows + position // parts, plan.rows - 1)
        first = position % parts == 0
        k = np.where(first, key_bits[row], 0).astype(np.int64)
        key = np.where(first, keys[row], 0).astype(np.uint64)
        window = self._window
        if tile == 0:
            streams = np.flatnonzero(active)
            for shift in (_WINDOW_SHIFT, _WINDOW_SHIFT - WORD_BITS):
                window[streams] |= self._take(streams) << _U(shift)
            window >>= _U(1)
            self._left[:] = 2 * WORD_BITS - WINDOW_BITS
        window >>= k.astype(np.uint64)
        window |= key << (_U(_WINDOW_SHIFT + WINDOW_BITS) - k.astype(np.uint64))
        self._left += k
        self._span[:] = 1 << WINDOW_BITS
        self._active = None if active.all() else active
        return row_class[row]

    def slots(self) -> np.ndarray:
        """Return the slot of its table that each window lies in: the largest z with R*z / 2**14 <= V."""
        wide = self._wide
        np.right_shift(self._window, _U(_WINDOW_SHIFT - FREQUENCY_BITS), out=wide)
        np.bitwise_or(wide, _U((1 << FREQUENCY_BITS) - 1), out=wide)
        # Exact: numerator and denominator have 30 and 16 bits, a float64 has 53.
        np.divide(wide.view(np.int64), self._span, out=self._quotient)
        self._slot[:] = self._quotient
        return self._slot

    def advance(self, bottoms: np.ndarray, tops: np.ndarray, index: np.ndarray) -> None:
        """Narrow the ranges to the symbols whose thresholds stand at `index`, and take words."""
        span, window = self._span, self._window
        bottom = bottoms.take(index, out=self._bottom, mode="clip")
        top = tops.take(index, out=self._top, mode="clip")
        bottom *= span
        bottom >>= FREQUENCY_BITS
        top *= span
        top >>= FREQUENCY_BITS
        np.subtract(top, bottom, out=span)
        shift = _SHIFT.take(span, out=self._shift, mode="clip")
        bottom <<= _WINDOW_SHIFT
        window -= bottom.view(np.uint64)
        window <<= shift.view(np.uint64)
        span <<= shift
        left = self._left
        left -= shift
        need = left <= REFILL_BITS
        if self._active is not None:
            need &= self._active
        streams = np.flatnonzero(need)
        if len(streams):
            room = left[streams]
            window[streams] |= self._take(streams) << (2 * WORD_BITS - room).view(np.uint64)
            left[streams] = room + WORD_BITS

    def check_row_ends(self, active: np.ndarray, over: np.ndarray) -> None:
        """Check the windows at the end of a tile's rows, and the streams that are over."""
        if np.any(self._window[active] >> _U(63)) or np.any(self._left[active] > 2 * WORD_BITS):
            raise FormatError("a weight stream holds an impossible row end: it is corrupt")
        # Behind its last row a stream holds zeros only.
        if np.any(self._window[over] << _U(WORD_BITS)):
            raise FormatError("a weight stream does not end where its last row does: it is corrupt")

    def check_words(self) -> None:
        """Check that all words were taken."""
        if np.any(self._next < self._ends):
            raise FormatError("a weight stream is longer than its rows: it is corrupt")
