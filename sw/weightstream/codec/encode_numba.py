"""Write streams of row codewords in numba loops."""

import numpy as np
from numba import njit

from ..spec.coder import WINDOW_BITS
from .arrange import Arrangement
from .vector import leading_zeros

# Pyright does not know that numba adds an argument to the vector functions of its own.
# pyright: reportCallIssue=false

_U = np.uint64
_RANGE_START = 1 << WINDOW_BITS
_jit = njit(nogil=True, error_model="numpy", cache=True)


@_jit
def _forward(symbols, tables, shared, cum, digits, digit_count, rest, rest_bits, length, shift):
    """Run the range of each codeword; collect what its symbols add, as digits of 32 bits and a rest."""
    count, columns = symbols.shape
    for j in range(count):
        span = _U(_RANGE_START)
        low = _U(0)
        bits = 0
        written = 0
        for m in range(columns):
            at = _U(symbols[j, m])
            if not shared:
                at += _U(tables[j, m]) * _U(17)
            bottom = (span * cum[at]) >> _U(14)
            span = ((span * cum[at + _U(1)]) >> _U(14)) - bottom
            sh = leading_zeros(span) - _U(48)
            span <<= sh
            low = (low + bottom) << sh
            bits += np.int64(sh)
            shift[j, m] = sh
            if bits - 32 * written >= 32:
                # The window's 15 bits and what is shifted in since the last digit: 15 + 32 and more.
                above = _U(bits - 32 * written - 17)
                digit = low >> above
                low &= (_U(1) << above) - _U(1)
                carry = digit >> _U(32)
                p = written - 1
                while carry != _U(0):
                    total = _U(digits[j, p]) + carry
                    digits[j, p] = np.uint32(total & _U(0xFFFFFFFF))
                    carry = total >> _U(32)
                    p -= 1
                digits[j, written] = np.uint32(digit & _U(0xFFFFFFFF))
                written += 1
        digit_count[j] = written
        rest[j] = low
        rest_bits[j] = WINDOW_BITS + bits - 32 * written
        length[j] = bits


@_jit
def _leading(digits, digit_count, rest, rest_bits, out):
    for j in range(len(out)):
        if digit_count[j]:
            out[j] = digits[j, 0] >> 17
        else:
            out[j] = rest[j] >> _U(rest_bits[j] - WINDOW_BITS)


@_jit
def _bits_of(buffer, position):
    """Return 15 bits of a stream from a bit position on."""
    word = position >> 5
    pair = (_U(buffer[word]) << _U(32)) | _U(buffer[word + 1])
    return (pair >> _U(49 - (position & 31))) & _U(0x7FFF)


@_jit
def _put(buffer, position, value, width):
    """Overwrite `width` bits, at most 32, of a stream."""
    if width <= 0:
        return
    word = position >> 5
    up = _U(64 - width - (position & 31))
    mask = ((_U(1) << _U(width)) - _U(1)) << up
    pair = (_U(buffer[word]) << _U(32)) | _U(buffer[word + 1])
    pair = (pair & ~mask) | ((value << up) & mask)
    buffer[word] = np.uint32(pair >> _U(32))
    buffer[word + 1] = np.uint32(pair & _U(0xFFFFFFFF))


@_jit
def _chain(digits, digit_count, rest, rest_bits, length, key_bits, position, step, keys, buffer):
    """Walk one stream from its last codeword back, adding to each the 15 bits that follow it.

    Bits of a codeword lie in the stream from its own start on: the key in front of it is dropped, and the
    15 bits behind its end, which it shares with the next one, are overwritten with their sum.
    """
    count = len(length)
    j = position
    start = 0
    while j + step < count:
        start += length[j] - key_bits[j]
        j += step
    last = True
    while j >= 0:
        k = key_bits[j]
        low = rest[j]
        width = rest_bits[j]
        if last:
            value = (_U(0) - low) & _U(0x7FFF)
            last = False
        else:
            value = _bits_of(buffer, start + length[j] - k)
        low += value
        carry = low >> _U(width)
        low &= (_U(1) << _U(width)) - _U(1)
        p = digit_count[j] - 1
        while carry != _U(0):
            total = _U(digits[j, p]) + carry
            digits[j, p] = np.uint32(total & _U(0xFFFFFFFF))
            carry = total >> _U(32)
            p -= 1
        at = start
        if digit_count[j]:
            first = _U(digits[j, 0])
            keys[j] = first >> _U(32 - k)
            _put(buffer, at, first & ((_U(1) << _U(32 - k)) - _U(1)), 32 - k)
            at += 32 - k
            for i in range(1, digit_count[j]):
                _put(buffer, at, _U(digits[j, i]), 32)
                at += 32
        else:
            keys[j] = low >> _U(width - k)
            width -= k
            low &= (_U(1) << _U(width)) - _U(1)
        if width > 32:
            _put(buffer, at, low >> _U(32), width - 32)
            at += width - 32
            width = 32
            low &= _U(0xFFFFFFFF)
        _put(buffer, at, low, width)
        j -= step
        if j >= 0:
            start -= length[j] - key_bits[j]


@_jit
def _deal(shift, key_bits, position, per_tile, slots, lanes, buffers, words, ends):
    """Replay the decoder of all lanes: write each lane's words in the order in which its slots take them."""
    count, columns = shift.shape
    used = np.zeros(slots, np.int64)
    held = np.zeros(slots, np.int64)
    at = 0
    for lane in range(lanes):
        begin = at
        first = lane * slots
        for round_ in range(2):
            for slot in range(slots):
                if position[first + slot] < count:
                    buffer = buffers[first + slot]
                    words[at] = buffer[0] >> 16 if round_ == 0 else buffer[0] & 0xFFFF
                    at += 1
        used[:] = WINDOW_BITS
        held[:] = 0
        base = 0
        while base < count:
            live = 0
            for slot in range(slots):
                j = base + position[first + slot]
                if j < count:
                    used[slot] -= key_bits[j]
                    live = slot + 1
            for m in range(columns):
                for slot in range(live):
                    j = base + position[first + slot]
                    if j >= count:
                        continue
                    now = used[slot] + np.int64(shift[j, m])
                    used[slot] = now
                    if now >> 4 > held[slot]:
                        held[slot] += 1
                        word = held[slot] + 1
                        pair = buffers[first + slot, word >> 1]
                        words[at] = pair & 0xFFFF if word & 1 else pair >> 16
                        at += 1
            base += per_tile
        while at > begin and words[at - 1] == 0:
            at -= 1
        ends[lane] = at


class Codewords:
    """The codewords of a layer, before they are chained; as `streams_numpy.Codewords`."""

    def __init__(self, symbols: np.ndarray, tables: np.ndarray | None, cum: np.ndarray):
        count, columns = symbols.shape
        # Every symbol shifts in at most 15 bits; a first pass over the costs would buy little memory.
        self._digits = np.empty((count, columns * 15 // 32 + 2), np.uint32)
        self._digit_count = np.zeros(count, np.int64)
        self._rest = np.zeros(count, np.uint64)
        self._rest_bits = np.zeros(count, np.int64)
        self._shift = np.empty((count, columns), np.uint8)
        self.length = np.zeros(count, np.int64)
        shared = tables is None
        _forward(
            symbols,
            np.zeros((1, 1), np.uint8) if tables is None else tables,
            shared,
            cum.astype(np.uint64).reshape(-1),
            self._digits,
            self._digit_count,
            self._rest,
            self._rest_bits,
            self.length,
            self._shift,
        )

    def leading(self) -> np.ndarray:
        """Return the first 15 bits of the codewords, int64; a carry may still add one."""
        result = np.empty(len(self.length), np.int64)
        _leading(self._digits, self._digit_count, self._rest, self._rest_bits, result)
        return result

    def chain(self, arrangement: Arrangement, key_bits: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Chain the codewords into streams, and deal their words to the lanes."""
        plan = arrangement.plan
        per_tile = plan.tile_rows * plan.sharing.parts
        position = arrangement.position
        bits = np.zeros(plan.streams, np.int64)
        for stream, first in enumerate(position):
            bits[stream] = (self.length[first::per_tile] - key_bits[first::per_tile]).sum()
        buffers = np.zeros((plan.streams, int(bits.max(initial=0)) // 32 + 8), np.uint32)
        keys = np.zeros(len(self.length), np.uint16)
        for stream, first in enumerate(position):
            if first < len(self.length):
                _chain(
                    self._digits,
                    self._digit_count,
                    self._rest,
                    self._rest_bits,
                    self.length,
                    key_bits,
                    first,
                    per_tile,
                    keys,
                    buffers[stream],
                )
        words = np.zeros(int(bits.sum()) // 16 + 4 * plan.streams, np.uint16)
        ends = np.zeros(plan.lanes, np.int64)
        _deal(self._shift, key_bits, position, per_tile, plan.slots, plan.lanes, buffers, words, ends)
        starts = np.concatenate([[0], ends[:-1]])
        return keys, [words[a:b] for a, b in zip(starts, ends, strict=True)]


@_jit
def _count(flat, counts):
    # Four histograms: runs of equal bytes do not wait for each other.
    whole = len(flat) // 4 * 4
    for i in range(0, whole, 4):
        for lane in range(4):
            counts[lane, flat[i + lane]] += 1
    for i in range(whole, len(flat)):
        counts[0, flat[i]] += 1


def count_bytes(data: np.ndarray) -> np.ndarray:
    """Return how often each byte occurs in a uint8 array, int64, shape (256,)."""
    counts = np.zeros((4, 256), np.int64)
    _count(np.ascontiguousarray(data).reshape(-1), counts)
    return counts.sum(axis=0)
