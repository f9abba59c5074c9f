"""Copies between memory and the activation memory: which words, where they go, when they are done."""

import random

import pytest

from simulation import simulate
from weightstream.spec.machine import Machine
from weightstream_hw.control.movers import BatchWords, InputMover, OutputMover
from weightstream_hw.sim.bench import Bench

MACHINE = Machine(address_bits=40, pool_bytes=1 << 14)
ADDRESS = 0xCD_0000_4560
STALLS = pytest.mark.parametrize("stall", [0.0, 0.5], ids=["free", "stalled"])
BATCHES = pytest.mark.parametrize("batch,item_words", [(1, 1), (1, 40), (7, 5), (33, 1)])
NOTHING = pytest.mark.parametrize("batch,item_words", [(0, 5), (4, 0), (0, 0)])


def random_words(count, seed):
    rng = random.Random(seed)
    return [rng.getrandbits(64) for _ in range(count)]


async def move(ctx, dut, base, batch, item_words):
    """Start a mover; return the clocks until it is done."""
    for name, value in (("address", ADDRESS), ("base", base), ("batch", batch), ("item_words", item_words)):
        ctx.set(getattr(dut, name), value)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)
    clocks = 1
    while not ctx.get(dut.done):
        await ctx.tick()
        clocks += 1
    await ctx.tick()
    assert not ctx.get(dut.done), "one pulse"
    return clocks


def command(payload):
    return payload.address, payload.words, payload.repeats


def hw_load(jobs, seed=0, stall=0.0):
    """Load batches (base, batch, items' words); return commands, writes, words, clocks of each."""
    counts = [batch * item_words for _, batch, item_words in jobs]
    dut = InputMover(MACHINE)
    bench = Bench(dut, seed=seed, stall=stall)
    words = random_words(sum(counts), seed)
    bench.source(dut.words, words)
    commands = bench.sink(dut.command, sum(count > 0 for count in counts))
    writes = bench.sink(dut.write, sum(counts))
    clocks = []

    async def start(ctx):
        for job, end in zip(jobs, [sum(counts[: i + 1]) for i in range(len(counts))], strict=True):
            clocks.append(await move(ctx, dut, *job))
            assert len(writes) == end, "done before all was written"

    bench.process(start)
    bench.run()
    return [command(c) for c in commands], [(w.address, w.data, w.mask) for w in writes], words, clocks


def hw_store(jobs, seed=0, stall=0.0, latency=2, answer=7, pool_stall=None):
    """Store batches (base, batch, items' words) from a pool of random words.

    Returns
    -------
    commands, words, pool, clocks of each job, the most words that were read and not yet taken
    """
    counts = [batch * item_words for _, batch, item_words in jobs]
    dut = OutputMover(MACHINE)
    bench = Bench(dut, seed=seed, stall=stall)
    commands = bench.sink(dut.command, sum(count > 0 for count in counts))
    words = bench.sink(dut.words, sum(counts))
    pool = random_words(MACHINE.pool_bytes // 8, seed)
    ends = [sum(counts[: i + 1]) for i in range(len(counts)) if counts[i]]
    clocks, most = [], 0

    async def serve(ctx):
        nonlocal most
        rng = random.Random(seed)
        pipe, asked, held, written = [None] * latency, 0, None, []
        while True:
            ready = rng.random() >= (stall if pool_stall is None else pool_stall)
            ctx.set(dut.read_ready, ready)
            data = pipe.pop(0)
            ctx.set(dut.read_data_valid, data is not None)
            ctx.set(dut.read_data, pool[data] if data is not None else rng.getrandbits(64))
            # The write master says so when memory has acknowledged the last burst.
            now = len(words)
            written.append(bool(ends) and now == ends[0])
            pulse = len(written) > answer and written[-answer]
            if pulse:
                ends.pop(0)
                written.clear()
            ctx.set(dut.written, pulse)
            *_, valid, address = await ctx.tick().sample(dut.read_valid, dut.read_address)
            assert held is None or (valid and address == held), "a read changed while it was stalled"
            held = address if valid and not ready else None
            pipe.append(address >> 3 if valid and ready else None)
            assert address % 8 == 0
            asked += bool(valid and ready)
            most = max(most, asked - len(words))

    async def start(ctx):
        done = 0
        for job, count in zip(jobs, counts, strict=True):
            clocks.append(await move(ctx, dut, *job))
            done += count
            assert len(words) == done, "done before all was written"

    bench.process(serve, background=True)
    bench.process(start)
    bench.run()
    return [command(c) for c in commands], words, pool, clocks, most


# ---- how many ------------------------------------------------------------------------------------


def test_words_of_a_batch_are_counted():
    dut = BatchWords()
    rng = random.Random(1)
    factors = [
        (1, 1),
        (0, 9),
        (9, 0),
        (2, (1 << 18) - 1),
        *((rng.randrange(64), rng.randrange(999)) for _ in "abc"),
    ]

    async def bench(ctx):
        for batch, item_words in factors:
            ctx.set(dut.batch, batch)
            ctx.set(dut.item_words, item_words)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            clocks = 1
            while not ctx.get(dut.done):
                await ctx.tick()
                clocks += 1
            assert clocks == batch + 2
            for _ in range(3):
                assert ctx.get(dut.words) == batch * item_words
                await ctx.tick()
                assert not ctx.get(dut.done)

    simulate(dut, bench)


# ---- inputs --------------------------------------------------------------------------------------


@STALLS
@BATCHES
def test_inputs_go_to_the_words_from_their_base_on(batch, item_words, stall):
    commands, writes, words, _ = hw_load([(0x380, batch, item_words)], batch, stall)
    assert commands == [(ADDRESS, batch * item_words, 0)]
    assert writes == [(0x70 + i, word, 0xFF) for i, word in enumerate(words)]


@STALLS
def test_inputs_of_jobs_do_not_mix(stall):
    jobs = [(0, 3, 4), (64, 0, 4), (128, 2, 9), (256, 5, 0), (8, 1, 1)]
    commands, writes, words, _ = hw_load(jobs, 2, stall)
    assert commands == [(ADDRESS, count, 0) for count in (12, 18, 1)]
    addresses = [base // 8 + i for base, batch, item_words in jobs for i in range(batch * item_words)]
    assert writes == [(address, word, 0xFF) for address, word in zip(addresses, words, strict=True)]


@NOTHING
def test_no_inputs_are_loaded_without_a_command(batch, item_words):
    commands, writes, _, _ = hw_load([(64, batch, item_words)])
    assert commands == writes == []


def test_inputs_move_a_word_a_clock():
    *_, [clocks] = hw_load([(0, 4, 50)])
    # To the command, to the first word, for the words, to the end.
    assert clocks == (4 + 3) + 1 + 4 * 50 + 1


# ---- outputs -------------------------------------------------------------------------------------


@STALLS
@BATCHES
def test_outputs_are_the_words_from_their_base_on(batch, item_words, stall):
    commands, words, pool, _, _ = hw_store([(0x380, batch, item_words)], batch, stall)
    assert commands == [(ADDRESS, batch * item_words, 0)]
    assert words == pool[0x70 : 0x70 + batch * item_words]


@STALLS
def test_outputs_of_jobs_do_not_mix(stall):
    jobs = [(0, 3, 4), (64, 0, 4), (128, 2, 90), (256, 5, 0), (8, 1, 1)]
    commands, words, pool, _, _ = hw_store(jobs, 3, stall)
    assert commands == [(ADDRESS, count, 0) for count in (12, 180, 1)]
    assert words == pool[:12] + pool[16 : 16 + 180] + pool[1:2]


@NOTHING
def test_no_outputs_are_stored_without_a_command(batch, item_words):
    commands, words, *_ = hw_store([(64, batch, item_words)])
    assert commands == words == []


@pytest.mark.parametrize("answer", [1, 300])
def test_a_store_is_done_when_memory_has_acknowledged_it(answer):
    *_, [clocks], _ = hw_store([(0, 2, 10)], answer=answer)
    assert clocks >= 20 + answer


def test_outputs_move_a_word_a_clock():
    *_, [clocks], _ = hw_store([(0, 4, 50)], answer=1)
    # To the first read, for the words, through pool and queue and back from the master.
    assert clocks <= (4 + 4) + 4 * 50 + 10


@pytest.mark.parametrize("latency", [1, 2, 6])
def test_a_bus_that_stalls_loses_no_word(latency):
    _, words, pool, _, most = hw_store([(0, 1, 300)], 4, 0.8, latency, pool_stall=0)
    assert words == pool[:300]
    assert 16 < most <= 32
