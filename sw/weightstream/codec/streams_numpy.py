"""Streams of row codewords in numpy alone: what runs where numba is not installed.

Vectorised over codewords (encoding) and over streams (decoding); proven equal to `weightstream.golden`, and
byte for byte to `weightstream.codec.streams_numba`.
"""

# Ref: Basu and Varshney, "Universal and Succinct Source Coding of Deep Neural Networks", 2022
# Id: arXiv:1804.02800
# Differs: sorted order-preserving row codewords instead of a tree of counts; see docs/format.md

from collections.abc import Iterator

import numpy as np

from ..errors import FormatError
from ..spec.coder import FREQUENCY_BITS, REFILL_BITS, START_WORDS, WINDOW_BITS, WORD_BITS
from .arrange import Arrangement
from .keys import decode_keys
from .palette import Palette
from .product import exact_product

__all__ = ["Codewords", "Decoder", "decode_keys"]

_RANGE_START = 1 << WINDOW_BITS
#: Symbols of each stream that are decoded between two looks at the result.
_BLOCK_SYMBOLS = 1024

#: Left shift that brings a range back to 16 bits.
_SHIFT = np.array([16] + [16 - r.bit_length() for r in range(1, 1 << 16)], np.uint8)


class Codewords:
    """The codewords of a layer, before they are chained.

    Parameters
    ----------
    symbols : ndarray of uint8, shape (codewords, symbols)
        The symbols.
    tables : ndarray of uint8, same shape, or None
        Table of each symbol; None if there is only one.
    cum : ndarray of int64, shape (tables, 17)
        Thresholds.

    Attributes
    ----------
    length : ndarray of int64, shape (codewords,)
        Bits that each codeword shifts in; it has 15 more.
    """

    def __init__(self, symbols: np.ndarray, tables: np.ndarray | None, cum: np.ndarray):
        count, columns = symbols.shape
        low = np.empty((columns, count), np.uint16)
        self._shift = np.empty((columns, count), np.uint8)
        span = np.full(count, _RANGE_START, np.int64)
        flat = cum.reshape(-1)
        for j in range(columns):
            index = symbols[:, j].astype(np.int64)
            if tables is not None:
                index += tables[:, j] * np.int64(cum.shape[1])
            bottom = span * flat[index] >> FREQUENCY_BITS
            span = (span * flat[index + 1] >> FREQUENCY_BITS) - bottom
            bits = _SHIFT[span]
            span <<= bits
            low[j] = bottom
            self._shift[j] = bits
        self.length = self._shift.sum(axis=0, dtype=np.int64)
        self._digits = _codeword_digits(low, self._shift, self.length)

    def leading(self) -> np.ndarray:
        """Return the first 15 bits of the codewords, int64; a carry may still add one."""
        every = np.arange(len(self.length))
        return _bits_at(self._digits, every, np.ones(len(every), np.int64), WINDOW_BITS)

    def chain(self, arrangement: Arrangement, key_bits: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Chain the codewords into streams, and deal their words to the lanes. To be called once.

        Parameters
        ----------
        arrangement : Arrangement
            Streams of the codewords.
        key_bits : ndarray of int64, shape (codewords,)
            k of each codeword; 0 for all parts but the first.

        Returns
        -------
        keys : ndarray of uint16, shape (codewords,)
            First k bits of each codeword.
        lanes : list of ndarray of uint16
            Words of each lane; trailing zeros are left out.
        """
        keys = _chain(arrangement, self._digits, self.length, key_bits)
        words = _stream_words(arrangement, self._digits, self.length, key_bits)
        return keys, _deal(arrangement, self._shift, key_bits, words)


def _codeword_digits(low: np.ndarray, shift: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Add up each codeword, as digits of 16 bits: bit 0 is a guard, then 15 + `length` bits."""
    count = len(length)
    digits = np.zeros((count, (int(length.max(initial=0)) + 2 * WORD_BITS) // WORD_BITS + 1), np.int64)
    position = np.zeros(count, np.int64)
    every = np.arange(count)
    for bottom, bits in zip(low, shift, strict=True):
        value = bottom.astype(np.int64) << (WORD_BITS - (position & (WORD_BITS - 1)))
        index = position >> 4
        digits[every, index] += value >> WORD_BITS
        digits[every, index + 1] += value & 0xFFFF
        position += bits
    _carry(digits)
    return digits


def _carry(digits: np.ndarray) -> None:
    for d in range(digits.shape[1] - 1, 0, -1):
        digits[:, d - 1] += digits[:, d] >> WORD_BITS
        digits[:, d] &= 0xFFFF


def _bits_at(digits: np.ndarray, rows: np.ndarray, position: np.ndarray, width: int) -> np.ndarray:
    """Return `width` bits, at most 16, of each row's codeword, from the bit `position` on."""
    index, offset = position >> 4, position & 15
    pair = digits[rows, index] << WORD_BITS | digits[rows, index + 1]
    return pair >> (2 * WORD_BITS - width - offset) & ((1 << width) - 1)


def _chain(
    arrangement: Arrangement, digits: np.ndarray, length: np.ndarray, key_bits: np.ndarray
) -> np.ndarray:
    """Add to each codeword the 15 bits that follow it in its stream; return the keys."""
    plan = arrangement.plan
    tile_codewords = plan.tile_rows * plan.sharing.parts
    following = np.full(tile_codewords, -1, np.int64)
    keys = np.zeros(len(length), np.int64)
    for start in range((plan.tiles - 1) * tile_codewords, -1, -tile_codewords):
        rows = np.arange(start, min(start + tile_codewords, len(length)))
        last = following[: len(rows)] < 0
        # The last codeword of a stream ends in 15 zeros, which need not be stored.
        end = 1 + length[rows]
        value = np.where(last, -_bits_at(digits, rows, end, WINDOW_BITS) & (_RANGE_START - 1), following[: len(rows)])
        value <<= 2 * WORD_BITS - WINDOW_BITS - (end & 15)
        index = end >> 4
        digits[rows, index + 1] += value & 0xFFFF
        digits[rows, index] += (value >> WORD_BITS) + (digits[rows, index + 1] >> WORD_BITS)
        digits[rows, index + 1] &= 0xFFFF
        _ripple(digits, rows, index)
        k = key_bits[rows]
        first = _bits_at(digits, rows, np.ones(len(rows), np.int64), WINDOW_BITS)
        keys[rows] = first >> (WINDOW_BITS - k)
        following[: len(rows)] = _bits_at(digits, rows, 1 + k, WINDOW_BITS)
    return keys.astype(np.uint16)


def _ripple(digits: np.ndarray, rows: np.ndarray, index: np.ndarray) -> None:
    """Carry from digit `index` of each row as far as the carry goes."""
    while len(rows):
        carry = digits[rows, index] >> WORD_BITS
        digits[rows, index] &= 0xFFFF
        going = carry > 0
        rows, index, carry = rows[going], index[going] - 1, carry[going]
        digits[rows, index] += carry


def _stream_words(
    arrangement: Arrangement, digits: np.ndarray, length: np.ndarray, key_bits: np.ndarray
) -> list[np.ndarray]:
    """Return the words of each stream.

    The first codeword gives its bits from k on; of a later one, 15 bits more were added to the one before.
    """
    plan = arrangement.plan
    per_tile = plan.tile_rows * plan.sharing.parts
    columns = np.arange(digits.shape[1] * WORD_BITS)
    result = []
    for stream in range(plan.streams):
        rows = np.arange(arrangement.position[stream], len(length), per_tile)
        bits = np.unpackbits(digits[rows].astype(">u2").view(np.uint8), axis=1)
        start = 1 + key_bits[rows] + np.where(np.arange(len(rows)) > 0, WINDOW_BITS, 0)
        own = (columns >= start[:, None]) & (columns <= WINDOW_BITS + length[rows, None])
        packed = np.packbits(bits[own]).tobytes()
        result.append(np.frombuffer(packed + bytes(-len(packed) % 2), ">u2").astype(np.uint16))
    return result


def _deal(
    arrangement: Arrangement, shift: np.ndarray, key_bits: np.ndarray, words: list[np.ndarray]
) -> list[np.ndarray]:
    """Replay the decoder: put the words of a lane's streams in the order in which its slots take them."""
    plan = arrangement.plan
    symbols = len(shift)
    lanes = []
    for lane in range(plan.lanes):
        streams = range(lane * plan.slots, (lane + 1) * plan.slots)
        taken = [s for s in streams if arrangement.position[s] < shift.shape[1]]
        events = [(slot, -START_WORDS + round_) for round_ in range(START_WORDS) for slot in range(len(taken))]
        slots = [np.array([slot for slot, _ in events], np.int64)]
        times = [np.array([time for _, time in events], np.int64)]
        for slot, stream in enumerate(taken):
            when = _refills(arrangement, shift, key_bits, stream, symbols)
            times.append(when)
            slots.append(np.full(len(when), slot, np.int64))
        slot, time = np.concatenate(slots), np.concatenate(times)
        order = np.lexsort((slot, time))
        lane_words = np.zeros(len(order), np.uint16)
        for index, stream in enumerate(taken):
            own = np.flatnonzero(slot[order] == index)
            lane_words[own[: len(words[stream])]] = words[stream][: len(own)]
        used = np.flatnonzero(lane_words)
        lanes.append(lane_words[: used[-1] + 1 if len(used) else 0])
    return lanes


def _refills(
    arrangement: Arrangement, shift: np.ndarray, key_bits: np.ndarray, stream: int, symbols: int
) -> np.ndarray:
    """Return when a stream takes words after its first two, as ``tile * symbols + symbol``."""
    per_tile = arrangement.plan.tile_rows * arrangement.plan.sharing.parts
    rows = np.arange(arrangement.position[stream], shift.shape[1], per_tile)
    steps = shift[:, rows].T.astype(np.int64)
    if not steps.size:
        return np.zeros(0, np.int64)
    # Bits used behind the window: 15 - k at the first row; -k at a later one, whose 15 come back.
    steps[:, 0] -= key_bits[rows]
    steps[0, 0] += WINDOW_BITS
    held = np.maximum.accumulate(np.cumsum(steps.reshape(-1)) >> 4)
    return np.flatnonzero(np.diff(held, prepend=0))


class Decoder:
    """Decode streams, all side by side.

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

    def __init__(self, arrangement, lanes, keys, key_bits, row_class, cum, contexts):
        self._arrangement = arrangement
        self._keys, self._key_bits, self._row_class = keys, key_bits, row_class
        self._contexts = contexts
        self._cum = cum
        plan = arrangement.plan
        longest = max((len(words) for words in lanes), default=0)
        # Past its end a lane reads as zeros: pointers stop at a column of them.
        self._words = np.zeros((plan.lanes, longest + 1), np.uint64)
        for row, words in zip(self._words, lanes, strict=True):
            row[: len(words)] = words
        self._ends = np.array([len(words) for words in lanes], np.int64)
        self._next = np.zeros(plan.lanes, np.int64)

    def _take(self, need: np.ndarray) -> np.ndarray:
        """Return the next word of each stream that needs one, in slot order within its lane."""
        plan = self._arrangement.plan
        grid = need.reshape(plan.lanes, plan.slots)
        rank = np.cumsum(grid, axis=1)
        at = (self._next[:, None] + rank - 1).reshape(-1)[need]
        self._next += rank[:, -1]
        lane = self._arrangement.lane_of[need]
        return self._words[lane, np.minimum(at, self._words.shape[1] - 1)]

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
        streams = plan.streams
        window = np.zeros(streams, np.uint64)
        left = np.zeros(streams, np.int64)
        block = np.zeros((columns, streams), np.uint8)
        step = _Step(streams, self._cum, self._contexts)
        classes = self._contexts.column_classes(plan.part_symbols)
        for tile in range(plan.tiles):
            active = self._arrangement.active(tile)
            row_class = self._start_rows(tile, active, window, left)
            step.start(row_class)
            whole = bool(active.all())
            for start in range(0, plan.part_symbols, columns):
                count = min(columns, plan.part_symbols - start)
                for j in range(count):
                    need = step.decode(window, left, start + j, classes[start + j], block[j])
                    if not whole:
                        need &= active
                    if need.any():
                        word = self._take(need)
                        window[need] |= word << (2 * WORD_BITS - left[need]).astype(np.uint64)
                        left[need] += WORD_BITS
                yield tile, start, block[:count]
            if np.any(window[active] >> np.uint64(63)) or np.any(left[active] > 2 * WORD_BITS):
                raise FormatError("a weight stream holds an impossible row end: it is corrupt")
            if tile == plan.tiles - 1 or not whole or self._ending(tile):
                self._check_ends(tile, window)
        if np.any(self._next < self._ends):
            raise FormatError("a weight stream is longer than its rows: it is corrupt")

    def symbols(self) -> np.ndarray:
        """Decode all symbols, uint8, shape (rows, symbols)."""
        plan = self._arrangement.plan
        parts = plan.sharing.parts
        per_tile = plan.tile_rows * parts
        result = np.empty((plan.rows * parts, plan.part_symbols), np.uint8)
        for tile, start, block in self.blocks(_BLOCK_SYMBOLS):
            active = self._arrangement.active(tile)
            rows = tile * per_tile + self._arrangement.position[active]
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
        part_weights = plan.part_symbols // passes * group
        sums = np.zeros((len(inputs), plan.rows), np.int32)
        if not sums.size:
            return sums
        position = self._arrangement.position
        for tile, start, block in self.blocks(_BLOCK_SYMBOLS // passes * passes):
            active = self._arrangement.active(tile)
            for part in range(parts):
                own = np.flatnonzero(active & (position % parts == part))
                weights = palette.weights(np.ascontiguousarray(block[:, own].T))
                first = part * part_weights + start // passes * group
                taken = inputs[:, first : first + weights.shape[1]]
                rows = tile * plan.tile_rows + position[own] // parts
                sums[:, rows] += exact_product(taken, weights[:, : taken.shape[1]])
        return sums

    def _ending(self, tile: int) -> bool:
        return not self._arrangement.active(tile + 1).all()

    def _check_ends(self, tile: int, window: np.ndarray) -> None:
        plan = self._arrangement.plan
        over = self._arrangement.active(tile)
        if tile + 1 < plan.tiles:
            over = over & ~self._arrangement.active(tile + 1)
        # Behind its last row a stream holds zeros only.
        if np.any(window[over] << np.uint64(WORD_BITS)):
            raise FormatError("a weight stream does not end where its last row does: it is corrupt")

    def _start_rows(self, tile: int, active: np.ndarray, window: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Push the windows back and put the keys of the tile's rows in front; return their classes."""
        plan = self._arrangement.plan
        parts = plan.sharing.parts
        position = self._arrangement.position
        row = np.minimum(tile * plan.tile_rows + position // parts, plan.rows - 1)
        first = position % parts == 0
        k = np.where(first, self._key_bits[row], 0).astype(np.int64)
        key = np.where(first, self._keys[row], 0).astype(np.uint64)
        if tile == 0:
            for shift in (48, 32):
                window[active] |= self._take(active) << np.uint64(shift)
            window >>= np.uint64(1)
            left[:] = 2 * WORD_BITS - WINDOW_BITS
        window >>= k.astype(np.uint64)
        window |= key << (np.uint64(48 + WINDOW_BITS) - k.astype(np.uint64))
        left += k
        return self._row_class[row]


class _Step:
    """Decode one symbol of every stream: buffers, and the tables in the form that numpy likes."""

    def __init__(self, streams, cum, contexts):
        self._contexts = contexts
        self._cum = cum.astype(np.uint32)
        self._flat = self._cum.reshape(-1)
        # Symbol of each of the 2**14 slots of a table.
        self._symbol = np.stack([np.repeat(np.arange(16, dtype=np.uint8), np.diff(row)) for row in cum])
        self._symbol_flat = self._symbol.reshape(-1)
        self._span = np.empty(streams, np.uint32)
        self._history = np.zeros((contexts.distance, streams), np.uint8)
        self._row_index = np.zeros(streams, np.int64)
        self._float = np.empty(streams)
        self._slot = np.empty(streams, np.int64)
        self._wide = np.empty(streams, np.uint64)

    def start(self, row_class):
        """Begin a row of every stream."""
        self._span[:] = _RANGE_START
        _, columns, previous, back = self._contexts.classes
        self._row_index = row_class.astype(np.int64) * columns
        self._previous, self._back = previous, back
        self._before = None

    def _tables(self, position, column_class):
        contexts = self._contexts
        if not contexts.by_slot:
            return contexts.tables[0, column_class, 0, 0]
        index = (self._row_index + column_class) * self._previous
        if self._previous > 1 and position:
            index += contexts.previous[self._before]
        index *= self._back
        if self._back > 1 and position >= contexts.distance:
            index += contexts.back[self._history[position % contexts.distance]]
        return contexts.tables.reshape(-1)[index]

    def decode(self, window, left, position, column_class, out):
        """Decode one symbol of every stream into `out`; return which streams need a word."""
        table = self._tables(position, column_class)
        wide, slot = self._wide, self._slot
        np.right_shift(window, np.uint64(48), out=wide)
        np.left_shift(wide, np.uint64(FREQUENCY_BITS), out=wide)
        np.bitwise_or(wide, np.uint64((1 << FREQUENCY_BITS) - 1), out=wide)
        # The largest z with floor(R * z / 2**14) <= V is floor((V * 2**14 + 2**14 - 1) / R).
        np.divide(wide, self._span, out=self._float)
        slot[:] = self._float
        if isinstance(table, np.ndarray):
            # A corrupt stream may hold a window beyond its range: it decodes as the last symbol.
            np.minimum(slot, (1 << FREQUENCY_BITS) - 1, out=slot)
            table = table.astype(np.int64)
            np.take(self._symbol_flat, slot + (table << FREQUENCY_BITS), out=out, mode="clip")
            index = out + table * 17
        else:
            np.take(self._symbol[table], slot, out=out, mode="clip")
            index = out.astype(np.int64) + int(table) * 17
        bottom = np.take(self._flat, index, mode="clip")
        bottom *= self._span
        bottom >>= np.uint32(FREQUENCY_BITS)
        top = np.take(self._flat, index + 1, mode="clip")
        top *= self._span
        top >>= np.uint32(FREQUENCY_BITS)
        np.subtract(top, bottom, out=self._span)
        shift = np.take(_SHIFT, self._span, mode="clip")
        np.left_shift(bottom, np.uint64(48), out=wide, dtype=np.uint64)
        window -= wide
        window <<= shift
        self._span <<= shift
        left -= shift
        if self._previous > 1:
            self._before = out
        if self._back > 1:
            self._history[position % self._contexts.distance] = out
        return left <= REFILL_BITS
