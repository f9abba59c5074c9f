# amaranth: UnusedElaboratable=no
"""When drains begin, and what they are told."""

import random

import pytest

from simulation import simulate
from weightstream.spec.machine import Machine
from weightstream_hw.control.drains import DrainControl
from weightstream_hw.control.round import symbol_latency


def hw_drain(machine, tiles, seed=0):
    """Drain tiles (row, item, clocks until records are ready, clocks of the drain, rest).

    Return, for each, the clocks from `captured` to `start` and from there to `tile_done`. A drain of 0 clocks
    has nothing to write: it is never busy.
    """
    dut = DrainControl(machine)
    rng = random.Random(seed)
    times = []

    async def bench(ctx):
        async def quiet_tick():
            await ctx.tick()
            # What is not looked at changes all the time.
            ctx.set(dut.row, rng.getrandbits(21))
            ctx.set(dut.item, rng.getrandbits(17))

        for row, item, records, work, rest in tiles:
            assert ctx.get(dut.ready)
            bank = rng.randrange(2)
            ctx.set(dut.records_ready, records == 0)
            ctx.set(dut.records_bank, bank if records == 0 else not bank)
            ctx.set(dut.row, row)
            ctx.set(dut.item, item)
            ctx.set(dut.captured, 1)
            await quiet_tick()
            ctx.set(dut.captured, 0)
            clocks = 1
            while not ctx.get(dut.start):
                assert not (ctx.get(dut.ready) or ctx.get(dut.tile_done))
                if clocks == records:
                    ctx.set(dut.records_ready, 1)
                    ctx.set(dut.records_bank, bank)
                assert clocks <= records + 1000
                await quiet_tick()
                clocks += 1
            job = [ctx.get(signal) for signal in (dut.start_row, dut.start_item, dut.start_bank)]
            assert job == [row, item, bank]
            drained = 0
            while not ctx.get(dut.tile_done):
                assert not ctx.get(dut.ready)
                assert [ctx.get(signal) for signal in (dut.start_row, dut.start_item, dut.start_bank)] == job
                await quiet_tick()
                drained += 1
                ctx.set(dut.busy, drained <= work)
                assert not ctx.get(dut.start) and drained < work + 100
            assert ctx.get(dut.ready)
            times.append((clocks, drained))
            ctx.set(dut.records_ready, 0)
            for _ in range(rest):
                await quiet_tick()
                assert ctx.get(dut.ready) and not (ctx.get(dut.start) or ctx.get(dut.tile_done))

    simulate(dut, bench)
    return times


@pytest.mark.parametrize("slots", [8, 16])
@pytest.mark.parametrize("seed", range(2))
def test_each_capture_is_drained_once_with_its_own_job(slots, seed):
    rng = random.Random(seed)
    machine = Machine(slots=slots)
    settle = DrainControl(machine).settle
    tiles = [
        (
            rng.getrandbits(21),
            rng.getrandbits(17),
            rng.choice([0, 5, 300]),
            rng.randrange(60),
            rng.randrange(9),
        )
        for _ in range(20)
    ]
    for (before, after), (_, _, records, work, _) in zip(hw_drain(machine, tiles), tiles, strict=True):
        assert before == max(settle + 2, records + 1)
        # Behind the last clock of the drain; the first that can be seen is the one behind `start`.
        assert after == max(work, 1) + 2


@pytest.mark.parametrize("slots", [8, 16])
def test_sums_are_in_their_copy_before_a_drain_begins(slots):
    machine = Machine(slots=slots)
    [(before, _)] = hw_drain(machine, [(0, 0, 0, 10, 0)])
    # The last slot captures `slots - 1` clocks behind slot 0, and that behind the decoder.
    assert before > symbol_latency(machine) + machine.slots


def test_drains_wait_for_late_records():
    [(before, _)] = hw_drain(Machine(), [(7, 1, 900, 10, 0)])
    assert before == 901


def test_a_tile_without_outputs_is_drained():
    assert len(hw_drain(Machine(), [(1, 2, 0, 0, 3)] * 3)) == 3
