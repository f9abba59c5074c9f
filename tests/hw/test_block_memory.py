# amaranth: UnusedElaboratable=no
"""Block RAM behind an AXI bus, with a second user."""

import random

import pytest

from axi_memory import OKAY, Rules
from bus_bench import STALLS, contents, words_at
from simulation import simulate
from weightstream.spec.machine import Machine
from weightstream.spec.serial import MEMORY_BASE
from weightstream_hw.bridge.memory import DECERR, BlockMemory

MACHINE = Machine()
MEMORY_BYTES = 8192


async def read_burst(ctx, bus, address, beats, pauses, stall):
    """Return data and response of each beat of a burst."""
    ctx.set(bus.araddr, address)
    ctx.set(bus.arlen, beats - 1)
    ctx.set(bus.arvalid, 1)
    taken = False
    while not taken:
        *_, taken = await ctx.tick().sample(bus.arready)
    ctx.set(bus.arvalid, 0)
    got, rules = [], Rules("R")
    while not got or not got[-1][2]:
        ctx.set(bus.rready, pauses.random() >= stall)
        _, _, valid, ready, *beat = await ctx.tick().sample(
            bus.rvalid, bus.rready, bus.rdata, bus.rresp, bus.rlast
        )
        if rules.see(valid, ready, *beat):
            got.append(tuple(beat))
    ctx.set(bus.rready, 0)
    assert len(got) == beats
    return [beat[:2] for beat in got]


async def write_burst(ctx, bus, address, words, strobes, pauses, stall):
    """Write a burst; return its response."""
    ctx.set(bus.awaddr, address)
    ctx.set(bus.awlen, len(words) - 1)
    ctx.set(bus.awvalid, 1)
    taken = False
    while not taken:
        *_, taken = await ctx.tick().sample(bus.awready)
    ctx.set(bus.awvalid, 0)
    for at, word in enumerate(words):
        while pauses.random() < stall:
            await ctx.tick()
        ctx.set(bus.wdata, word)
        ctx.set(bus.wstrb, strobes)
        ctx.set(bus.wlast, at == len(words) - 1)
        ctx.set(bus.wvalid, 1)
        taken = False
        while not taken:
            *_, taken = await ctx.tick().sample(bus.wready)
        ctx.set(bus.wvalid, 0)
    ctx.set(bus.bready, 1)
    valid = False
    while not valid:
        *_, valid, response = await ctx.tick().sample(bus.bvalid, bus.bresp)
    ctx.set(bus.bready, 0)
    return response


async def ask_word(ctx, dut, word, data=None):
    """Write or read a word through the side entrance; return what was read."""
    ctx.set(dut.request.payload, {"write": data is not None, "word": word, "data": data or 0})
    ctx.set(dut.request.valid, 1)
    ready = False
    while not ready:
        *_, ready = await ctx.tick().sample(dut.request.ready)
    ctx.set(dut.request.valid, 0)
    if data is not None:
        return None
    answered = False
    while not answered:
        *_, answered, answer = await ctx.tick().sample(dut.answered, dut.answer)
    return answer


@pytest.mark.parametrize("stall", STALLS, ids=["free", "stalled"])
def test_memory_serves_bursts_and_single_words_side_by_side(stall):
    dut, seed = BlockMemory(MACHINE, MEMORY_BYTES), 11
    data = bytearray(MEMORY_BYTES)
    rng = random.Random(seed)
    mine, theirs = contents(2048, seed=1), contents(2048, seed=2)
    finished = []

    async def accelerator(ctx):
        pauses = random.Random(seed + 1)
        for at in range(0, 2048, 128):
            words = words_at(theirs, at, 16)
            address = MEMORY_BASE + 4096 + at
            assert await write_burst(ctx, dut.writes, address, words, 0xFF, pauses, stall) == OKAY
            got = await read_burst(ctx, dut.reads, address, 16, pauses, stall)
            assert got == [(word, OKAY) for word in words]
        finished.append("accelerator")

    async def bridge(ctx):
        pauses = random.Random(seed + 2)
        for word, value in enumerate(words_at(mine, 0, 256)):
            await ask_word(ctx, dut, word, value)
            for _ in range(pauses.randrange(4)):
                await ctx.tick()
            assert await ask_word(ctx, dut, word) == value
        finished.append("bridge")

    async def after(ctx):
        while len(finished) < 2:
            await ctx.tick()
        data[:2048], data[4096 : 4096 + 2048] = mine, theirs
        for _ in range(30):
            word = rng.randrange(0, 256) + 512 * rng.randrange(2)
            assert [await ask_word(ctx, dut, word)] == words_at(data, 8 * word, 1)

    simulate(dut, accelerator, bridge, after)


def test_strobes_are_kept_and_nothing_is_touched_outside():
    dut, pauses = BlockMemory(MACHINE, 4096), random.Random(1)
    end = MEMORY_BASE + 4096

    async def bench(ctx):
        await ask_word(ctx, dut, 511, 0x1111111111111111)
        await ask_word(ctx, dut, 0, 0x2222222222222222)
        response = await write_burst(ctx, dut.writes, end - 8, [2**64 - 1] * 2, 0x0F, pauses, 0.0)
        assert response == DECERR
        assert await ask_word(ctx, dut, 511) == 0x11111111FFFFFFFF
        assert await write_burst(ctx, dut.writes, MEMORY_BASE - 8, [5, 6], 0xFF, pauses, 0.0) == DECERR
        assert await ask_word(ctx, dut, 511) == 0x11111111FFFFFFFF
        assert await ask_word(ctx, dut, 0) == 6
        got = await read_burst(ctx, dut.reads, end - 8, 2, pauses, 0.0)
        assert [response for _, response in got] == [OKAY, DECERR] and got[0][0] == 0x11111111FFFFFFFF
        [(_, response)] = await read_burst(ctx, dut.reads, 0, 1, pauses, 0.0)
        assert response == DECERR

    simulate(dut, bench)


def test_a_burst_takes_a_clock_a_beat():
    dut, clocks = BlockMemory(MACHINE, 4096), []

    async def bench(ctx):
        ctx.set(dut.reads.rready, 1)
        ctx.set(dut.reads.araddr, MEMORY_BASE)
        ctx.set(dut.reads.arlen, 15)
        ctx.set(dut.reads.arvalid, 1)
        for clock in range(40):
            *_, valid = await ctx.tick().sample(dut.reads.rvalid)
            ctx.set(dut.reads.arvalid, 0)
            if valid:
                clocks.append(clock)

    simulate(dut, bench)
    assert clocks == list(range(3, 19))


@pytest.mark.parametrize(
    "machine, size, message",
    [
        (Machine(bus_bits=128), 4096, "^bus_bits must be 64, not 128$"),
        (MACHINE, 4000, "^size must be a multiple of 4096, not 4000$"),
        (MACHINE, 1 << 32, r"^size must leave the memory below 2\^32, not be 4294967296$"),
    ],
    ids=["bus", "page", "address"],
)
def test_memories_that_cannot_be_are_refused(machine, size, message):
    with pytest.raises(ValueError, match=message):
        BlockMemory(machine, size)
