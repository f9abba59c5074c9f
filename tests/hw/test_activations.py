"""Columns that arrive at the lanes are the bytes that lie in the activation memory."""

from dataclasses import replace

import numpy as np
import pytest

from column_path import Layer, Path
from simulation import simulate
from weightstream.spec.machine import Machine
from weightstream_hw.control.round import symbol_latency

SMALL = Machine(lanes=8, slots=8, columns=2, pool_bytes=1 << 11, patch_words=64)
THREE = replace(SMALL, lanes=24)


async def run_layer(ctx, path: Path, layer: Layer, memory, rng, idle: float, stop: int = -1) -> int:
    """Play the sequencer for all passes; compare all that comes out; return the rounds without a column.

    With `stop`, leave after so many clocks.
    """
    machine, feed, fetch = layer.machine, path.feed, path.fetch
    slots, batch_columns = machine.slots, machine.columns
    firsts = list(range(0, layer.batch, layer.positions))
    rounds = [
        (
            first,
            at,
            palette == layer.passes - 1,
            at + layer.group >= layer.part_bytes,
            tile == layer.tiles - 1,
        )
        for first in firsts
        for tile in range(layer.tiles)
        for at in range(0, layer.part_bytes, layer.group)
        for palette in range(layer.passes)
    ]
    path.set_layer(ctx, layer)
    expected, expected_start, owed_end, waited = {}, {}, False, 0
    clock = go = done = offered = 0
    limit = 4000 + 40 * slots * len(rounds)
    while done < len(rounds) or owed_end or any(at >= clock for at in (*expected, *expected_start)):
        assert clock < limit, "the columns do not come to an end"
        if clock == stop:
            break
        slot = clock % slots
        ctx.set(feed.slot, slot)
        ctx.set(feed.commit, 0)
        ctx.set(feed.end_pass, 0)
        if slot == 0 and (go or (owed_end and rng.random() < 0.7)):
            if go:
                first, at, advance, last, last_tile = rounds[done]
                done += 1
                last &= advance
                ctx.set(feed.commit, 1)
                ctx.set(feed.advance, advance)
                ctx.set(feed.end_tile, last)
                owed_end = last and last_tile
                if layer.products:
                    expected_start[clock + feed.product_latency] = (first, at)
                else:
                    for i in range(slots):
                        expected[clock + symbol_latency(machine) + i] = (first, at, i)
            if owed_end and (not go or rng.random() < 0.5):
                ctx.set(feed.end_pass, 1)
                owed_end = False
        if slot == slots - 1:
            wanted = done < len(rounds) and not owed_end and rng.random() >= idle
            go = wanted and ctx.get(feed.ready)
            waited += bool(wanted and not go and done)
        ctx.set(fetch.pass_start.valid, offered < len(firsts))
        if offered < len(firsts):
            ctx.set(fetch.pass_start.payload, firsts[offered])
            offered += ctx.get(fetch.pass_start.ready)

        if clock in expected:
            first, at, i = expected[clock]
            got = ctx.get(path.x)
            for group in range(machine.groups):
                for column in range(batch_columns):
                    byte = layer.column(memory, first, group, column, i, at)
                    if layer.signed:
                        byte = (byte ^ 128) - 128 & 511
                    place = 9 * (group * batch_columns + column)
                    assert got >> place & 511 == byte, (
                        f"clock {clock}, group {group}, column {column}, slot {i}"
                    )
        if machine.group and layer.products:
            assert ctx.get(feed.centre_start) == (clock in expected_start), f"start in clock {clock}"
            if clock in expected_start:
                first, at = expected_start[clock]
                got = ctx.get(path.centre)
                for column in range(batch_columns):
                    for i in range(layer.group):
                        byte = layer.column(memory, first, 0, column, 0, at + i)
                        assert got >> 32 * column + 8 * i & 255 == byte, f"clock {clock}, column {column}"
        await ctx.tick()
        clock += 1
    # A round begins at a multiple of the slots, and a layer ends three rounds behind its last column.
    ctx.set(feed.commit, 0)
    ctx.set(fetch.pass_start.valid, 0)
    while stop < 0 and (clock % slots or clock % (8 * slots)):
        ctx.set(feed.slot, clock % slots)
        ctx.set(feed.end_pass, 0)
        await ctx.tick()
        clock += 1
    return waited


def check(layers: list[Layer], seed: int, idle: float = 0.2) -> list[int]:
    """Run layers one after another in one machine; return the rounds that each of them waited."""
    path, waited = Path(layers[0].machine), []

    async def testbench(ctx):
        rng = np.random.default_rng(seed)
        for layer in layers:
            memory = layer.memory(rng)
            await path.fill_pool(ctx, memory)
            waited.append(await run_layer(ctx, path, layer, memory, rng, idle))

    simulate(path, testbench)
    return waited


MULTIPLIED = {
    "one part": Layer(SMALL, 37, 3),
    "clones in slots": Layer(SMALL, 29, 9, r=4, signed=True),
    "parts in slots": Layer(SMALL, 83, 3, s=8),
    "clones and parts": Layer(SMALL, 45, 6, r=2, s=2, hold=True, tiles=3),
    "clone groups": Layer(THREE, 11, 7, m=3, tiles=1),
    "clone groups and slots": Layer(THREE, 13, 50, r=8, m=3, tiles=1, hold=True),
    "parts in groups": Layer(THREE, 61, 3, t=3, signed=True),
    "parts in groups and slots": Layer(THREE, 97, 5, t=3, s=4, r=2),
    "more parts than columns": Layer(THREE, 5, 2, t=3, s=8, hold=True),
    "groups of rows": Layer(THREE, 19, 3, r=2),
    "all slots, one word a half": Layer(SMALL, 41, 9, r=8, chunk_words=1),
    "chunk ends with the part": Layer(SMALL, 32, 2, chunk_words=2),
    "palettes": Layer(SMALL, 9, 4, passes=4, chunk_words=1),
}

TABULATED = {
    "one weight": Layer(SMALL, 21, 3, products=True, signed=True),
    "pairs": Layer(SMALL, 27, 3, group=2, products=True, passes=2, hold=True),
    "fours": Layer(THREE, 43, 3, group=4, products=True, passes=4, chunk_words=2),
}


@pytest.mark.parametrize("name", MULTIPLIED)
def test_slots_get_the_bytes_of_their_items_and_parts(name):
    check([MULTIPLIED[name]], seed=1)


@pytest.mark.parametrize("name", TABULATED)
def test_product_centre_gets_the_bytes_of_each_column(name):
    check([TABULATED[name]], seed=2)


def test_layers_follow_each_other_in_one_machine():
    layers = [TABULATED["pairs"], MULTIPLIED["clones and parts"], TABULATED["one weight"], Layer(SMALL, 1, 1)]
    check(layers, seed=3)


@pytest.mark.parametrize("slots, columns", [(8, 1), (16, 3)], ids=["one column", "16 slots"])
def test_other_slots_and_columns(slots, columns):
    machine = replace(SMALL, slots=slots, columns=columns)
    check([Layer(machine, 26, 5, tiles=1, r=2, s=slots // 4)], seed=4)
    check([Layer(machine, 9, columns + 1, tiles=3)], seed=5)


@pytest.mark.parametrize("kind", ["multipliers", "tables"])
def test_machine_with_one_kind_of_products(kind):
    if kind == "multipliers":
        check([Layer(replace(SMALL, group=0), 18, 3, s=2)], seed=6)
    else:
        check([Layer(replace(SMALL, multipliers=False), 18, 3, group=2, products=True)], seed=7)


def test_half_is_kept_until_its_last_column_was_read():
    # One column a chunk and a tile a pass: the next chunk but one is fetched while this one is on its way.
    check([Layer(SMALL, 1, 16, r=1, tiles=1)], seed=8, idle=0)
    check([Layer(SMALL, 3, 40, r=8, s=1, tiles=1, hold=True)], seed=9, idle=0)
    check([Layer(SMALL, 4, 16, group=4, tiles=1, products=True)], seed=10, idle=0)


@pytest.mark.parametrize("seed", range(3))
def test_random_layers(seed):
    rng = np.random.default_rng(seed)
    machine = Machine(
        lanes=8 * int(rng.integers(1, 5)),
        slots=8,
        columns=int(rng.integers(1, 4)),
        pool_bytes=1 << 12,
        patch_words=64,
    )
    layers = []
    for _ in range(2):
        r = 1 << rng.integers(0, 4)
        s = 1 << rng.integers(0, 4 - int(r).bit_length() + 1)
        share = rng.choice(["rows", "clones", "parts"])
        divisors = [n for n in range(1, machine.groups + 1) if machine.groups % n == 0]
        m = int(rng.choice(divisors)) if share == "clones" else 1
        t = machine.groups if share == "parts" else 1
        columns = int(rng.integers(1, 90))
        batch = min(int(rng.integers(1, 2 * r * m * machine.columns + 2)), 4000 // (columns + 16))
        part_words = -(-columns // (8 * s * t))
        chunk = int(rng.integers(1, 64 // (r * s) + 1))
        layer = Layer(
            machine,
            columns,
            batch,
            r=int(r),
            s=int(s),
            m=m,
            t=t,
            passes=int(rng.choice([1, 2])),
            tiles=int(rng.integers(1, 3)),
            signed=bool(rng.integers(2)),
            chunk_words=chunk,
            hold=bool(rng.integers(2)) and part_words <= chunk,
        )
        layers.append(layer)
    check(layers, seed=seed + 100, idle=float(rng.choice([0, 0.3])))


@pytest.mark.parametrize(
    "layer",
    [
        Layer(SMALL, 100, 4, chunk_words=3),
        Layer(THREE, 80, 12, r=2, m=3, chunk_words=4),
        TABULATED["one weight"],
    ],
    ids=["one slot", "clones", "products"],
)
def test_no_round_waits_between_chunks_tiles_and_passes(layer):
    assert check([layer], seed=11, idle=0) == [0]


@pytest.mark.parametrize(
    "layer",
    [Layer(SMALL, 70, 2, chunk_words=7, tiles=1), Layer(THREE, 20, 7, r=4, s=2, t=3, tiles=2, hold=True)],
    ids=["chunks", "positions"],
)
def test_fetch_takes_the_clocks_it_states(layer):
    path, seen, ready = Path(layer.machine), [], []
    copies = layer.m * layer.t
    positions = copies * layer.r * layer.s * layer.machine.columns
    words = layer.descriptor["part_words"]
    chunk = layer.descriptor["chunk_words"]

    async def testbench(ctx):
        path.set_layer(ctx, layer)
        await ctx.tick().repeat(4)
        ctx.set(path.fetch.pass_start.valid, 1)
        assert ctx.get(path.fetch.pass_start.ready)
        for clock in range(1000):
            if ctx.get(path.fetch.patch.valid):
                seen.append((clock, ctx.get(path.fetch.filled)))
            if ctx.get(path.feed.ready):
                ready.append(clock)
            await ctx.tick()
            ctx.set(path.fetch.pass_start.valid, 0)

    simulate(path, testbench)
    tiles = 1 if layer.hold else layer.tiles
    assert len(seen) == tiles * words * positions
    assert seen[-1] == (path.fetch.cycles(positions, words, chunk, tiles), 1)
    # The first column waits for one word, not for its chunk.
    assert ready[0] == path.fetch.cycles(positions, 1, 1) + 2


def test_reset_in_the_middle_of_a_layer_leaves_nothing_behind():
    layer = Layer(SMALL, 40, 8, r=2, chunk_words=1)
    path = Path(layer.machine)

    async def testbench(ctx):
        rng = np.random.default_rng(12)
        memory = layer.memory(rng)
        await path.fill_pool(ctx, memory)
        for stop in (91, 230, 407):
            await run_layer(ctx, path, layer, memory, rng, idle=0.1, stop=stop)
            ctx.set(path.reset, 1)
            await ctx.tick()
            ctx.set(path.reset, 0)
        await run_layer(ctx, path, layer, memory, rng, idle=0.1)

    simulate(path, testbench)
