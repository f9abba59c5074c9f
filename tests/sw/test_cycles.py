"""How layers share the streams of a machine, and the clocks that choose it."""

import numpy as np
import pytest

import make_vectors
from weightstream.golden import network as golden
from weightstream.ir.canonical import code_network
from weightstream.model import from_network
from weightstream.runtime.fit import check_layer
from weightstream.spec.cycles import choose_sharing, layer_cycles
from weightstream.spec.layout import Layout, Sharing, StreamPlan
from weightstream.spec.machine import PRESETS, Machine

SHAPES = [(300, 784), (100, 300), (10, 100), (512, 512), (17, 5), (1, 1), (3000, 64)]
LAYOUTS = [
    Layout(1, 1),
    Layout(2, 8),
    Layout(8, 8),
    Layout(24, 8),
    Layout(64, 16),
    Layout(8, 6),
    Layout(4, 5),
]


def cycles(rows, symbols, layout, sharing=None, positions=1, columns=1, **options):
    plan = StreamPlan(rows, symbols, layout, sharing or Sharing())
    return layer_cycles(plan, positions, columns, **options)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("positions, columns", [(1, 1), (1, 2), (16, 2), (100, 8)])
def test_machines_run_what_is_chosen(layout, positions, columns):
    groups = layout.lanes // 8 if layout.lanes % 8 == 0 else 1
    for rows, symbols in SHAPES:
        sharing = choose_sharing(rows, symbols, layout, positions=positions, columns=columns)
        for count in (sharing.clone_slots, sharing.split_slots):
            assert count & (count - 1) == 0
        assert layout.slots % (sharing.clone_slots * sharing.split_slots) == 0
        assert sharing.split_groups in (1, groups)
        assert groups % (sharing.clone_groups * sharing.split_groups) == 0
        assert sharing.parts <= symbols
        assert cycles(rows, symbols, layout, sharing, positions, columns) <= cycles(
            rows, symbols, layout, None, positions, columns
        )


def test_product_tables_share_nothing():
    for rows, symbols in SHAPES:
        for options in ({"group": 2}, {"group": 4}, {"multipliers": False}):
            chosen = choose_sharing(rows, symbols, Layout(24, 8), positions=64, columns=2, **options)
            assert chosen == Sharing()


def test_few_rows_are_cut_for_one_item_and_cloned_for_many():
    layout = Layout(24, 8)
    one = choose_sharing(10, 100, layout, columns=2)
    assert one.clone_slots == one.clone_groups == 1 and one.parts > 1
    many = choose_sharing(10, 100, layout, columns=2, positions=64)
    assert many.clone_slots > 1
    assert cycles(10, 100, layout, many, 64, 2) < cycles(10, 100, layout, one, 64, 2)


def test_groups_of_parts_stay_together():
    # Two passes of 3 groups of weights: no more than 3 parts.
    chosen = choose_sharing(1, 6, Layout(24, 8), 2)
    assert chosen.parts <= 3


def test_slowest_of_lanes_fetch_and_drain_bounds_a_tile():
    layout = Layout(64, 8)
    lanes = cycles(800, 6400, layout, Sharing(), 1, 8)
    assert lanes == pytest.approx(2 * 6401 * 8, rel=0.02)
    shared = Sharing(split_slots=2, split_groups=8)
    # 25 tiles of 50 words for 2 x 8 parts and 8 columns, or of 401 rounds if the words are fetched once.
    fetch = cycles(800, 6400, layout, shared, 1, 8, patch_words=64)
    assert fetch == pytest.approx(25 * 50 * 16 * 8, rel=0.02)
    held = cycles(800, 6400, layout, shared, 1, 8, patch_words=128)
    assert held == pytest.approx(25 * 401 * 8 + 50 * 16 * 8 - 401 * 8, rel=0.02)
    # Tiles of few columns wait for the drain: a sum a clock, 8 lanes x 8 slots x 8 items.
    assert cycles(51200, 8, layout, None, 8, 8) == pytest.approx(100 * (512 + 40), rel=0.02)
    assert cycles(51200, 20, layout, None, 1, 8) == pytest.approx(100 * 21 * 8, rel=0.02)
    slow = cycles(51200, 20, layout, None, 1, 8, thresholds=True)
    assert slow == pytest.approx(100 * (8 * 8 * 8 + 40), rel=0.02)


def test_passes_are_for_clones_times_columns():
    layout, sharing = Layout(24, 8), Sharing(clone_slots=4, clone_groups=3)
    full = cycles(64, 500, layout, sharing, 24, 2)
    assert cycles(64, 500, layout, sharing, 1, 2) == pytest.approx(full, rel=0.02)
    assert cycles(64, 500, layout, sharing, 25, 2) == pytest.approx(2 * full, rel=0.1)


@pytest.mark.parametrize("batch", [1, 40])
@pytest.mark.parametrize("machine", [*PRESETS, "tables"])
def test_networks_laid_out_for_a_machine_fit_it(machine, batch, monkeypatch):
    monkeypatch.setenv("WEIGHTSTREAM_CODEC", "numpy")
    machine = PRESETS.get(machine) or Machine(lanes=24, multipliers=False)
    network = code_network(make_vectors.network(), machine, batch=batch)
    archive = from_network(code_network(make_vectors.network()))
    relaid = archive.relayout(machine, batch=batch).network
    for own in (network, relaid):
        for node in own.nodes[:3]:
            check_layer(own, node, machine)
    x = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 10)).astype(np.uint8)
    assert np.array_equal(golden.run(relaid, x), golden.run(archive.network, x))
    clones = {node.coded.sharing.clone_slots for node in network.nodes[:3]}
    assert (max(clones) > 1) == (batch > 1 and machine.multipliers)
