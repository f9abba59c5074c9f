import random
from itertools import pairwise

import pytest
from amaranth.sim import Simulator

from weightstream.spec.machine import PRESETS, Machine
from weightstream_hw.compute.records import RecordLoader

MACHINE = Machine(lanes=24, slots=8)


def hw_passes(machine, passes, seed, stall=0.5, hold=60):
    """Load records of passes (rows, row_groups, slot_groups, thresholds); return the memory of each tile."""
    dut = RecordLoader(machine)
    words, tiles = [], []
    rng = random.Random(seed)
    for rows, row_groups, slot_groups, thresholds in passes:
        row_words = 8 if thresholds else 1
        tile_rows = row_groups * machine.group_lanes * slot_groups
        own = [[rng.getrandbits(64) for _ in range(row_words)] for _ in range(rows)]
        words.append(sum(own, []))
        for first in range(0, rows, tile_rows):
            tile = {}
            for u, row in enumerate(own[first : first + tile_rows]):
                slot_group, lane = divmod(u, row_groups * machine.group_lanes)
                row_group, lane = divmod(lane, machine.group_lanes)
                for i, word in enumerate(row):
                    tile[row_group, slot_group * machine.group_lanes + lane, i] = word
            tiles.append(tile)
    memory = [{}, {}]
    drained = []
    clocks = 0

    async def load(ctx):
        source = random.Random(seed + 1)
        for (rows, row_groups, slot_groups, thresholds), own in zip(passes, words, strict=True):
            ctx.set(dut.rows, rows)
            ctx.set(dut.row_groups, row_groups)
            ctx.set(dut.tile_rows, row_groups * machine.group_lanes * slot_groups)
            ctx.set(dut.use_thresholds, thresholds)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for word in own:
                while source.random() < stall:
                    await ctx.tick()
                ctx.set(dut.words.payload, word)
                ctx.set(dut.words.valid, 1)
                await ctx.tick().until(dut.words.ready)
                ctx.set(dut.words.valid, 0)
            # Words that nobody asked for are not taken.
            ctx.set(dut.words.valid, 1)
            for _ in range(3):
                assert not ctx.get(dut.words.ready)
                await ctx.tick()
            ctx.set(dut.words.valid, 0)
            assert not ctx.get(dut.busy)

    async def remember(ctx):
        nonlocal clocks
        async for _, _, write in ctx.tick().sample(dut.write):
            clocks += 1
            if write.enable:
                memory[write.bank][write.row_group, write.address, write.index] = write.data

    async def drain(ctx):
        sink = random.Random(seed + 2)
        for _ in tiles:
            limit = 0
            while not ctx.get(dut.ready):
                await ctx.tick()
                limit += 1
                assert limit < 20_000, "no records"
            drained.append((ctx.get(dut.bank), dict(memory[ctx.get(dut.bank)])))
            # The memory is read while the records of the next tile arrive.
            await ctx.tick().repeat(sink.randrange(hold) + 1)
            drained.append((ctx.get(dut.bank), dict(memory[ctx.get(dut.bank)])))
            ctx.set(dut.tile_done, 1)
            await ctx.tick()
            ctx.set(dut.tile_done, 0)
        assert not ctx.get(dut.ready)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(load)
    sim.add_testbench(drain)
    sim.add_process(remember)
    sim.run()
    for (_, found), expected in zip(drained, [tile for tile in tiles for _ in range(2)], strict=True):
        assert expected.items() <= found.items()
    assert all(a != b for (a, _), (b, _) in pairwise(drained[::2]))
    return clocks


@pytest.mark.parametrize("thresholds", [0, 1], ids=["requantise", "thresholds"])
@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["free", "stalled"])
def test_records_reach_the_place_of_their_row(thresholds, stall):
    hw_passes(MACHINE, [(400, 3, 8, thresholds), (30, 1, 8, thresholds), (100, 3, 2, thresholds)], 1, stall)


def test_layers_of_both_kinds_follow_each_other():
    hw_passes(MACHINE, [(50, 3, 1, 1), (50, 3, 8, 0), (9, 1, 1, 1), (1, 3, 8, 0)], 2)


@pytest.mark.parametrize("preset", ["tiny", "kv260"])
def test_other_machines(preset):
    machine = PRESETS[preset]
    hw_passes(machine, [(200, machine.groups, 8, 0), (70, 1, 4, 0), (3, 1, 1, 1)], 3)


def test_a_word_a_clock():
    # Start of a pass, words, the bench's look at words that nobody asked for.
    clocks = hw_passes(MACHINE, [(150, 3, 8, 0)], 4, stall=0, hold=1)
    assert clocks <= 150 + 10
