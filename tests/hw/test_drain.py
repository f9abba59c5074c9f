"""The drains of all groups of lanes, against the golden outputs of whole passes."""

from dataclasses import replace

import numpy as np
import pytest

from drain_bench import Bench, Layer, check
from weightstream.spec.image import ROUNDINGS
from weightstream.spec.layout import Sharing, StreamPlan
from weightstream.spec.machine import Machine
from weightstream_hw.multipliers import MULTIPLIERS

POOL = 1 << 15
TINY = Machine(lanes=2, columns=2, thresholds=False, float_rounding=False, pool_bytes=POOL)
SMALL = replace(TINY, lanes=8)
WIDE = replace(TINY, lanes=24)


SHARINGS = {
    "plain": Sharing(),
    "clones": Sharing(clone_slots=4),
    "parts": Sharing(split_slots=2),
    "clones_and_parts": Sharing(clone_slots=2, split_slots=4),
    "all_slots": Sharing(split_slots=8),
}
GROUP_SHARINGS = {
    "clone_groups": Sharing(clone_groups=3, clone_slots=2),
    "split_groups": Sharing(split_groups=3),
    "split_groups_and_slots": Sharing(split_groups=3, split_slots=2, clone_slots=2),
}


@pytest.mark.parametrize("machine", [TINY, SMALL], ids=["tiny", "small"])
@pytest.mark.parametrize("sharing", SHARINGS.values(), ids=SHARINGS)
def test_outputs_match_golden(machine, sharing):
    plan = StreamPlan(1, 1, machine.layout, sharing)
    rows = 2 * plan.tile_rows + plan.tile_rows // 2 + 1
    check(*(Layer(machine, rows, sharing, batch=5, rounding=rounding, seed=1) for rounding in ("up", "even")))


@pytest.mark.parametrize("sharing", GROUP_SHARINGS.values(), ids=GROUP_SHARINGS)
def test_groups_of_lanes_share_work(sharing):
    rows = 2 * StreamPlan(1, 1, WIDE.layout, sharing).tile_rows - 9
    check(Layer(WIDE, rows, sharing, batch=2 * sharing.clone_slots * sharing.clone_groups + 3, seed=2))


def test_all_groups_together_fill_the_write_port():
    machine = replace(TINY, lanes=64)
    bench = check(Layer(machine, 520, batch=2, seed=3))
    # No group waits for another one.
    assert bench.clocks[0] - bench.drains[0].cycles(item=0, words=16) <= machine.groups


@pytest.mark.parametrize("lanes", [1, 4])
def test_few_lanes_write_parts_of_words(lanes):
    machine = replace(TINY, lanes=lanes, columns=3)
    check(Layer(machine, 3 * lanes * machine.slots - 1, batch=4, seed=4))


def test_sixteen_slots_and_many_columns():
    machine = replace(SMALL, slots=16, columns=5)
    check(Layer(machine, 20, Sharing(clone_slots=4, split_slots=2), batch=23, signed=True, seed=5))


@pytest.mark.parametrize("dsp", MULTIPLIERS)
def test_requantisers_of_all_families_are_waited_for(dsp):
    check(Layer(SMALL, 70, batch=3, seed=7), dsp=dsp)


def test_sums_are_rounded_as_float32():
    machine = replace(SMALL, float_rounding=True)
    check(*(Layer(machine, 130, rounding=rounding, seed=6) for rounding in ROUNDINGS))


@pytest.mark.parametrize("count", [0, 1, 2, 5, 14, 15])
def test_thresholds_match_golden(count):
    machine = replace(SMALL, thresholds=True)
    check(
        Layer(machine, 80, batch=3, threshold_count=15 - count, seed=count),
        Layer(machine, 20, Sharing(split_slots=4, clone_slots=2), batch=3, threshold_count=count, seed=count),
        # The other kind of records, in the same memory.
        Layer(machine, 70, batch=1, seed=count),
    )


def test_thresholds_meet_parts_in_groups():
    machine = replace(WIDE, thresholds=True)
    sharing = Sharing(split_groups=3, split_slots=2)
    check(
        Layer(machine, 33, sharing, batch=2, threshold_count=3, seed=9), Layer(machine, 33, sharing, seed=9)
    )


@pytest.mark.parametrize("count", [None, 5])
def test_reset_leaves_nothing_behind(count):
    for clocks in (3, 21, 38):
        machine = replace(SMALL, thresholds=True)
        bench = Bench(machine)
        layer = Layer(machine, 30, batch=2, threshold_count=count, seed=11)
        assert bench.run(layer, abort=clocks) == [layer.expected()]


def test_layers_follow_each_other():
    rng = np.random.default_rng(7)
    layers = []
    for seed in range(4):
        m, t = ((1, 1), (3, 1), (1, 3))[rng.integers(3)]
        r, s = ((1, 1), (2, 1), (8, 1), (4, 2), (1, 8), (1, 4))[rng.integers(6)]
        sharing = Sharing(clone_slots=r, clone_groups=m, split_slots=s, split_groups=t)
        rows = int(rng.integers(1, 80))
        base, pitch = 8 * rng.integers(100), 8 * rng.integers(10, 16)
        layers.append(
            Layer(
                WIDE,
                rows,
                sharing,
                batch=int(rng.integers(1, 9)),
                base=int(base),
                pitch=int(pitch),
                seed=seed,
            )
        )
    check(*layers)


@pytest.mark.parametrize(
    "rows, batch, parts, count",
    [
        (1, 1, 1, None),
        (61, 5, 1, None),
        (17, 1, 8, None),
        (64, 3, 1, 15),
        (30, 1, 2, 2),
        (20, 2, 4, 3),
    ],
)
def test_cycles_match_statement(rows, batch, parts, count):
    machine = replace(SMALL, thresholds=True, float_rounding=count == 3)
    layer = Layer(machine, rows, Sharing(split_slots=parts), batch=batch, threshold_count=count, seed=10)
    bench = check(layer)
    expected = []
    for item in range(0, batch, layer.positions):
        for tile in range(layer.plan.tiles):
            groups = -(-min(layer.plan.tile_rows, rows - tile * layer.plan.tile_rows) // 8)
            words = groups * min(layer.positions, batch - item)
            cycles = bench.drains[0].cycles(item=item, words=words, parts=parts, threshold_count=count)
            expected.append(cycles)
    assert bench.clocks == expected
