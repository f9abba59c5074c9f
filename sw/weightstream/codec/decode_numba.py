"""Read streams of row codewords at speed: numba loops around the vector code of `vector`.

Raises the same errors as `decode_numpy`.
"""

import numpy as np
from numba import njit

from ..errors import FormatError
from ..spec.coder import SYMBOLS, WINDOW_BITS
from .arrange import Arrangement, lane_words
from .contexts import ContextModel
from .keys import KeyCode, check_keys
from .palette import Palette
from .product import ExactProduct
from .vector import (
    STATE_BYTES,
    STATE_FIELDS,
    WIDTH,
    advance,
    decode_own,
    decode_shared_3,
    decode_shared_9,
    decode_shared_16,
    has_expand,
    look_up,
    lowest_bit,
    multiply_add,
    spread_words,
    transpose,
)

_U = np.uint64
_RANGE_START = 1 << WINDOW_BITS
#: Symbols of each stream that are decoded between two looks at the result.
_BLOCK = 256
#: Up to so many items of a batch are multiplied in the decoder's loop, more by BLAS, tile by tile.
_FUSED_BATCH = 8
#: Rows that are decoded for one call of BLAS, or a tile if that is more.
_BLAS_ROWS = 128
_V, _R, _W0, _W1, _W2, _OFFSET = range(STATE_FIELDS)
_IMPOSSIBLE_END, _NO_ZEROS, _WORDS_LEFT = 1, 2, 3
_MESSAGES = {
    _IMPOSSIBLE_END: "a weight stream holds an impossible row end: it is corrupt",
    _NO_ZEROS: "a weight stream does not end where its last row does: it is corrupt",
    _WORDS_LEFT: "a weight stream is longer than its rows: it is corrupt",
}
#: Tested where `spread_words` is called, too: numba leaves the call out, which other processors cannot compile.
_EXPAND = has_expand()
_jit = njit(nogil=True, error_model="numpy", cache=True)


# ---- keys ----------------------------------------------------------------------------------------


@_jit
def _read_keys(data, at, count, parameter, bits, lift, out):
    """Read sorted keys; return the bit behind them, -1 if the data end, -2 if a key is impossible."""
    end = 8 * len(data)
    key = np.int64(0)
    possible = True
    for i in range(count):
        gap = np.int64(0)
        while at < end and data[at >> 3] >> (7 - (at & 7)) & 1:
            gap += 1
            at += 1
        at += 1
        if at + parameter > end:
            return -1
        for _ in range(parameter):
            gap = gap << 1 | np.int64(data[at >> 3] >> (7 - (at & 7)) & 1)
            at += 1
        key += gap - lift
        possible = possible and key >= 0 and not key >> bits
        out[i] = key
    # Judged behind the last key: data that end before it are truncated, whatever came first.
    return at if possible else -2


def decode_keys(data: bytes, codes: list[KeyCode], rows: list[int]) -> np.ndarray:
    """Return the keys of all rows; as `keys.decode_keys`."""
    raw = np.frombuffer(data, np.uint8)
    result = np.zeros(sum(rows), np.uint16)
    at = start = 0
    for code, count in zip(codes, rows, strict=True):
        if code.bits and count:
            out = result[start : start + count]
            at = _read_keys(raw, at, count, code.rice, code.bits, code.lift, out)
            check_keys(at != -1, at != -2, code)
        start += count
    check_keys(True, True, None, 8 * len(data) - at)
    return result


# ---- decoding ------------------------------------------------------------------------------------


@_jit
def _fill_one_by_one(state, g, need, waits, words, next_word, ends, lanes):
    """Give each stream of the mask `need` in vector g a word; past its end a lane reads as zeros."""
    while need != _U(0):
        c = lowest_bit(need)
        need &= need - _U(1)
        state[g, _W0, c] = state[g, _W1, c]
        if (waits >> c) & _U(1):
            state[g, _W1, c] = state[g, _W2, c]
        else:
            lane = lanes[_U(g * WIDTH) + c]
            at = next_word[lane]
            state[g, _W1, c] = words[at] if at < ends[lane] else 0
            next_word[lane] = at + 1


@_jit
def _decode_shared(
    state, pending, active, words, next_word, ends, lanes, thresholds, firsts, column_table, start, count, symbols
):
    """Decode `count` symbols of all streams, all with the same table at a column."""
    state_at = _U(state.ctypes.data)
    words_at = _U(words.ctypes.data)
    one_lane = np.zeros(len(state), np.bool_)
    for g in range(len(state)):
        one_lane[g] = _EXPAND and lanes[g * WIDTH] == lanes[g * WIDTH + WIDTH - 1]
    thresholds_at = _U(thresholds.ctypes.data)
    symbols_at = _U(symbols.ctypes.data)
    for m in range(count):
        table = column_table[start + m]
        table_at = thresholds_at + _U(table) * _U(SYMBOLS * 2 * WIDTH)
        first = firsts[table]
        for g in range(len(state)):
            own = state_at + _U(g) * _U(STATE_BYTES)
            if first >= SYMBOLS - 3:
                need = decode_shared_3(own, table_at, active[g], symbols_at)
            elif first >= SYMBOLS - 9:
                need = decode_shared_9(own, table_at, active[g], symbols_at)
            else:
                need = decode_shared_16(own, table_at, active[g], symbols_at)
            symbols_at += _U(WIDTH)
            if need != _U(0):
                # Written out, not a function: a call would pass every array by value, for each vector and column.
                waits = pending[g]
                pending[g] = waits & ~need
                at = next_word[lanes[g * WIDTH]]
                if _EXPAND and one_lane[g] and at + WIDTH <= ends[lanes[g * WIDTH]]:
                    taken = spread_words(own, need, waits, words_at + _U(2) * _U(at))
                    next_word[lanes[g * WIDTH]] = at + np.int64(taken)
                else:
                    _fill_one_by_one(state, g, need, waits, words, next_word, ends, lanes)


@_jit
def _decode_by_slot(
    state, pending, active, words, next_word, ends, lanes, flat, tables, columns, row_index, previous, back,
    before, further, start, count, symbols,
):  # fmt: skip
    """Decode `count` symbols of all streams, each with the table of its context.

    `before` (1, streams) and `further` (distance, streams) hold what the neighbours of the next symbols add to the
    number of the context.
    """
    state_at = _U(state.ctypes.data)
    flat_at = _U(flat.ctypes.data)
    words_at = _U(words.ctypes.data)
    one_lane = np.zeros(len(state), np.bool_)
    for g in range(len(state)):
        one_lane[g] = _EXPAND and lanes[g * WIDTH] == lanes[g * WIDTH + WIDTH - 1]
    bounds = np.empty((2, WIDTH), np.uint16)
    bounds_at = _U(bounds.ctypes.data)
    scratch = np.empty((WIDTH, 2 * SYMBOLS), np.uint16)
    scratch_at = _U(scratch.ctypes.data)
    context = np.empty(WIDTH, np.uint16)
    distance = len(further)
    ring = start % distance
    for m in range(count):
        column = np.uint16(columns[start + m])
        for g in range(len(state)):
            own = state_at + _U(g) * _U(STATE_BYTES)
            g0 = g * WIDTH
            for c in range(WIDTH):
                context[c] = row_index[g0 + c] + before[0, g0 + c] + further[ring, g0 + c] + column
            for c in range(WIDTH):
                table_at = flat_at + _U(tables[_U(context[c])]) * _U(2 * SYMBOLS)
                x = decode_own(
                    own + _U(2 * c), table_at, scratch_at + _U(4 * SYMBOLS * c), bounds_at + _U(2 * c)
                )
                symbols[m, g0 + c] = x
                before[0, g0 + c] = previous[x]
                further[ring, g0 + c] = back[x]
            need = advance(own, bounds_at, bounds_at + _U(2 * WIDTH), active[g])
            if need != _U(0):
                waits = pending[g]
                pending[g] = waits & ~need
                at = next_word[lanes[g * WIDTH]]
                if _EXPAND and one_lane[g] and at + WIDTH <= ends[lanes[g * WIDTH]]:
                    taken = spread_words(own, need, waits, words_at + _U(2) * _U(at))
                    next_word[lanes[g * WIDTH]] = at + np.int64(taken)
                else:
                    _fill_one_by_one(state, g, need, waits, words, next_word, ends, lanes)
        ring += 1
        if ring == distance:
            ring = 0


@_jit
def _start_tile(state, pending, active, words, next_word, ends, lanes, base, rows, parts, position, keys, key_bits,
                row_class, row_step, row_index):  # fmt: skip
    """Begin a row of every stream: push the window back, put the key in front. Returns an error code or 0."""
    streams = len(position)
    active[:] = _U(0)
    for stream in range(streams):
        if base + position[stream] // parts < rows:
            active[stream // WIDTH] |= _U(1) << _U(stream % WIDTH)
    if base == 0:
        for field in (_W0, _W1):
            for stream in range(streams):
                if position[stream] // parts < rows:
                    lane = lanes[stream]
                    at = next_word[lane]
                    state[stream // WIDTH, field, stream % WIDTH] = words[at] if at < ends[lane] else 0
                    next_word[lane] = at + 1
    for stream in range(streams):
        row = base + position[stream] // parts
        if row >= rows:
            continue
        g, c = stream // WIDTH, stream % WIDTH
        row_index[stream] = np.int64(row_class[row]) * row_step
        k = np.int64(0)
        key = np.int64(0)
        if position[stream] % parts == 0:
            k = np.int64(key_bits[row])
            key = np.int64(keys[row]) << (WINDOW_BITS - k)
        state[g, _R, c] = _RANGE_START
        if base == 0:
            state[g, _V, c] = key | np.int64(state[g, _W0, c]) >> (1 + k)
            state[g, _OFFSET, c] = WINDOW_BITS - k
            continue
        v = np.int64(state[g, _V, c])
        offset = np.int64(state[g, _OFFSET, c])
        state[g, _V, c] = key | v >> k
        # The k bits that fall out of the window go in front of what is left of the first word.
        back = (v & ((1 << k) - 1)) << (16 - offset) | np.int64(state[g, _W0, c]) & (0xFFFF >> offset)
        if offset < k:
            state[g, _W2, c] = state[g, _W1, c]
            state[g, _W1, c] = back & 0xFFFF
            state[g, _W0, c] = back >> 16
            pending[g] |= _U(1) << _U(c)
            offset += 16
        else:
            state[g, _W0, c] = back
        state[g, _OFFSET, c] = offset - k


@_jit
def _end_tile(state, pending, base, rows, tile_rows, parts, position):
    """Check how the rows of a tile ended. Returns an error code or 0."""
    error = 0
    for stream in range(len(position)):
        row = base + position[stream] // parts
        if row >= rows:
            continue
        g, c = stream // WIDTH, stream % WIDTH
        if state[g, _V, c] >> WINDOW_BITS or (pending[g] >> _U(c)) & _U(1):
            return _IMPOSSIBLE_END
        if row + tile_rows >= rows:
            offset = np.int64(state[g, _OFFSET, c])
            if np.int64(state[g, _W0, c]) & (0xFFFF >> offset) or state[g, _W1, c]:
                # An impossible row end of any stream comes first.
                error = _NO_ZEROS
    return error


@_jit
def _expand(symbols, count, palette, columns):
    """Turn a block of symbols into columns of weights: (count // passes * group, streams) bytes."""
    passes, group, streams = palette.shape[0], palette.shape[1], symbols.shape[1]
    for p in range(passes):
        for i in range(group):
            table_at = _U(palette.ctypes.data) + _U((p * group + i) * SYMBOLS)
            for n in range(count // passes):
                source = _U(symbols.ctypes.data) + _U((n * passes + p) * streams)
                target = _U(columns.ctypes.data) + _U((n * group + i) * streams)
                for c in range(0, streams, WIDTH):
                    look_up(source + _U(c), table_at, _U(0), _U(p > 0), target + _U(c))


@_jit
def _store(columns, count, targets, start, pitch, out):
    """Write a block of columns (count, streams) into rows of bytes; targets < 0 are left out."""
    streams = columns.shape[1]
    source = _U(columns.ctypes.data)
    out_at = _U(out.ctypes.data)
    flat = out.reshape(-1)
    offsets = np.empty(WIDTH, np.int64)
    for c0 in range(0, streams, WIDTH):
        whole = True
        for c in range(WIDTH):
            whole = whole and targets[c0 + c] >= 0
        n = 0
        if whole:
            while n + WIDTH <= count:
                for c in range(WIDTH):
                    offsets[c] = targets[c0 + c] + start + n
                transpose(source + _U(n * streams + c0), _U(streams), out_at, _U(offsets.ctypes.data))
                n += WIDTH
        for c in range(WIDTH):
            if targets[c0 + c] >= 0:
                for i in range(n, count):
                    flat[targets[c0 + c] + start + i] = columns[i, c0 + c]


@_jit
def _run(
    state, pending, active, words, next_word, ends, lanes, position, thresholds, firsts, flat, tables, columns,
    row_index, row_step, previous, back, before, further, by_slot, row_class, keys, key_bits, rows, parts, tile_rows,
    part_symbols, tile_start, tile_stop, palette, symbols, block, out, out_pitch, part_pitch, inputs, sums,
):  # fmt: skip
    """Decode some tiles; store their rows in `out`, or add their products with `inputs` to `sums`.

    Returns an error code or 0.
    """
    group, passes = palette.shape[1], palette.shape[0]
    storing = out.size > 0
    streams = symbols.shape[1]
    targets = np.full(streams, -1, np.int64)
    batch = inputs.shape[1]
    partial = np.zeros((parts, batch, streams), np.int32)
    for tile in range(tile_start, tile_stop):
        base = tile * tile_rows
        _start_tile(state, pending, active, words, next_word, ends, lanes, base, rows, parts, position, keys,
                    key_bits, row_class, row_step, row_index)  # fmt: skip
        for stream in range(len(position)):
            row = base + position[stream] // parts
            targets[stream] = -1
            if row < rows:
                in_out = row - tile_start * tile_rows
                targets[stream] = in_out * out_pitch + position[stream] % parts * part_pitch
        partial[:] = 0
        before[:] = 0
        further[:] = 0
        start = 0
        while start < part_symbols:
            count = min(_BLOCK // passes * passes, part_symbols - start)
            if by_slot:
                _decode_by_slot(state, pending, active, words, next_word, ends, lanes, flat, tables, columns,
                                row_index, previous, back, before, further, start, count, symbols)  # fmt: skip
            else:
                _decode_shared(state, pending, active, words, next_word, ends, lanes, thresholds, firsts, columns,
                               start, count, symbols)  # fmt: skip
            _expand(symbols, count, palette, block)
            weights = count // passes * group
            first = start // passes * group
            if storing:
                _store(block, weights, targets, first, out_pitch, out)
            else:
                for part in range(parts):
                    for b in range(batch):
                        for c in range(0, streams, WIDTH):
                            multiply_add(
                                _U(block.ctypes.data) + _U(c),
                                _U(streams),
                                _U((weights + 1) // 2),
                                _U(inputs.ctypes.data) + _U(2) * _U((part * batch + b) * inputs.shape[2] + first),
                                _U(partial.ctypes.data) + _U(4) * _U((part * batch + b) * streams + c),
                            )
            start += count
        error = _end_tile(state, pending, base, rows, tile_rows, parts, position)
        if error:
            return error
        if not storing:
            for stream in range(len(position)):
                row = base + position[stream] // parts
                if row < rows:
                    for b in range(batch):
                        sums[b, row] += partial[position[stream] % parts, b, stream]
    if tile_stop * tile_rows >= rows:
        for lane in range(len(ends)):
            if next_word[lane] < ends[lane]:
                return _WORDS_LEFT
    return 0


class Decoder:
    """Decode streams, all side by side; as `decode_numpy.Decoder`."""

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
        plan = arrangement.plan
        self._plan = plan
        streams = -(-plan.streams // WIDTH) * WIDTH
        groups = streams // WIDTH
        self._lane_of = np.zeros(streams, np.int64)
        self._lane_of[: plan.streams] = arrangement.lane_of
        self._lane_of[plan.streams :] = plan.lanes - 1
        # Lanes are views of one array, as a file or the encoder lays them: address them from its start.
        self._words, self._starts, self._ends = lane_words(lanes)
        self._position = arrangement.position
        four = (cum * 4).astype(np.uint16)
        self._thresholds = np.ascontiguousarray(np.repeat(four[:, :SYMBOLS, None], WIDTH, axis=2))
        self._firsts = (cum[:, 1:] == 0).sum(axis=1).astype(np.int64)
        self._flat = np.ascontiguousarray(four[:, :SYMBOLS])
        _, _, previous, back = contexts.classes
        classes = contexts.column_classes(plan.part_symbols).astype(np.int64)
        self._by_slot = contexts.by_slot
        self._tables = contexts.tables.reshape(-1)
        self._columns = classes * previous * back if self._by_slot else contexts.tables[0, :, 0, 0][classes].astype(np.int64)
        self._row_step = int(np.prod(contexts.classes[1:]))
        self._previous = contexts.previous.astype(np.uint16) * np.uint16(back)
        self._back = contexts.back.astype(np.uint16)
        self._distance = contexts.distance
        self._keys, self._key_bits, self._row_class = keys, key_bits, row_class
        self._streams = streams
        self._groups = groups

    def _begin(self) -> tuple:
        state = np.zeros((self._groups, STATE_FIELDS, WIDTH), np.uint16)
        zeros = np.zeros(self._groups, np.uint64)
        return (state, zeros, zeros.copy(), self._words, self._starts.copy(), self._ends, self._lane_of,
                self._position)  # fmt: skip

    def _call(self, begun, tile_start, tile_stop, palette, out, part_pitch, inputs, sums) -> None:
        plan = self._plan
        passes, group = palette.shape[:2]
        symbols = np.zeros((_BLOCK, self._streams), np.uint8)
        block = np.zeros((_BLOCK // passes * group + 1, self._streams), np.uint8)
        error = _run(
            *begun, self._thresholds, self._firsts, self._flat, self._tables, self._columns,
            np.zeros(self._streams, np.uint16), self._row_step, self._previous, self._back,
            np.zeros((1, self._streams), np.uint16), np.zeros((self._distance, self._streams), np.uint16), self._by_slot, self._row_class, self._keys, self._key_bits, plan.rows, plan.sharing.parts, plan.tile_rows,
            plan.part_symbols, tile_start, tile_stop, palette, symbols, block, out, out.shape[1], part_pitch,
            inputs, sums,
        )  # fmt: skip
        if error:
            raise FormatError(_MESSAGES[error])

    def _rows(self, palette: np.ndarray, begun: tuple, tile_start: int, tile_stop: int) -> np.ndarray:
        """Decode tiles as rows of bytes, each padded to a whole number of parts."""
        plan = self._plan
        passes, group = palette.shape[:2]
        part_pitch = plan.part_symbols // passes * group
        rows = min(plan.rows, tile_stop * plan.tile_rows) - tile_start * plan.tile_rows
        out = np.empty((rows, plan.sharing.parts * part_pitch), np.uint8)
        self._call(begun, tile_start, tile_stop, palette, out, part_pitch, _NO_INPUTS, _NO_SUMS)
        return out

    def symbols(self) -> np.ndarray:
        """Decode all symbols, uint8, shape (rows, symbols)."""
        return self._rows(_IDENTITY, self._begin(), 0, self._plan.tiles)[:, : self._plan.symbols]

    def weights(self, palette: Palette, columns: int) -> np.ndarray:
        """Decode all weights, int8 or int16, shape (rows, columns)."""
        bytes_ = _bytes_of(palette)
        if bytes_ is None:
            return palette.weights(self.symbols())[:, :columns]
        rows = self._rows(bytes_, self._begin(), 0, self._plan.tiles).view(np.int8)
        return np.ascontiguousarray(rows[:, :columns])

    def multiply(self, palette: Palette, inputs: np.ndarray) -> np.ndarray:
        """Decode and multiply as it goes; no more than a tile of weights is ever there.

        Parameters
        ----------
        palette : Palette
            What symbols stand for.
        inputs : ndarray of int16, shape (batch, columns)
            Inputs in [-512, 511].

        Returns
        -------
        ndarray of int32, shape (batch, rows)
        """
        sums = np.zeros((len(inputs), self._plan.rows), np.int32)
        if not inputs.size or not self._plan.rows:
            return sums
        bytes_ = _bytes_of(palette)
        if bytes_ is not None and len(inputs) <= _FUSED_BATCH:
            self._multiply_fused(bytes_, inputs, sums)
            return sums
        begun = self._begin()
        product = ExactProduct(inputs, palette.largest)
        step = -(-_BLAS_ROWS // self._plan.tile_rows)
        for tile in range(0, self._plan.tiles, step):
            stop = min(tile + step, self._plan.tiles)
            rows = self._rows(_IDENTITY if bytes_ is None else bytes_, begun, tile, stop)
            weights = palette.weights(rows) if bytes_ is None else rows.view(np.int8)
            start = tile * self._plan.tile_rows
            product.add(sums[:, start : start + len(rows)], weights)
        return sums

    def _multiply_fused(self, palette: np.ndarray, inputs: np.ndarray, sums: np.ndarray) -> None:
        plan = self._plan
        passes, group = palette.shape[:2]
        pitch = plan.part_symbols // passes * group
        # Two inputs more, of zeros: what lies behind the last weight is multiplied by nothing.
        padded = np.zeros((plan.sharing.parts, len(inputs), pitch + 2), np.int16)
        for part in range(plan.sharing.parts):
            own = inputs[:, part * pitch : (part + 1) * pitch]
            padded[part, :, : own.shape[1]] = own
        self._call(self._begin(), 0, plan.tiles, palette, _NO_ROWS, 0, padded, sums)


_IDENTITY = np.arange(SYMBOLS, dtype=np.uint8).reshape(1, 1, SYMBOLS)
_NO_ROWS = np.empty((0, 0), np.uint8)
_NO_INPUTS = np.empty((0, 0, 0), np.int16)
_NO_SUMS = np.empty((0, 0), np.int32)


def _bytes_of(palette: Palette) -> np.ndarray | None:
    """Return the palette as (passes, group, 16) bytes; None if sums of its passes need more than a byte."""
    if palette.dtype != np.int8:
        return None
    return np.ascontiguousarray(palette.values.transpose(0, 2, 1)).view(np.uint8)
