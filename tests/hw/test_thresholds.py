# amaranth: UnusedElaboratable=no
import numpy as np
import pytest

from simulation import simulate
from weightstream.golden.compute.thresholds import thresholds
from weightstream.ir.network import MAX_THRESHOLDS, Thresholds
from weightstream.spec.image import THRESHOLD_RECORD
from weightstream.spec.machine import Machine
from weightstream_hw.compute.records import THRESHOLD_WORDS
from weightstream_hw.compute.thresholds import ThresholdUnit

INT32 = 1 << 31


def hw_thresholds(sums, activation, *, gap=0.0, seed=0):
    """Return the values of a layer with a row for each sum, their clocks, and those in which sums were taken.

    Behind the thresholds of a row, its record holds some that every sum reaches.
    """
    dut = ThresholdUnit(Machine())
    count = activation.values.shape[1]
    records = [
        np.frombuffer(THRESHOLD_RECORD.pack(*row, *[-INT32] * (2 * THRESHOLD_WORDS - count)), "<u8").tolist()
        for row in activation.values.tolist()
    ]
    rng = np.random.default_rng(seed)
    values, clocks, taken = [], [], []

    async def bench(ctx):
        ctx.set(dut.threshold_count, count)
        ctx.set(dut.step, activation.step)
        ctx.set(dut.zero_point, activation.base)
        clock, word = 0, 0
        while len(values) < len(sums):
            ctx.set(dut.word, word)
            if not ctx.get(dut.start.valid) and len(taken) < len(sums) and rng.random() >= gap:
                ctx.set(dut.start.valid, 1)
                ctx.set(dut.start.payload, int(sums[len(taken)]))
            if ctx.get(dut.value_valid):
                values.append(ctx.get(dut.value))
                clocks.append(clock)
            # The memory answers in the next clock; without a sum it answers what every sum reaches.
            word = (INT32 << 32) | INT32
            if ctx.get(dut.start.valid):
                word = records[len(taken)][ctx.get(dut.index)]
                taken_now = ctx.get(dut.start.ready)
            else:
                taken_now = 0
            await ctx.tick()
            if taken_now:
                taken.append(clock)
                ctx.set(dut.start.valid, 0)
            clock += 1

    simulate(dut, bench)
    return np.array(values), clocks, taken


def layer(rng, rows, count, base=0, step=1):
    """Return sums and rising thresholds of all sizes, some equal to a sum or beside one."""
    size = int(rng.integers(4, 32))
    sums = rng.integers(-1 << size, 1 << size, rows).clip(-INT32, INT32 - 1)
    values = rng.integers(-1 << size, 1 << size, (rows, count)).clip(-INT32, INT32 - 1)
    if count:
        near = rng.integers(0, count, rows)
        values[np.arange(rows), near] = (sums + rng.integers(-1, 2, rows)).clip(-INT32, INT32 - 1)
    values.sort(axis=1)
    return sums.astype(np.int32), Thresholds(values=values.astype(np.int32), base=base, step=step)


@pytest.mark.parametrize("gap", [0.0, 0.5], ids=["free", "gaps"])
@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("count", range(MAX_THRESHOLDS + 1))
def test_values_match_golden(count, step, gap):
    rng = np.random.default_rng([count, step + 1])
    base = int(rng.integers(-100, 100))
    sums, activation = layer(rng, 30, count, base, step)
    expected = thresholds(sums[None], activation)[0]
    values, _, _ = hw_thresholds(sums, activation, gap=gap, seed=count)
    assert np.array_equal(values, expected & 0xFF)


def test_extreme_sums_match_golden():
    ends = [-INT32, 1 - INT32, -1, 0, 1, INT32 - 1]
    sums = np.repeat(np.array(ends, np.int32), len(ends))
    values = np.tile(np.array(ends, np.int32)[:, None], (len(ends), MAX_THRESHOLDS))
    activation = Thresholds(values=values, base=-8)
    expected = thresholds(sums[None], activation)[0]
    assert np.array_equal(hw_thresholds(sums, activation)[0], expected & 0xFF)
    assert set(expected.tolist()) == {-8, 7}


@pytest.mark.parametrize("base, step", [(255, -1), (240, 1), (-128, 1), (127, -1), (0, 0)])
def test_values_of_both_signs_match_golden(base, step):
    rng = np.random.default_rng(5)
    sums, activation = layer(rng, 40, MAX_THRESHOLDS, base, step)
    expected = thresholds(sums[None], activation)[0]
    assert np.array_equal(hw_thresholds(sums, activation)[0], expected & 0xFF)


@pytest.mark.parametrize("gap", [0.0, 0.7], ids=["free", "gaps"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 15])
def test_latency_matches_statement(count, gap):
    rng = np.random.default_rng(6)
    sums, activation = layer(rng, 20, count)
    _, clocks, taken = hw_thresholds(sums, activation, gap=gap, seed=7)
    assert clocks == [clock + ThresholdUnit.latency for clock in taken]


@pytest.mark.parametrize("count", range(MAX_THRESHOLDS + 1))
def test_cycles_match_statement(count):
    rng = np.random.default_rng(8)
    sums, activation = layer(rng, 10, count)
    _, clocks, _ = hw_thresholds(sums, activation)
    assert clocks[-1] + 1 == ThresholdUnit(Machine()).cycles(10, count)


def test_machine_without_thresholds_is_refused():
    with pytest.raises(ValueError, match=r"^machine must have thresholds$"):
        ThresholdUnit(Machine(thresholds=False))
