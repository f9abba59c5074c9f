"""Copies between memory and the activation memory: which words, where they go, when they are done."""

import random

import pytest

from weightstream.spec.machine import Machine
from weightstream_hw.control.movers import BatchWalk, InputMover, OutputMover
from weightstream_hw.sim.bench import Bench

MACHINE = Machine(address_bits=40, pool_bytes=1 << 14)
ADDRESS = 0xCD_0000_4560
STALLS = pytest.mark.parametrize("stall", [0.0, 0.5], ids=["free", "stalled"])
BATCHES = pytest.mark.parametrize("batch,item_words", [(1, 1), (1, 40), (7, 5), (33, 1)])
NOTHING = pytest.mark.parametrize("batch,item_words", [(0, 5), (4, 0), (0, 0)])


def random_words(count, seed):
    rng = random.Random(seed)
    return [rng.getrandbits(64) for _ in range(count)]


async def move(ctx, dut, base, batch, item_words, size=None):
    """Start a mover; return the clocks until it is done. By default the buffer has just the bytes."""
    for name, value in (
        *(("address", ADDRESS), ("base", base), ("batch", batch), ("item_words", item_words)),
        ("size", 8 * batch * item_words if size is None else size),
    ):
        ctx.set(getattr(dut, name), value)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)
    clocks = 1
    while not (ctx.get(dut.done) or ctx.get(dut.error)):
        await ctx.tick()
        clocks += 1
    assert ctx.get(dut.error) == (moved(base, batch, item_words, size) < batch * item_words)
    assert ctx.get(dut.done) != ctx.get(dut.error)
    await ctx.tick()
    assert not (ctx.get(dut.done) or ctx.get(dut.error)), "one pulse"
    return clocks


def moved(_base, batch, item_words, size=None):
    """Return the words of a job: none if its buffer is too small, or a command cannot count them."""
    words = batch * item_words
    return words if size is None or words <= min(size // 8, (1 << 24) - 1) else 0


def command(payload):
    return payload.address, payload.words, payload.repeats


def hw_load(jobs, seed=0, stall=0.0):
    """Load batches (base, batch, items' words, perhaps size); return commands, writes, words, clocks."""
    counts = [moved(*job) for job in jobs]
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
    """Store batches (base, batch, items' words, perhaps size) from a pool of random words.

    Returns
    -------
    commands, words, pool, clocks of each job, the most words that were read and not yet taken
    """
    counts = [moved(*job) for job in jobs]
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


@pytest.mark.parametrize("batch,item_words", [(1, 1), (7, 5), (2, (1 << 18) - 1), (64, (1 << 18) - 1)])
def test_a_command_asks_for_all_words_of_a_batch(batch, item_words):
    dut = BatchWalk(MACHINE)
    bench = Bench(dut, seed=0)
    commands, clocks = bench.sink(dut.command, 2), []

    async def start(ctx):
        ctx.set(dut.finish, 1)
        for size in (8 * batch * item_words + 8, 8 * batch * item_words):
            clocks.append(await move(ctx, dut, 64, batch, item_words, size))

    bench.process(start)
    bench.run()
    assert [command(c) for c in commands] == [(ADDRESS, batch * item_words, 0)] * 2
    # One clock for the command, one for the end.
    assert clocks == [(batch + 2) + 1 + 1] * 2


MOST = (1 << 18) - 1
#: Jobs (base, batch, items' words, size) of more words than the buffer holds.
BEYOND = [
    *[(64, 1, 1, 0), (64, 1, 1, 7), (64, 3, 5, 119), (64, 7, 9, 8 * 62), (64, 2, 100, 8)],
    *[(64, batch, MOST, size) for batch in (65, 5000) for size in (8, 0xFFFF_FFF8)],
]


@STALLS
def test_no_input_is_read_behind_the_buffer(stall):
    jobs = [job for beyond in BEYOND for job in (beyond, (8, 2, 3, 48 + 7))]
    commands, writes, words, _ = hw_load(jobs, 5, stall)
    assert commands == [(ADDRESS, 6, 0)] * len(BEYOND)
    assert writes == [(1 + i % 6, word, 0xFF) for i, word in enumerate(words)]


@STALLS
def test_no_output_is_written_behind_the_buffer(stall):
    jobs = [job for beyond in BEYOND for job in (beyond, (8, 2, 3, 48 + 7))]
    commands, words, pool, _, _ = hw_store(jobs, 5, stall)
    assert commands == [(ADDRESS, 6, 0)] * len(BEYOND)
    assert words == pool[1:7] * len(BEYOND)


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
    addresses = [base // 8 + i for base, *rest in jobs for i in range(moved(base, *rest))]
    assert writes == [(address, word, 0xFF) for address, word in zip(addresses, words, strict=True)]


@NOTHING
def test_no_inputs_are_loaded_without_a_command(batch, item_words):
    commands, writes, _, _ = hw_load([(64, batch, item_words)])
    assert commands == writes == []


def test_inputs_move_a_word_a_clock():
    *_, [clocks] = hw_load([(0, 4, 50)])
    # To the command, to the first word, for the words, to the end.
    assert clocks == (4 + 2) + 1 + 4 * 50 + 1


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
