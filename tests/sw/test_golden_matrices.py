"""Whole matrices: the golden decoder and the fast ones decode what every backend writes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_matrices import BACKENDS, NO_CONTEXTS, gaussian, random_model, ternary, using
from golden_outcomes import check, encode, outcomes
from weightstream.codec.contexts import ContextModel
from weightstream.codec.matrix import Geometry, code_symbols
from weightstream.codec.palette import Palette
from weightstream.golden.decode.matrix import decode_weights
from weightstream.spec.layout import Layout, Sharing

# ---- contexts ------------------------------------------------------------------------------------

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


# ---- layouts, shapes, palettes -------------------------------------------------------------------

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
    weights = gaussian(rng, rows, columns, deviation=spread)
    check(weights, model, row_class, layout=Layout(lanes, slots), sharing=sharing, free_rows=free_rows)
