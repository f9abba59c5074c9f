"""Write streams of row codewords in numpy alone: byte for byte as `encode_numba` does."""

# Ref: Basu and Varshney, "Universal and Succinct Source Coding of Deep Neural Networks", 2022
# Id: arXiv:1804.02800
# Differs: sorted order-preserving row codewords instead of a tree of counts; see docs/format.md

import numpy as np

from ..spec.coder import FREQUENCY_BITS, START_WORDS, WINDOW_BITS, WORD_BITS
from .arrange import Arrangement

_RANGE_START = 1 << WINDOW_BITS

#: Left shift that brings a range back to 16 bits.
NORMALISING_SHIFT = np.array([16] + [16 - r.bit_length() for r in range(1, 1 << 16)], np.uint8)


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
                index += np.multiply(tables[:, j], cum.shape[1], dtype=np.int64)
            bottom = span * flat[index] >> FREQUENCY_BITS
            span = (span * flat[index + 1] >> FREQUENCY_BITS) - bottom
            bits = NORMALISING_SHIFT[span]
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
        value = np.where(
            last, -_bits_at(digits, rows, end, WINDOW_BITS) & (_RANGE_START - 1), following[: len(rows)]
        )
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
        events = [
            (slot, -START_WORDS + round_) for round_ in range(START_WORDS) for slot in range(len(taken))
        ]
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


def count_bytes(data: np.ndarray) -> np.ndarray:
    """Return how often each byte occurs in a uint8 array, int64, shape (256,)."""
    flat = data.reshape(-1)
    counts = np.zeros(256, np.int64)
    # In pieces: bincount widens what it counts to 64 bits.
    for start in range(0, flat.size, 1 << 20):
        counts += np.bincount(flat[start : start + (1 << 20)], minlength=256)
    return counts
