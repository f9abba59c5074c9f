"""The golden decoder step by step: streams, keys and contexts that can be worked out by hand."""

import numpy as np
import pytest

from coded_matrices import NO_CONTEXTS, random_model
from golden_outcomes import RICE, WORDS_LEFT
from weightstream.codec.contexts import ContextModel
from weightstream.codec.keys import KeyCode, encode_keys
from weightstream.errors import FormatError
from weightstream.golden.decode.contexts import ContextMap, Neighbours
from weightstream.golden.decode.keys import RiceKeyDecoder
from weightstream.golden.decode.lane import LaneDecoder, Row
from weightstream.golden.decode.matrix import table_thresholds
from weightstream.golden.decode.word_queue import WordQueue

#: With this table every symbol is 4 bits of the stream.
UNIFORM = table_thresholds([1024] * 16)


def nibbles(words, slots, starts, symbols):
    """Decode one lane with the uniform table; `starts` holds (key, k) of each slot's rows, or None."""
    lane = LaneDecoder(words, slots, ContextMap(NO_CONTEXTS), [UNIFORM])
    lane.start_streams([start is not None for start in starts[0]])
    result = []
    for tile in starts:
        lane.start_rows([None if start is None else Row(*start, 0) for start in tile])
        columns = [lane.decode(j) for j in range(symbols)]
        result.append([list(row) for row in zip(*columns, strict=True)])
    return result, lane


# ---- streams -------------------------------------------------------------------------------------


def test_uniform_table_reads_nibbles_across_rows():
    words = [0x1234, 0x5678, 0x9ABC, 0xDEF0]
    rows, lane = nibbles(words, 1, [[(0, 0)], [(0, 0)], [(0, 0)]], 4)
    assert rows == [[[1, 2, 3, 4]], [[5, 6, 7, 8]], [[9, 10, 11, 12]]]
    # The last row hands on 15 of the last word's bits; the 16th, and a word of zeros, are in the buffer.
    assert lane.slots[0].V == 0xDEF0 >> 1
    assert (lane.slots[0].B, lane.slots[0].fill) == (0, 17)


def test_key_is_put_in_front_of_the_stream():
    rows, _ = nibbles([0x2345, 0x6789], 1, [[(0xA, 4)], [(0xB, 4)]], 3)
    assert rows == [[[0xA, 2, 3]], [[0xB, 4, 5]]]


def test_longest_key_needs_the_whole_buffer():
    # 15 bits of key, and a row that shifts in 16: the row after it decodes what was pushed back.
    rows, lane = nibbles([0x8123, 0x4567], 1, [[(0x5555, 15)], [(0x2AAA, 15)]], 4)
    assert rows == [[[0xA, 0xA, 0xA, 0xB]], [[0x5, 0x5, 0x5, 0x4]]]
    assert lane.queue.taken == 3


def test_slots_take_words_in_slot_order():
    # The start of both streams, round by round; then both run dry after the same symbol.
    words = [0x1111, 0xAAAA, 0x2222, 0xBBBB, 0x3333, 0xCCCC]
    rows, lane = nibbles(words, 2, [[(0, 0), (0, 0)]] * 3, 4)
    assert rows == [[[n] * 4, [n + 9] * 4] for n in (1, 2, 3)]
    assert lane.queue.taken == 10


def test_slot_without_a_row_takes_no_words():
    rows, lane = nibbles([0x1234, 0x5678], 3, [[None, (0, 0), None]], 4)
    assert rows == [[[None] * 4, [1, 2, 3, 4], [None] * 4]]
    assert lane.queue.taken == 3


def test_last_symbol_takes_the_rest_of_the_range():
    frequencies = [0] * 14 + [5, 16384 - 5]
    lane = LaneDecoder([0, 0], 1, ContextMap(NO_CONTEXTS), [table_thresholds(frequencies)])
    slot = lane.slots[0]
    lane.start_streams([True])
    lane.start_rows([Row(10, 15, 0)])
    # floor(2**15 * 5 / 2**14) = 10: the smallest window of symbol 15, whose range needs no shift but one.
    assert lane.decode(0) == [15]
    assert (slot.R, slot.V, slot.fill) == ((2**15 - 10) << 1, 0, 32 - 1)


def test_queue_reads_zeros_past_its_end():
    queue = WordQueue([7, 0xFFFF])
    assert [queue.take() for _ in range(4)] == [7, 0xFFFF, 0, 0]
    assert queue.taken == 4
    queue.finish()


def test_queue_refuses_words_left_over():
    queue = WordQueue([1, 2, 0])
    queue.take()
    with pytest.raises(FormatError, match=f"^{WORDS_LEFT}$"):
        queue.finish()


# ---- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lift", "keys"), [(0, [3, 3, 8]), (1, [2, 1, 5])], ids=["plain", "lifted"])
def test_keys_add_up_gaps(lift, keys):
    decoder = RiceKeyDecoder(RICE)
    assert decoder.decode(KeyCode(4, 1, lift), 3) == keys
    decoder.finish()


def test_class_without_keys_reads_nothing():
    decoder = RiceKeyDecoder(b"")
    assert decoder.decode(KeyCode(0), 5) == [0] * 5
    decoder.finish()


def test_every_triple_of_short_keys_comes_back():
    for a in range(8):
        for b in range(8):
            for c in range(max(b - 1, 0), 8):
                rows = np.array([a, b, c], np.uint16)
                codes, data = encode_keys(rows, [3, 3], [1, 2])
                decoder = RiceKeyDecoder(data)
                assert decoder.decode(codes[0], 1) + decoder.decode(codes[1], 2) == [a, b, c]
                decoder.finish()


# ---- contexts ------------------------------------------------------------------------------------


def test_missing_neighbours_are_of_class_0():
    classes = np.ones(16, np.uint8)
    classes[5] = 0
    model = ContextModel(previous=classes, back=classes, distance=2, tables=np.arange(4).reshape(1, 1, 2, 2))
    contexts, neighbours = ContextMap(model), Neighbours()
    numbers = []
    for j, symbol in enumerate([0, 0, 5, 0]):
        numbers.append(contexts.table(0, j, neighbours))
        neighbours.write(j, symbol)
    assert numbers == [0b00, 0b10, 0b11, 0b01]


@pytest.mark.parametrize("seed", range(12))
def test_tables_are_those_of_the_fast_codec(seed):
    rng = np.random.default_rng(seed)
    rows, columns, previous, back = (int(rng.integers(1, 1 << bits)) for bits in (2, 3, 4, 3))
    model = random_model(rng, rows, columns, previous, back, int(rng.integers(1, 17)), 64)
    symbols = rng.integers(0, 16, (5, 40)).astype(np.uint8)
    row_class = rng.integers(0, rows, 5).astype(np.uint8)
    contexts = ContextMap(model)
    numbers = np.zeros(symbols.shape, np.uint8)
    for i, row in enumerate(symbols.tolist()):
        neighbours = Neighbours()
        for j, symbol in enumerate(row):
            numbers[i, j] = contexts.table(int(row_class[i]), j, neighbours)
            neighbours.write(j, symbol)
    assert np.array_equal(numbers, model.table_numbers(symbols, row_class))
