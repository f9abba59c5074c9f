"""The golden decoder: worked examples, and equality with both fast codecs on good and on corrupt streams."""

import contextlib
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightstream.codec import matrix
from weightstream.codec.contexts import ContextModel
from weightstream.codec.keys import KeyCode, encode_keys
from weightstream.codec.matrix import Geometry, check_weights, code_matrix, code_symbols
from weightstream.codec.palette import Palette
from weightstream.errors import FormatError
from weightstream.golden.decode.contexts import ContextMap, Neighbours
from weightstream.golden.decode.keys import RiceKeyDecoder
from weightstream.golden.decode.lane import LaneDecoder, Row
from weightstream.golden.decode.matrix import decode_symbols, decode_weights, table_thresholds
from weightstream.golden.decode.word_queue import WordQueue
from weightstream.spec.coder import MAX_KEY_BITS
from weightstream.spec.layout import Layout, Sharing

BACKENDS = ["numpy"] + ["numba"] * (importlib.util.find_spec("numba") is not None)
IMPOSSIBLE_END = "a weight stream holds an impossible row end: it is corrupt"
NO_ZEROS = "a weight stream does not end where its last row does: it is corrupt"
WORDS_LEFT = "a weight stream is longer than its rows: it is corrupt"
KEYS_TRUNCATED = "the keys end before their last row: the section is truncated"
KEY_TOO_LARGE = "a row key has more than its {} bits: the section is corrupt"
KEYS_LEFT = "the keys end before their section does: it is corrupt"
NO_CONTEXTS = ContextModel()
#: With this table every symbol is 4 bits of the stream.
UNIFORM = table_thresholds([1024] * 16)


# ---- helpers -------------------------------------------------------------------------------------


@contextlib.contextmanager
def using(name, model=None, row_class=None):
    """Code with the fast codec `name`; with a model, the encoder takes it instead of searching for one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEIGHTSTREAM_CODEC", name)
        if model is not None:
            patch.setattr(matrix, "search_contexts", lambda *_, **__: (model, row_class, 0.0))
        yield


def encode(code, model, row_class):
    """Encode with each backend; all must write the same. Return what `code` does."""
    results = []
    for name in BACKENDS:
        with using(name, model, row_class):
            results.append(code())
    coded, order = results[0]
    for other, other_order in results[1:]:
        assert np.array_equal(order, other_order)
        assert other.key_codes == coded.key_codes
        assert other.key_data == coded.key_data
        assert [lane.tolist() for lane in other.lanes] == [lane.tolist() for lane in coded.lanes]
    return coded, order


def outcome(decode):
    """Return what is decoded, or the text of the `FormatError`."""
    try:
        return decode().tolist()
    except FormatError as error:
        return str(error)


def outcomes(coded):
    """Return the golden outcome; those of the fast codecs must be the same."""
    golden = outcome(lambda: decode_symbols(coded))
    for name in BACKENDS:
        with using(name):
            assert outcome(coded.symbols) == golden, name
    return golden


def check(weights, model=NO_CONTEXTS, row_class=None, **options):
    """Encode a matrix and hold all decoders to it; return it coded."""
    geometry = check_weights(weights)
    if row_class is None:
        row_class = np.zeros(geometry.rows, np.uint8)
    coded, order = encode(lambda: code_matrix(weights, geometry, **options), model, row_class)
    expected = geometry.flatten(weights)[order]
    decoded = decode_weights(coded)
    assert decoded.dtype == coded.palette.dtype
    assert np.array_equal(decoded, expected)
    for name in BACKENDS:
        with using(name):
            assert np.array_equal(coded.weights(), expected), name
    assert isinstance(outcomes(coded), list)
    return coded


def gaussian(rng, rows, columns, deviation=2.0):
    """Return weights of 4 bits."""
    return np.clip(np.rint(rng.normal(0, deviation, (rows, columns))), -8, 7).astype(np.int8)


def ternary(rng, rows, columns, density=0.3):
    """Return sparse weights of -1, 0, 1."""
    return (rng.integers(-1, 2, (rows, columns)) * (rng.random((rows, columns)) < density)).astype(np.int8)


def class_map(rng, classes, length):
    """Return a random map in which every class occurs."""
    rest = rng.integers(0, classes, max(length - classes, 0))
    return rng.permutation(np.concatenate([np.arange(classes), rest])).astype(np.uint8)


def random_model(rng, rows=1, columns=1, previous=1, back=1, distance=1, tables=6):
    """Return a context model with so many classes and at most so many tables."""
    return ContextModel(
        row_classes=rows,
        columns=class_map(rng, columns, columns + 3) if columns > 1 else np.zeros(1, np.uint8),
        previous=class_map(rng, previous, 16),
        back=class_map(rng, back, 16),
        distance=distance,
        tables=rng.integers(0, tables, (rows, columns, previous, back)).astype(np.uint8),
    )


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


# ---- worked examples -----------------------------------------------------------------------------


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

# 10 1 | 0 0 | 110 1, padded: gaps 3, 0, 5 with a parameter of 1.
RICE = bytes([0b10100110, 0b10000000])


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


@pytest.mark.parametrize(
    ("code", "data", "message"),
    [
        (KeyCode(4, 1, 0), RICE[:1], KEYS_TRUNCATED),
        (KeyCode(4, 1, 0), b"", KEYS_TRUNCATED),
        (KeyCode(4, 1, 0), RICE + b"\0", KEYS_LEFT),
        (KeyCode(3, 1, 0), RICE, KEY_TOO_LARGE.format(3)),
        (KeyCode(4, 0, 1), b"\0", KEY_TOO_LARGE.format(4)),
        (KeyCode(15, 0, 0), b"\xff" * 8192 + b"\0", KEY_TOO_LARGE.format(15)),
        (KeyCode(15, 15, 0), b"\xff" * 9000 + b"\0" * 6, KEY_TOO_LARGE.format(15)),
        # Keys are judged behind the last one: so these are truncated, though the first is impossible.
        (KeyCode(1, 0, 0), b"\xfc", KEYS_TRUNCATED),
    ],
    ids=["truncated", "empty", "longer", "too-large", "negative", "far", "very-far", "both"],
)
def test_impossible_keys_are_refused_alike(code, data, message):
    coded = check(np.zeros((3 if code.bits > 1 else 12, 4), np.int8))
    assert outcomes(replace(coded, key_codes=[code], key_data=data)) == message


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


CONTEXTS = {
    "row-classes": {"rows": 3},
    "column-classes": {"columns": 5},
    "previous": {"previous": 16},
    "back": {"back": 7, "distance": 1},
    "rows-columns": {"rows": 4, "columns": 6},
    "previous-back": {"previous": 5, "back": 3, "distance": 3},
    "everything": {"rows": 3, "columns": 3, "previous": 9, "back": 5, "distance": 9},
    "most-tables": {"rows": 2, "previous": 16, "back": 16, "distance": 2, "tables": 64},
    "one-table": {"rows": 2, "columns": 2, "previous": 2, "back": 2, "distance": 4, "tables": 1},
}


@pytest.mark.parametrize("layout", [Layout(1, 1), Layout(3, 5), Layout(1, 33)], ids=str)
@pytest.mark.parametrize("classes", CONTEXTS.values(), ids=CONTEXTS.keys())
def test_contexts_match_fast_codecs(classes, layout):
    rng = np.random.default_rng([layout.slots, len(classes)])
    model = random_model(rng, **classes)
    weights = gaussian(rng, 37, 21)
    row_class = rng.integers(0, model.row_classes, len(weights)).astype(np.uint8)
    check(weights, model, row_class, layout=layout)
    sharing = Sharing(split_slots=layout.slots, split_groups=layout.lanes)
    check(weights, model, row_class, layout=layout, sharing=sharing, free_rows=False)


@pytest.mark.parametrize("distance", range(1, 17))
def test_any_distance_matches_fast_codecs(distance):
    rng = np.random.default_rng(distance)
    model = random_model(rng, previous=2, back=6, distance=distance)
    # As short as the distance, and longer than a block of either fast codec.
    for columns in (distance, distance + 1, 1100 if distance in (1, 5, 16) else 270):
        check(gaussian(rng, 2, columns), model, layout=Layout(1, 2))


# ---- whole matrices ------------------------------------------------------------------------------

SHARED = {
    "split-slots": (Layout(4, 8), Sharing(split_slots=4)),
    "split-groups": (Layout(8, 4), Sharing(split_groups=4)),
    "split-both": (Layout(4, 8), Sharing(split_slots=2, split_groups=2)),
    "one-row-a-tile": (Layout(3, 5), Sharing(split_slots=5, split_groups=3)),
    "clones": (Layout(4, 8), Sharing(clone_slots=2, clone_groups=2)),
    "everything": (Layout(8, 8), Sharing(clone_slots=2, clone_groups=2, split_slots=2, split_groups=2)),
}


@pytest.mark.parametrize("free_rows", [True, False], ids=["free", "named"])
@pytest.mark.parametrize("layout", [(1, 1), (1, 32), (4, 8), (8, 4), (3, 5), (2, 40)], ids=str)
def test_layouts_match_fast_codecs(layout, free_rows):
    rng = np.random.default_rng(layout)
    coded = check(gaussian(rng, 70, 19), layout=Layout(*layout), free_rows=free_rows)
    assert bool(coded.key_data) is free_rows


@pytest.mark.parametrize("free_rows", [True, False], ids=["free", "named"])
@pytest.mark.parametrize(("layout", "sharing"), SHARED.values(), ids=SHARED.keys())
def test_parts_match_fast_codecs(layout, sharing, free_rows):
    rng = np.random.default_rng(layout.lanes)
    check(gaussian(rng, 45, 23), layout=layout, sharing=sharing, free_rows=free_rows)


SHAPES = {
    "binary-quads": lambda rng: rng.choice(np.array([-1, 1], np.int8), (30, 26)),
    "ternary-pairs": lambda rng: ternary(rng, 30, 25),
    "sparse": lambda rng: ternary(rng, 40, 64, 0.03),
    "int4": lambda rng: gaussian(rng, 30, 20),
    "few-levels": lambda rng: rng.choice(np.array([-100, 3, 7, 90, 127], np.int8), (20, 20)),
    "equal-rows": lambda rng: gaussian(rng, 3, 24)[rng.integers(0, 3, 60)],
    "one-row": lambda rng: gaussian(rng, 1, 50),
    "one-column": lambda rng: gaussian(rng, 50, 1),
    "one-weight": lambda rng: gaussian(rng, 1, 1),
    "no-columns": lambda rng: np.zeros((5, 0), np.int8),
    "constant": lambda rng: np.full((20, 10), -77, np.int8),
    "zeros": lambda rng: np.zeros((20, 10), np.int8),
    "long-rows": lambda rng: gaussian(rng, 3, 1500),
    "kernels": lambda rng: gaussian(rng, 16, 27).reshape(16, 3, 3, 3),
}


@pytest.mark.parametrize("free_rows", [True, False], ids=["free", "named"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_shapes_match_fast_codecs(shape, free_rows):
    weights = shape(np.random.default_rng(5))
    check(weights, layout=Layout(2, 3), free_rows=free_rows)
    check(weights, layout=Layout(1, 32), free_rows=free_rows, sharing=Sharing(split_slots=2))


def test_lifted_gaps_match_fast_codecs():
    # Equal rows: what follows may carry into the key of one, and not into that of the next.
    rng = np.random.default_rng(0)
    coded = [check(ternary(rng, 200, 9), layout=Layout(1, 4)) for _ in range(8)]
    assert any(code.lift for c in coded for code in c.key_codes)


@pytest.mark.parametrize("together", [True, False], ids=["high-chooses-table", "one-table"])
def test_two_passes_match_fast_codecs(together):
    rng = np.random.default_rng(8)
    weights = np.clip(np.rint(rng.normal(0, 30, (24, 15))), -128, 127).astype(np.int8)
    model = NO_CONTEXTS
    if together:
        tables = np.zeros((1, 2, 16, 1), np.uint8)
        tables[0, 1, :, 0] = np.arange(1, 17)
        identity = np.arange(16, dtype=np.uint8)
        model = ContextModel(columns=np.array([0, 1], np.uint8), previous=identity, tables=tables)
    coded = check(weights, model, layout=Layout(2, 4), sharing=Sharing(split_slots=2))
    assert coded.palette.passes == 2


@pytest.mark.parametrize(("passes", "group"), [(3, 4), (4, 8), (1, 5)])
def test_additive_palettes_match_fast_codecs(passes, group):
    rng = np.random.default_rng(passes)
    palette = Palette(rng.integers(-128, 128, (passes, 16, group)).astype(np.int8), 0)
    symbols = rng.integers(0, 16, (20, 9 * passes)).astype(np.uint8)
    geometry = Geometry(rows=20, channels=9 * group - 2)
    coded, order = encode(
        lambda: code_symbols(symbols, geometry, palette, layout=Layout(2, 4), sharing=Sharing(split_slots=2)),
        NO_CONTEXTS,
        np.zeros(20, np.uint8),
    )
    assert outcomes(coded) == symbols[order].tolist()
    weights = decode_weights(coded)
    assert weights.shape == (20, 9 * group - 2)
    for name in BACKENDS:
        with using(name):
            fast = coded.weights()
        assert fast.dtype == weights.dtype
        assert np.array_equal(fast, weights)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)], ids=["dense", "kernels"])
def test_searched_contexts_match_fast_codecs(kernel):
    rng = np.random.default_rng(21)
    # Smooth kernels, and channels of very different spread: neighbours and classes say something.
    weights = np.cumsum(rng.normal(0, 1, (48, 8 if kernel == (3, 3) else 72, *kernel)), axis=3)
    weights *= rng.choice([0.3, 3.0], (48, 1, 1, 1)) * rng.choice([0.3, 2.0], (1, weights.shape[1], 1, 1))
    weights = np.clip(np.rint(weights), -8, 7).astype(np.int8)
    check(weights if kernel != (1, 1) else weights[:, :, 0, 0], model=None, layout=Layout(2, 8))


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    lanes=st.integers(1, 4),
    slots=st.integers(1, 9),
    split=st.booleans(),
    free_rows=st.booleans(),
    classes=st.tuples(*[st.integers(1, 5)] * 4),
    distance=st.integers(1, 16),
    spread=st.sampled_from([0.0, 0.2, 1.0, 4.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_matches_fast_codecs(
    rows, columns, lanes, slots, split, free_rows, classes, distance, spread, seed
):
    rng = np.random.default_rng(seed)
    model = random_model(rng, *classes, distance=distance)
    row_class = rng.integers(0, model.row_classes, rows).astype(np.uint8)
    sharing = Sharing(split_slots=slots, split_groups=lanes) if split else Sharing()
    weights = gaussian(rng, rows, columns, spread)
    check(weights, model, row_class, layout=Layout(lanes, slots), sharing=sharing, free_rows=free_rows)


# ---- corrupt streams -----------------------------------------------------------------------------


def corrupt(rng, lanes, how):
    """Return lanes with something wrong."""
    lanes = [lane.copy() for lane in lanes]
    i = int(rng.choice([n for n, lane in enumerate(lanes) if len(lane)]))
    at = int(rng.integers(len(lanes[i])))
    if how == "bit":
        lanes[i][at] ^= 1 << int(rng.integers(16))
    elif how == "words":
        lanes[i][at : at + 3] = rng.integers(0, 1 << 16, len(lanes[i][at : at + 3]))
    elif how == "truncated":
        lanes[i] = lanes[i][:at]
    elif how == "word-lost":
        lanes[i] = np.delete(lanes[i], at)
    elif how == "longer":
        lanes[i] = np.concatenate([lanes[i], np.zeros(12, np.uint16)])
    return lanes


@pytest.mark.parametrize("free_rows", [True, False], ids=["free", "named"])
@pytest.mark.parametrize("how", ["bit", "words", "truncated", "word-lost", "longer"])
def test_corrupt_streams_fare_alike(how, free_rows):
    rng = np.random.default_rng([ord(how[0]), free_rows])
    matrices = [
        check(gaussian(rng, 26, 14), layout=Layout(3, 5), free_rows=free_rows),
        check(ternary(rng, 40, 10), layout=Layout(1, 32), free_rows=free_rows),
    ]
    sharing = Sharing(split_slots=2)
    matrices.append(check(gaussian(rng, 12, 20), layout=Layout(4, 4), sharing=sharing, free_rows=free_rows))
    model = random_model(rng, 2, 3, 4, 2, 5)
    row_class = rng.integers(0, 2, 30).astype(np.uint8)
    matrices.append(check(gaussian(rng, 30, 12), model, row_class, layout=Layout(2, 4), free_rows=free_rows))
    seen = set()
    for coded in matrices:
        for _ in range(6):
            result = outcomes(replace(coded, lanes=corrupt(rng, coded.lanes, how)))
            seen.add(result if isinstance(result, str) else "symbols")
    assert seen <= {"symbols", IMPOSSIBLE_END, NO_ZEROS, WORDS_LEFT}
    assert seen & {IMPOSSIBLE_END, NO_ZEROS, WORDS_LEFT}
    if how == "longer":
        assert WORDS_LEFT in seen


@pytest.mark.parametrize("seed", range(3))
def test_corrupt_keys_fare_alike(seed):
    rng = np.random.default_rng(seed)
    coded = check(gaussian(rng, 60, 6), layout=Layout(2, 4))
    seen = set()
    for _ in range(16):
        data = bytearray(coded.key_data)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        if rng.random() < 0.3:
            del data[int(rng.integers(len(data))) :]
        result = outcomes(replace(coded, key_data=bytes(data)))
        seen.add(result if isinstance(result, str) else "symbols")
    assert KEYS_TRUNCATED in seen
    assert len(seen) >= 2


@pytest.mark.parametrize("seed", range(4))
def test_streams_of_noise_fare_alike(seed):
    rng = np.random.default_rng(seed)
    coded = check(ternary(rng, 30, 12), layout=Layout(2, 8))
    noise = [rng.integers(0, 1 << 16, 200).astype(np.uint16) for _ in coded.lanes]
    assert outcomes(replace(coded, lanes=noise)) in {IMPOSSIBLE_END, NO_ZEROS}
    # Keys longer than what a row shifts in: the buffer holds more and more.
    too_long = replace(coded, key_codes=[KeyCode(MAX_KEY_BITS)], key_data=bytes(4))
    assert outcomes(too_long) == IMPOSSIBLE_END


def constant_rows(slots, bits, lanes):
    """Return 12 rows of no bits at all, named; the odd ones in a class with keys of so many bits."""
    weights = np.zeros((12, 2), np.int8)
    model = ContextModel(row_classes=2, tables=np.zeros((2, 1, 1, 1), np.uint8))
    coded = check(weights, model, np.arange(12, dtype=np.uint8) % 2, free_rows=False, layout=Layout(1, slots))
    assert [lane.tolist() for lane in coded.lanes] == [[]]
    codes = [KeyCode(0), KeyCode(bits)]
    return replace(coded, key_codes=codes, key_data=bytes(bits > 0), lanes=[np.array(lanes, np.uint16)])


@pytest.mark.parametrize(
    ("bits", "lanes", "message"),
    [
        (0, [0, 0, 0, 0, 1], WORDS_LEFT),
        (0, [0, 0, 0, 0, 0], WORDS_LEFT),
        (0, [0, 0, 1], NO_ZEROS),
        (0, [0, 1, 0, 0, 0], NO_ZEROS),
        (3, [], IMPOSSIBLE_END),
        # In one tile, slot 0 does not end with zeros and slot 1 has an impossible row end.
        (3, [0, 0, 1], IMPOSSIBLE_END),
    ],
    ids=["left", "zeros-left", "no-zeros", "no-zeros-and-left", "impossible", "impossible-and-no-zeros"],
)
def test_errors_are_told_in_order(bits, lanes, message):
    assert outcomes(constant_rows(2, bits, lanes)) == message


def test_row_end_leaves_two_words_and_no_more():
    # 17 bits behind the first window, and the k that each key frees: 17 + 15, 17 + 8 + 8.
    assert isinstance(outcomes(constant_rows(12, 15, [])), list)
    assert outcomes(constant_rows(6, 8, [])) == IMPOSSIBLE_END


@pytest.mark.parametrize("lanes", [[1], [0, 0, 0]], ids=["no-zeros", "left"])
def test_rows_without_symbols_are_checked(lanes):
    corrupted = replace(check(np.zeros((3, 0), np.int8)), lanes=[np.array(lanes, np.uint16)])
    assert outcomes(corrupted) == (NO_ZEROS if lanes == [1] else WORDS_LEFT)
