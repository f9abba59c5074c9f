"""Lanes with their control and context maps: coded matrices come out as the golden decoder decodes them."""

from dataclasses import replace

import numpy as np
import pytest

from coded_matrices import gaussian, given_contexts, random_model
from lane_bench import Bench
from lane_rounds import plan_pass
from weightstream.codec.contexts import ContextModel
from weightstream.codec.matrix import check_weights, code_matrix
from weightstream.errors import FormatError
from weightstream.golden.decode.contexts import ContextMap
from weightstream.golden.decode.lane import LaneDecoder, Row
from weightstream.golden.decode.matrix import table_thresholds
from weightstream.spec.layout import Layout, Sharing
from weightstream.spec.machine import Machine

# ---- matrices ------------------------------------------------------------------------------------


def code(rng, weights, layout, *, sharing=None, model=None, free_rows=True):
    """Code a matrix, with contexts that are not searched for."""
    model = model or ContextModel()
    row_class = rng.integers(0, model.row_classes, len(weights)).astype(np.uint8)
    with given_contexts(model, row_class):
        coded, _ = code_matrix(
            weights, check_weights(weights), layout=layout, sharing=sharing, free_rows=free_rows
        )
    return coded


def decode(coded, machine, *, seed=0, passes=1, **options):
    planned = [plan_pass(coded) for _ in range(passes)]
    return Bench(machine, planned, seed, **options).run()


def machine(lanes=1, slots=8, **options):
    return Machine(lanes=lanes, slots=slots, queue_words=256, **options)


def impossible_row_end(coded):
    """Return the symbols that one lane decodes, and the tiles before the first impossible row end."""
    plan = coded.plan
    thresholds = [table_thresholds(table.frequencies().tolist()) for table in coded.tables]
    lane = LaneDecoder(coded.lanes[0], plan.slots, ContextMap(coded.contexts), thresholds)
    lane.start_streams([True] * plan.slots)
    symbols = np.zeros((plan.rows, plan.part_symbols), np.uint8)
    for tile in range(plan.tiles):
        first = tile * plan.slots
        lane.start_rows([Row(0, 0, int(c)) for c in coded.row_class[first : first + plan.slots]])
        for j in range(plan.part_symbols):
            symbols[first : first + plan.slots, j] = lane.decode(j)
        try:
            for slot in lane.slots:
                slot.check_row_end()
        except FormatError:
            return symbols, tile + 1
    return symbols, plan.tiles


# ---- tests ---------------------------------------------------------------------------------------

SLOTS = pytest.mark.parametrize("slots", [8, 16])


@SLOTS
def test_free_rows_match_golden(slots):
    rng = np.random.default_rng(slots)
    coded = code(rng, gaussian(rng, 3 * slots - 3, 12), Layout(1, slots))
    assert max(k.bits for k in coded.key_codes) > 0
    bench = decode(coded, machine(1, slots))
    assert bench.checked == coded.plan.rows * coded.row_symbols


@SLOTS
def test_named_rows_match_golden(slots):
    rng = np.random.default_rng(slots)
    coded = code(rng, gaussian(rng, 2 * slots + 1, 12), Layout(1, slots), free_rows=False)
    bench = decode(coded, machine(1, slots))
    assert bench.checked == coded.plan.rows * coded.row_symbols


CONTEXTS = {
    "rows-columns": {"rows": 3, "columns": 5},
    "previous": {"previous": 16},
    "back": {"back": 7, "distance": 1},
    "previous-back": {"previous": 5, "back": 3, "distance": 3},
    "adjacent": {"rows": 2, "previous": 3, "back": 4, "distance": 1},
    "everything": {"rows": 3, "columns": 3, "previous": 9, "back": 5, "distance": 9},
    "furthest": {"rows": 16, "columns": 2, "back": 16, "distance": 16},
    "most-tables": {"rows": 2, "previous": 16, "back": 16, "distance": 2, "tables": 64},
}
CASES = [(name, 8) for name in CONTEXTS] + [("adjacent", 16), ("everything", 16), ("furthest", 16)]


@pytest.mark.parametrize(("name", "slots"), CASES)
def test_contexts_match_golden(name, slots):
    rng = np.random.default_rng([slots, *name.encode()])
    model = random_model(rng, **CONTEXTS[name])
    coded = code(rng, gaussian(rng, 2 * slots, 20), Layout(1, slots), model=model)
    bench = decode(coded, machine(1, slots), idle=0.1)
    assert bench.checked == coded.plan.rows * coded.row_symbols


SHARED = {
    "clones": Sharing(clone_slots=2),
    "all-clones": Sharing(clone_slots=8),
    "parts": Sharing(split_slots=4),
    "part-groups": Sharing(split_groups=2),
    "clone-groups": Sharing(clone_groups=2, clone_slots=4),
    "everything": Sharing(clone_slots=2, split_slots=2, split_groups=2),
}


@pytest.mark.parametrize(("name", "slots"), [(name, 8) for name in SHARED] + [("everything", 16)])
def test_clones_and_parts_match_golden(name, slots):
    rng = np.random.default_rng([slots, *name.encode()])
    sharing = SHARED[name]
    model = random_model(rng, rows=3, previous=3)
    clones = sharing.clone_slots * sharing.clone_groups
    rows = 2 * slots * 2 // (clones * sharing.parts) + 1
    coded = code(rng, gaussian(rng, rows, 20), Layout(2, slots), sharing=sharing, model=model)
    bench = decode(coded, machine(2, slots))
    assert bench.checked == rows * coded.row_symbols * clones


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17])
def test_tiles_end_at_any_row(rows):
    rng = np.random.default_rng(rows)
    coded = code(rng, gaussian(rng, rows, 8), Layout(2, 8))
    bench = decode(coded, machine(2))
    assert bench.checked == rows * coded.row_symbols


@SLOTS
def test_lane_without_words_reads_zeros(slots):
    rng = np.random.default_rng(slots)
    coded = code(rng, np.zeros((2 * slots, 5), np.int8), Layout(1, slots))
    assert [len(lane) for lane in coded.lanes] == [0]
    bench = decode(coded, machine(1, slots), passes=3)
    assert bench.checked == 3 * 2 * slots * coded.row_symbols


@pytest.mark.parametrize(
    ("slots", "idle", "arrival"),
    [(8, 0.0, 1.0), (16, 0.0, 1.0), (8, 0.3, 1.0), (8, 0.0, 0.15), (8, 0.2, 0.3), (16, 0.2, 0.1)],
)
def test_passes_follow_one_another(slots, idle, arrival):
    rng = np.random.default_rng(slots)
    coded = code(rng, gaussian(rng, slots + 3, 12, deviation=3.0), Layout(1, slots))
    bench = decode(coded, machine(1, slots), passes=3, idle=idle, arrival=arrival)
    assert bench.checked == 3 * coded.plan.rows * coded.row_symbols
    assert (bench.waits > 20) == (arrival < 1)


@pytest.mark.parametrize("rounds", [2, 3, 4, 9, 20])
def test_reset_makes_a_new_beginning(rounds):
    rng = np.random.default_rng(rounds)
    coded = code(rng, rng.integers(-8, 8, (12, 12)).astype(np.int8), Layout(1, 8), free_rows=False)
    bench = decode(coded, machine(), broken_off=rounds, idle=0.1)
    assert bench.checked >= coded.plan.rows * coded.row_symbols


@pytest.mark.parametrize("seed", range(4))
def test_impossible_row_end_sets_corrupt(seed):
    rng = np.random.default_rng(seed)
    weights = gaussian(rng, 40, 6, deviation=1.5)
    coded = code(rng, weights, Layout(1, 8), free_rows=False)
    words = rng.integers(0, 1 << 16, 60).astype(np.uint16)
    coded = replace(coded, lanes=[words])
    symbols, tiles = impossible_row_end(coded)
    assert tiles < coded.plan.tiles
    planned = plan_pass(coded, tiles, symbols)
    bench = Bench(machine(), [planned], seed, corrupt=True).run()
    assert bench.checked == tiles * 8 * coded.row_symbols
