# amaranth: UnusedElaboratable=no
"""The walk through rows: their places, a clock behind their count."""

import random

import pytest

from weightstream.spec.machine import PRESETS
from weightstream_hw.control.rows import RowWalk
from weightstream_hw.sim.bench import Bench

MACHINE = PRESETS["pynq_z2"]


def places(rows, tile_rows, row_groups):
    """Return lane, group and slot of each row, and whether it is its tile's last."""
    for row in range(rows):
        in_tile = row % tile_rows
        rest, lane = divmod(in_tile, MACHINE.group_lanes)
        slot, group = divmod(rest, row_groups)
        yield lane, group, slot, in_tile == tile_rows - 1 or row == rows - 1


@pytest.mark.parametrize("stall", [0, 0.4], ids=["a row a clock", "with pauses"])
@pytest.mark.parametrize(
    ("rows", "tile_rows", "row_groups"),
    [(1, 1, 1), (1, 64, 1), (3, 1, 2), (200, 192, 3), (40, 32, 1), (130, 128, 2), (29, 7, 3)],
)
def test_rows_have_their_places(rows, tile_rows, row_groups, stall):
    walk = RowWalk(MACHINE)
    pauses = random.Random(rows)
    bench = Bench(walk, seed=0)

    async def step_through(ctx):
        for name, value in (("rows", rows), ("tile_rows", tile_rows), ("row_groups", row_groups)):
            ctx.set(getattr(walk, name), value)
        # Twice: what the first walk leaves behind must not matter.
        for _ in range(2):
            ctx.set(walk.start, 1)
            await ctx.tick()
            ctx.set(walk.start, 0)
            for i, (*place, last_of_tile) in enumerate(places(rows, tile_rows, row_groups)):
                while pauses.random() < stall:
                    await ctx.tick()
                assert ctx.get(walk.last) == (i == rows - 1)
                assert ctx.get(walk.last_of_tile) == last_of_tile
                ctx.set(walk.step, 1)
                await ctx.tick()
                ctx.set(walk.step, 0)
                assert [ctx.get(walk.lane), ctx.get(walk.row_group), ctx.get(walk.slot_group)] == place

    bench.process(step_through)
    bench.run()
