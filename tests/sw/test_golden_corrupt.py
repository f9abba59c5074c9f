"""Corrupt streams and keys: the golden decoder and the fast ones say the same of them."""

from dataclasses import replace

import numpy as np
import pytest

from coded_matrices import gaussian, random_model, ternary
from golden_outcomes import (
    IMPOSSIBLE_END,
    KEY_TOO_LARGE,
    KEYS_LEFT,
    KEYS_TRUNCATED,
    NO_ZEROS,
    RICE,
    WORDS_LEFT,
    check,
    outcomes,
)
from weightstream.codec.contexts import ContextModel
from weightstream.codec.keys import KeyCode
from weightstream.spec.coder import MAX_KEY_BITS
from weightstream.spec.layout import Layout, Sharing

# ---- keys ----------------------------------------------------------------------------------------


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


# ---- streams -------------------------------------------------------------------------------------


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
