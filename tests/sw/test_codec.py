"""`encode_matrix` and `decode_matrix`: any matrix comes back, in the order that was told."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weightstream as ws
from weightstream.model import from_bytes
from weightstream.spec.container import file_bytes_for

LAYOUTS = [None, ws.Layout(3, 5), ws.Layout(64, 64)]


def laplace(rng, shape, spread, limit):
    return np.clip(np.rint(rng.laplace(0, spread, shape)), -limit - 1, limit).astype(np.int8)


def spreads(rng, shape):
    """Return one of two spreads for each row."""
    return rng.choice([0.5, 4], (shape[0], *[1] * (len(shape) - 1)))


#: Makers of weights, by what they are alike.
STYLES = {
    "binary": lambda rng, shape: rng.choice(np.array([-1, 1], np.int8), shape),
    "ternary": lambda rng, shape: (rng.integers(-1, 2, shape) * (rng.random(shape) < 0.4)).astype(np.int8),
    "few-levels": lambda rng, shape: rng.choice(np.array([-128, -3, 0, 90, 127], np.int8), shape),
    "int4": lambda rng, shape: laplace(rng, shape, 2, 7),
    "int5": lambda rng, shape: laplace(rng, shape, 5, 15),
    "int8": lambda rng, shape: laplace(rng, shape, 20, 127),
    "uniform": lambda rng, shape: rng.integers(-128, 128, shape).astype(np.int8),
    "constant": lambda rng, shape: np.full(shape, rng.integers(-128, 128), np.int8),
    "scaled-rows": lambda rng, shape: laplace(rng, shape, spreads(rng, shape), 7),
    "walk": lambda rng, shape: np.clip(np.rint(rng.normal(0, 1, shape)).cumsum(-1), -8, 7).astype(np.int8),
    "equal-rows": lambda rng, shape: laplace(rng, (3, *shape[1:]), 2, 7)[rng.integers(0, 3, shape[0])],
}  # fmt: skip

dense_shapes = st.tuples(st.integers(0, 40), st.integers(0, 40))
kernel_shapes = st.tuples(st.integers(0, 12), st.integers(0, 6), st.integers(1, 4), st.integers(1, 4))
layouts = st.none() | st.builds(ws.Layout, st.integers(1, 8), st.integers(1, 33))


@st.composite
def matrices(draw):
    """Draw a matrix: two or four axes, any style."""
    make = STYLES[draw(st.sampled_from(sorted(STYLES)))]
    return make(np.random.default_rng(draw(st.integers(0, 1 << 32))), draw(dense_shapes | kernel_shapes))


def check(weights, **options):
    """Encode and decode a matrix; return the file and the order."""
    blob, order = ws.encode_matrix(weights, **options)
    decoded = ws.decode_matrix(blob)
    assert decoded.dtype == np.int8
    assert decoded.shape == weights.shape
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(len(weights)))
    assert np.array_equal(decoded, weights[order])
    if not options.get("free_rows", True):
        assert np.array_equal(order, np.arange(len(weights)))
    return blob, order


def coded(blob):
    """Return the coded matrix of a file."""
    (matrix,) = from_bytes(blob).matrices().values()
    return matrix


# ---- what comes back -----------------------------------------------------------------------------


@settings(max_examples=120)
@given(matrices(), layouts, st.booleans())
def test_any_matrix_comes_back(weights, layout, free_rows):
    blob, _ = check(weights, layout=layout, free_rows=free_rows)
    assert coded(blob).free_rows == free_rows
    if layout is not None:
        assert coded(blob).layout == layout


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("style", STYLES)
def test_styles_and_layouts(style, layout):
    rng = np.random.default_rng(len(style))
    check(STYLES[style](rng, (70, 40)), layout=layout)
    check(STYLES[style](rng, (8, 5, 3, 3)), layout=layout, free_rows=False)


CORNERS = {
    "nothing": np.zeros((0, 0), np.int8),
    "no-rows": np.zeros((0, 9), np.int8),
    "no-columns": np.zeros((9, 0), np.int8),
    "no-rows-of-kernels": np.zeros((0, 4, 3, 3), np.int8),
    "no-channels": np.zeros((4, 0, 3, 3), np.int8),
    "no-rows-most-columns": np.zeros((0, 1 << 20), np.int8),
    "most-rows-no-columns": np.zeros((1 << 20, 0), np.int8),
    "lowest": np.array([[-128]], np.int8),
    "highest": np.array([[127]], np.int8),
    "zero": np.array([[0]], np.int8),
    "one-row": np.arange(-128, 128, dtype=np.int8).reshape(1, 256),
    "one-column": np.arange(-128, 128, dtype=np.int8).reshape(256, 1),
    "all-levels": np.arange(256).reshape(16, 16).astype(np.int8),
    "zeros": np.zeros((300, 200), np.int8),
    "lowest-everywhere": np.full((100, 33), -128, np.int8),
    "equal-rows": np.tile(np.arange(-8, 8, dtype=np.int8), (500, 3)),
    "rising-rows": np.arange(-128, 128).repeat(2)[:, None] // np.array([1, 9, 30]),
    "falling-rows": np.arange(255, -1, -1).repeat(2)[:, None] // np.array([2, 9, 30]),
    "one-row-differs": np.eye(300, 40, 260 - 300, dtype=np.int8) * (np.arange(300) == 260)[:, None],
    "one-weight-differs": np.eye(1, 5000, 4999, dtype=np.int8),
    "one-tap": np.random.default_rng(2).integers(-8, 8, (20, 30, 1, 1)),
    "long-kernel": np.random.default_rng(3).integers(-8, 8, (4, 1, 1, 300)),
    "deep-kernel": np.random.default_rng(4).integers(-2, 3, (3, 2, 60, 5)),
    "most-levels-of-a-palette": np.random.default_rng(5).permutation(np.arange(160) % 16).reshape(20, 8),
    "one-level-more": np.random.default_rng(6).permutation(np.arange(170) % 17).reshape(10, 17),
}  # fmt: skip


@pytest.mark.parametrize("free_rows", [True, False], ids=["free", "named"])
@pytest.mark.parametrize("name", CORNERS)
def test_corners(name, free_rows):
    for layout in (None, ws.Layout(4, 16)):
        check(CORNERS[name], free_rows=free_rows, layout=layout)


@pytest.mark.parametrize("free_rows", [True, False], ids=["free", "named"])
@pytest.mark.parametrize("levels", [[5], range(-100, 100)], ids=len)
@pytest.mark.parametrize("shape", [(2, 65536), (65536, 2)], ids=str)
def test_long_and_tall_matrices(shape, levels, free_rows):
    weights = np.random.default_rng(7).choice(np.array(levels, np.int8), shape)
    blob, _ = check(weights, free_rows=free_rows)
    # Even with all columns and rows in classes of their own the maps are small.
    assert len(blob) < 65536 * (1 + math.log2(len(levels)) / 4) + 200


def test_rows_of_any_type():
    weights = np.random.default_rng(8).integers(0, 100, (50, 30))
    expected = ws.encode_matrix(weights)[0]
    for kind in (np.int8, np.uint8, np.int16, np.uint64, ">i4"):
        assert ws.encode_matrix(weights.astype(kind))[0] == expected
    assert ws.encode_matrix(weights.tolist())[0] == expected
    assert ws.encode_matrix(np.asfortranarray(weights))[0] == expected
    assert ws.encode_matrix(np.repeat(weights, 2, axis=1)[::-1, ::-2][::-1, ::-1])[0] == expected


def test_input_is_left_alone():
    weights = np.random.default_rng(9).integers(-8, 8, (50, 3, 3, 3))
    weights.flags.writeable = False
    before = weights.copy()
    check(weights)
    assert np.array_equal(weights, before)


def test_decoded_matrix_is_the_callers():
    blob, _ = ws.encode_matrix(np.random.default_rng(10).integers(-8, 8, (50, 30)))
    first = ws.decode_matrix(blob)
    first += 1
    assert not np.array_equal(first, ws.decode_matrix(blob))


# ---- the canonical form --------------------------------------------------------------------------


@settings(max_examples=40)
@given(matrices(), layouts, st.booleans())
def test_encoding_is_deterministic(weights, layout, free_rows):
    first, second = (ws.encode_matrix(weights, free_rows, layout) for _ in range(2))
    assert first[0] == second[0]
    assert np.array_equal(first[1], second[1])


@settings(max_examples=60)
@given(matrices(), layouts, st.integers(0, 1 << 32))
def test_order_of_free_rows_leaves_no_trace(weights, layout, seed):
    shuffled = np.random.default_rng(seed).permutation(weights, axis=0)
    assert ws.encode_matrix(weights, layout=layout)[0] == ws.encode_matrix(shuffled, layout=layout)[0]


@pytest.mark.parametrize("style", ["ternary", "int4", "int8", "scaled-rows", "walk", "equal-rows"])
def test_order_of_free_rows_leaves_no_trace_in_larger_matrices(style):
    rng = np.random.default_rng(11)
    weights = STYLES[style](rng, (500, 200))
    shuffled = rng.permutation(weights, axis=0)
    assert ws.encode_matrix(weights)[0] == ws.encode_matrix(shuffled)[0]


# From 2**20 symbols on, contexts are chosen by a sample of the rows; int8 has two symbols a weight.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "spread", "limit"),
    [((1200, 1000), 1, 7), ((1024, 512), 15, 127), ((1024, 640), 15, 127)],
    ids=["int4", "int8", "int8-sampled"],
)
def test_order_of_free_rows_leaves_no_trace_in_a_sample_of_them(shape, spread, limit):
    rng = np.random.default_rng(11)
    weights = laplace(rng, shape, spread * rng.lognormal(0, 1, (shape[0], 1)), limit)
    blob, _ = ws.encode_matrix(weights)
    for _ in range(3):
        assert ws.encode_matrix(rng.permutation(weights, axis=0))[0] == blob


def test_free_rows_save_what_their_order_costs():
    weights = STYLES["int4"](np.random.default_rng(13), (1000, 60))
    named, free = (8 * len(ws.encode_matrix(weights, free_rows=f)[0]) for f in (False, True))
    order = math.lgamma(1001) / math.log(2)
    assert 0.97 * order < named - free < order


def test_equal_rows_keep_their_order():
    weights = np.repeat(STYLES["int4"](np.random.default_rng(14), (20, 30)), 10, axis=0)
    _, order = check(weights)
    assert all(group.tolist() == sorted(group) for group in order.reshape(20, 10))


# ---- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["ternary", "int4", "uniform"])
def test_size_is_near_the_entropy(style):
    weights = STYLES[style](np.random.default_rng(15), (300, 400))
    counts = np.unique(weights, return_counts=True)[1]
    entropy = float(counts @ np.log2(weights.size / counts))
    bound = entropy - math.lgamma(301) / math.log(2)
    bits = 8 * len(ws.encode_matrix(weights, layout=ws.Layout(1, 32))[0])
    assert bound < bits < 1.002 * bound + 8 * 256


@pytest.mark.parametrize("shape", [(100, 100), (1, 60000), (60000, 1)])
def test_constant_matrices_take_next_to_nothing(shape):
    assert len(ws.encode_matrix(np.full(shape, 3))[0]) < 100


def test_file_that_compresses_too_well_is_padded():
    # What a file unpacks to is bounded by its size.
    blob, _ = check(np.zeros((2500, 2500), np.int8))
    assert len(blob) == file_bytes_for(2501 * 2501)
    assert not any(blob[200:])
    with pytest.raises(ws.FormatError):
        ws.decode_matrix(blob[:-1])
