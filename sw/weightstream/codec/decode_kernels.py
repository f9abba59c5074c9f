"""The loops of `decode_numba`, compiled by numba around the vector code of `vector`.

Sizes and indices are the caller's to check: nothing here tests a bound.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ..spec.coder import SYMBOLS, WINDOW_BITS
from .vector import (
    STATE_BYTES,
    WIDTH,
    advance,
    decode_own,
    decode_run,
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

# Pyright does not know that numba adds an argument to the vector functions of its own.
# pyright: reportCallIssue=false

_U = np.uint64
_RANGE_START = 1 << WINDOW_BITS
_V, _R, _W0, _W1, _W2, _OFFSET = range(6)
IMPOSSIBLE_END, NO_ZEROS, WORDS_LEFT = 1, 2, 3
TRUNCATED, IMPOSSIBLE_KEY = -1, -2
#: Tested where `spread_words` is called: numba leaves out a call that other processors cannot compile.
_EXPAND = has_expand()
_jit = njit(nogil=True, error_model="numpy", cache=True)


class Streams(NamedTuple):
    """State of all streams, in vectors of 32; the last vector may have streams that do not exist."""

    state: np.ndarray  # uint16 (vectors, fields, 32)
    pending: np.ndarray  # uint64 (vectors,): masks of streams that hold a third word
    active: np.ndarray  # uint64 (vectors,): masks of streams that have a row in this tile
    words: np.ndarray  # uint16: the words of all lanes
    next_word: np.ndarray  # int64 (lanes,): where each lane stands in `words`
    ends: np.ndarray  # int64 (lanes,)
    lanes: np.ndarray  # int64 (vectors * 32,): lane of each stream
    alone: np.ndarray  # bool (vectors,): whether a vector's streams are all of one lane
    position: np.ndarray  # int64 (streams,): row in tile * parts + part


class Tables(NamedTuple):
    """Tables, and what chooses them."""

    repeated: np.ndarray  # uint16 (tables, 16, 32): 4 * cum, for streams that share a table
    firsts: np.ndarray  # int64 (tables,): first symbol in use
    single: np.ndarray  # uint16 (tables, 16): 4 * cum
    by_slot: bool  # whether streams at one column may need different tables
    columns: np.ndarray  # uint16 (symbols,): table at a column; if `by_slot`, what it adds to the context
    numbers: np.ndarray  # uint8 (contexts,): table of a context
    row_step: int  # what a row class adds to the context
    previous: np.ndarray  # uint16 (16,): what the symbol before adds
    back: np.ndarray  # uint16 (16,): what the further symbol adds


class Contexts(NamedTuple):
    """Parts of the context of the streams' next symbols."""

    rows: np.ndarray  # uint16 (vectors * 32,)
    before: np.ndarray  # uint16 (vectors * 32,)
    further: np.ndarray  # uint16 (distance, vectors * 32): a ring


class Rows(NamedTuple):
    """Rows, and how they are cut and dealt."""

    count: int
    keys: np.ndarray  # uint16 (rows,)
    key_bits: np.ndarray  # uint8 (rows,)
    row_class: np.ndarray  # uint8 (rows,)
    parts: int
    tile_rows: int
    part_symbols: int


class Work(NamedTuple):
    """What is done with decoded symbols, and buffers for it."""

    palette: np.ndarray  # uint8 (passes, group, 16)
    symbols: np.ndarray  # uint8 (block, vectors * 32)
    columns: np.ndarray  # uint8 (weights of a block + 1, vectors * 32)
    out: np.ndarray  # uint8 (rows, weights): rows to be stored; empty if products are wanted
    part_pitch: int  # weights of a part
    inputs: np.ndarray  # int16 (parts, batch, weights of a part + 2)
    sums: np.ndarray  # int32 (batch, rows)


@_jit
def _fill_one_by_one(streams, g, need, waits):
    """Give each stream of the mask `need` in vector g a word; past its end a lane reads as zeros."""
    state = streams.state
    while need != _U(0):
        c = lowest_bit(need)
        need &= need - _U(1)
        state[g, _W0, c] = state[g, _W1, c]
        if (waits >> c) & _U(1):
            state[g, _W1, c] = state[g, _W2, c]
        else:
            lane = streams.lanes[_U(g * WIDTH) + c]
            at = streams.next_word[lane]
            state[g, _W1, c] = streams.words[at] if at < streams.ends[lane] else 0
            streams.next_word[lane] = at + 1


@_jit
def _decode_shared(streams, tables, start, count, symbols):
    """Decode `count` symbols of all streams, all with the same table at a column."""
    pending, active, next_word, ends, lanes, alone = (
        streams.pending, streams.active, streams.next_word, streams.ends, streams.lanes, streams.alone,
    )  # fmt: skip
    columns, firsts = tables.columns, tables.firsts
    state_at = _U(streams.state.ctypes.data)
    words_at = _U(streams.words.ctypes.data)
    tables_at = _U(tables.repeated.ctypes.data)
    symbols_at = _U(symbols.ctypes.data)
    columns_at = _U(columns.ctypes.data) + _U(2) * _U(start)
    m = 0
    while m < count:
        if _EXPAND and len(active) == 1 and alone[0] and pending[0] == _U(0):
            lane = lanes[0]
            at = next_word[lane]
            if at + WIDTH <= ends[lane]:
                done = decode_run(
                    state_at,
                    tables_at,
                    columns_at + _U(2) * _U(m),
                    _U(count - m),
                    active[0],
                    words_at + _U(2) * _U(at),
                    _U(ends[lane] - at),
                    symbols_at,
                )
                next_word[lane] = at + np.int64(done >> _U(32))
                columns_done = done & _U(0xFFFFFFFF)
                m += np.int64(columns_done)
                symbols_at += columns_done * _U(WIDTH)
                if m == count:
                    break
        table = columns[start + m]
        table_at = tables_at + _U(table) * _U(SYMBOLS * 2 * WIDTH)
        first = firsts[table]
        for g in range(len(active)):
            own = state_at + _U(g) * _U(STATE_BYTES)
            if first >= SYMBOLS - 3:
                need = decode_shared_3(own, table_at, active[g], symbols_at)
            elif first >= SYMBOLS - 9:
                need = decode_shared_9(own, table_at, active[g], symbols_at)
            else:
                need = decode_shared_16(own, table_at, active[g], symbols_at)
            symbols_at += _U(WIDTH)
            if need != _U(0):
                # Written out: a call would pass every array by value, for each vector and column.
                waits = pending[g]
                pending[g] = waits & ~need
                lane = lanes[g * WIDTH]
                at = next_word[lane]
                if _EXPAND and alone[g] and at + WIDTH <= ends[lane]:
                    taken = spread_words(own, need, waits, words_at + _U(2) * _U(at))
                    next_word[lane] = at + np.int64(taken)
                else:
                    _fill_one_by_one(streams, g, need, waits)
        m += 1


@_jit
def _decode_by_slot(streams, tables, contexts, start, count, symbols):
    """Decode `count` symbols of all streams, each with the table of its context."""
    pending, active, next_word, ends, lanes, alone = (
        streams.pending, streams.active, streams.next_word, streams.ends, streams.lanes, streams.alone,
    )  # fmt: skip
    numbers, columns, previous, back = tables.numbers, tables.columns, tables.previous, tables.back
    rows, before, further = contexts.rows, contexts.before, contexts.further
    state_at = _U(streams.state.ctypes.data)
    words_at = _U(streams.words.ctypes.data)
    tables_at = _U(tables.single.ctypes.data)
    bounds = np.empty((2, WIDTH), np.uint16)
    bounds_at = _U(bounds.ctypes.data)
    scratch = np.empty((WIDTH, 2 * SYMBOLS), np.uint16)
    scratch_at = _U(scratch.ctypes.data)
    context = np.empty(WIDTH, np.uint16)
    existing = len(streams.position)
    distance = len(further)
    ring = start % distance
    for m in range(count):
        column = np.uint16(columns[start + m])
        for g in range(len(active)):
            own = state_at + _U(g) * _U(STATE_BYTES)
            g0 = g * WIDTH
            for c in range(WIDTH):
                context[c] = rows[g0 + c] + before[g0 + c] + further[ring, g0 + c] + column
            for c in range(min(WIDTH, existing - g0)):
                table_at = tables_at + _U(numbers[_U(context[c])]) * _U(2 * SYMBOLS)
                work_at = scratch_at + _U(4 * SYMBOLS * c)
                x = decode_own(own + _U(2 * c), table_at, work_at, bounds_at + _U(2 * c))
                symbols[m, g0 + c] = x
                before[g0 + c] = previous[x]
                further[ring, g0 + c] = back[x]
            need = advance(own, bounds_at, bounds_at + _U(2 * WIDTH), active[g])
            if need != _U(0):
                waits = pending[g]
                pending[g] = waits & ~need
                lane = lanes[g * WIDTH]
                at = next_word[lane]
                if _EXPAND and alone[g] and at + WIDTH <= ends[lane]:
                    taken = spread_words(own, need, waits, words_at + _U(2) * _U(at))
                    next_word[lane] = at + np.int64(taken)
                else:
                    _fill_one_by_one(streams, g, need, waits)
        ring += 1
        if ring == distance:
            ring = 0


@_jit
def _start_tile(streams, rows, base, row_step, contexts):
    """Begin a row of every stream: push the window back, put the key in front."""
    state, position, parts = streams.state, streams.position, rows.parts
    streams.active[:] = _U(0)
    contexts.before[:] = 0
    contexts.further[:] = 0
    for stream in range(len(position)):
        if base + position[stream] // parts < rows.count:
            streams.active[stream // WIDTH] |= _U(1) << _U(stream % WIDTH)
    if base == 0:
        for field in (_W0, _W1):
            for stream in range(len(position)):
                if position[stream] // parts < rows.count:
                    lane = streams.lanes[stream]
                    at = streams.next_word[lane]
                    word = streams.words[at] if at < streams.ends[lane] else np.uint16(0)
                    state[stream // WIDTH, field, stream % WIDTH] = word
                    streams.next_word[lane] = at + 1
    for stream in range(len(position)):
        row = base + position[stream] // parts
        if row >= rows.count:
            continue
        g, c = stream // WIDTH, stream % WIDTH
        contexts.rows[stream] = np.int64(rows.row_class[row]) * row_step
        k = np.int64(0)
        key = np.int64(0)
        if position[stream] % parts == 0:
            k = np.int64(rows.key_bits[row])
            key = np.int64(rows.keys[row]) << (WINDOW_BITS - k)
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
            streams.pending[g] |= _U(1) << _U(c)
            offset += 16
        else:
            state[g, _W0, c] = back
        state[g, _OFFSET, c] = offset - k


@_jit
def _end_tile(streams, rows, base):
    """Check how the rows of a tile ended. Returns an error code or 0."""
    state = streams.state
    error = 0
    for stream in range(len(streams.position)):
        row = base + streams.position[stream] // rows.parts
        if row >= rows.count:
            continue
        g, c = stream // WIDTH, stream % WIDTH
        if state[g, _V, c] >> WINDOW_BITS or (streams.pending[g] >> _U(c)) & _U(1):
            return IMPOSSIBLE_END
        if row + rows.tile_rows >= rows.count:
            offset = np.int64(state[g, _OFFSET, c])
            if np.int64(state[g, _W0, c]) & (0xFFFF >> offset) or state[g, _W1, c]:
                # An impossible row end of any stream comes first.
                error = NO_ZEROS
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
def _store(columns, count, targets, start, out):
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
def _multiply(work, count, start, partial):
    """Add the products of a block of columns with the inputs to the sums of each part, item and stream."""
    parts, batch, streams = partial.shape
    columns_at = _U(work.columns.ctypes.data)
    inputs_at = _U(work.inputs.ctypes.data)
    partial_at = _U(partial.ctypes.data)
    for item in range(parts * batch):
        for c in range(0, streams, WIDTH):
            multiply_add(
                columns_at + _U(c),
                _U(streams),
                _U((count + 1) // 2),
                inputs_at + _U(2) * _U(item * work.inputs.shape[2] + start),
                partial_at + _U(4) * _U(item * streams + c),
            )


@_jit
def run(streams, tables, contexts, rows, work, tile_start, tile_stop):
    """Decode some tiles; store their rows, or add their products to the sums.

    Returns an error code or 0.
    """
    passes, group = work.palette.shape[0], work.palette.shape[1]
    storing = work.out.size > 0
    position, parts = streams.position, rows.parts
    batch = work.inputs.shape[1]
    targets = np.full(work.symbols.shape[1], -1, np.int64)
    partial = np.zeros((parts, batch, work.symbols.shape[1]), np.int32)
    # Pairs of columns are multiplied: a block that is not the last one has an even number of them.
    most = len(work.symbols) // (2 * passes) * (2 * passes)
    for tile in range(tile_start, tile_stop):
        base = tile * rows.tile_rows
        _start_tile(streams, rows, base, tables.row_step, contexts)
        for stream in range(len(position)):
            row = base + position[stream] // parts
            place = (row - tile_start * rows.tile_rows) * work.out.shape[1]
            targets[stream] = place + position[stream] % parts * work.part_pitch if row < rows.count else -1
        partial[:] = 0
        start = 0
        while start < rows.part_symbols:
            count = min(most, rows.part_symbols - start)
            if tables.by_slot:
                _decode_by_slot(streams, tables, contexts, start, count, work.symbols)
            else:
                _decode_shared(streams, tables, start, count, work.symbols)
            _expand(work.symbols, count, work.palette, work.columns)
            weights, first = count // passes * group, start // passes * group
            if storing:
                _store(work.columns, weights, targets, first, work.out)
            else:
                _multiply(work, weights, first, partial)
            start += count
        error = _end_tile(streams, rows, base)
        if error:
            return error
        if not storing:
            for stream in range(len(position)):
                row = base + position[stream] // parts
                if row < rows.count:
                    for b in range(batch):
                        work.sums[b, row] += partial[position[stream] % parts, b, stream]
    if tile_stop * rows.tile_rows >= rows.count:
        for lane in range(len(streams.ends)):
            if streams.next_word[lane] < streams.ends[lane]:
                return WORDS_LEFT
    return 0


@_jit
def read_keys(data, at, count, parameter, bits, lift, out):
    """Read sorted keys; return the bit behind them, or an error code."""
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
            return TRUNCATED
        for _ in range(parameter):
            gap = gap << 1 | np.int64(data[at >> 3] >> (7 - (at & 7)) & 1)
            at += 1
        key += gap - lift
        possible = possible and key >= 0 and not key >> bits
        out[i] = key
    # Judged behind the last key: data that end before it are truncated, whatever came first.
    return at if possible else IMPOSSIBLE_KEY
