"""The word queue against its golden twin, segment after segment."""

import random

import pytest

from lane_rounds import segment
from simulation import simulate
from weightstream.golden.decode.word_queue import WordQueue as GoldenQueue
from weightstream.spec.machine import Machine
from weightstream_hw.decode.word_queue import WordQueue

MACHINE = Machine(lanes=1, slots=8, queue_words=256)


def write(word, last=0, final=0):
    return {"valid": 1, "data": word, "last": last, "final": final}


NOTHING = {"valid": 0, "data": 0x5555, "last": 1, "final": 1}


async def idle(ctx, queue, clocks=4):
    ctx.set(queue.words, NOTHING)
    ctx.set(queue.pop, 0)
    ctx.set(queue.prime, 0)
    await ctx.tick().repeat(clocks)


async def put(ctx, queue, words):
    for entry in words:
        ctx.set(queue.words, write(*entry))
        await ctx.tick()
    await idle(ctx, queue)


async def pulse(ctx, queue, name):
    ctx.set(getattr(queue, name), 1)
    await ctx.tick()
    await idle(ctx, queue)


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("arrival", [0.3, 1.0])
def test_segments_match_golden(density, arrival):
    chance = random.Random(f"{density} {arrival}")
    lengths = [0, 1, 2, 300, 0, 0, 17, 100]
    segments = [[chance.randrange(1 << 16) for _ in range(length)] for length in lengths]
    stream = [entry for words in segments for entry in segment(words)]
    queue = WordQueue(MACHINE)

    async def play(ctx):
        sent = loaded = 0

        async def clock(pop=0, prime=0):
            nonlocal sent, loaded
            arrives = sent < len(stream) and sent - loaded < 255 and chance.random() < arrival
            ctx.set(queue.words, write(*stream[sent]) if arrives else NOTHING)
            ctx.set(queue.pop, pop)
            ctx.set(queue.prime, prime)
            word = ctx.get(queue.word)
            await ctx.tick()
            sent += arrives
            loaded += (ctx.get(queue.taken) - loaded) % 256
            return word

        for words in segments:
            golden = GoldenQueue(words)
            while not ctx.get(queue.ready):
                # What is popped between segments is nothing.
                await clock(pop=loaded > 0 and chance.randrange(2))
            await clock(prime=1)
            await clock()
            # Some more than there are.
            while golden.taken < len(words) + 5:
                pop = ctx.get(queue.ok) and chance.random() < density
                if pop:
                    assert await clock(pop=1) == golden.take()
                else:
                    await clock()
            assert ctx.get(queue.at_end) and ctx.get(queue.ok)
        assert ctx.get(queue.taken) == len(stream) % 256

    simulate(queue, play)


@pytest.mark.parametrize("slots", [8, 16])
def test_ok_promises_six_rounds(slots):
    queue = WordQueue(Machine(lanes=1, slots=slots, queue_words=256))
    chance = random.Random(slots)

    async def play(ctx):
        held = 0
        await put(ctx, queue, [(0, 0)])
        await pulse(ctx, queue, "prime")
        for _ in range(400):
            if held < 255 and chance.random() < 0.55:
                await put(ctx, queue, [(chance.randrange(1 << 16), 0)])
                held += 1
            elif held:
                await pulse(ctx, queue, "pop")
                held -= 1
            assert ctx.get(queue.ok) or held < 8 * slots
            assert not ctx.get(queue.ok) or held > 6 * slots

    simulate(queue, play)


def test_queue_that_is_full_is_ok():
    queue = WordQueue(MACHINE)

    async def play(ctx):
        await put(ctx, queue, [(n, 0) for n in range(255)])
        assert ctx.get(queue.ok) and ctx.get(queue.ready)
        await pulse(ctx, queue, "prime")
        for n in range(190):
            assert ctx.get(queue.word) == n
            assert ctx.get(queue.ok)
            await pulse(ctx, queue, "pop")

    simulate(queue, play)


def test_markers_make_the_queue_ok_and_ready():
    queue = WordQueue(MACHINE)

    def states(ctx):
        return ctx.get(queue.at_end), ctx.get(queue.ok), ctx.get(queue.ready)

    async def play(ctx):
        assert ctx.get(queue.at_end)
        await idle(ctx, queue)
        assert states(ctx) == (1, 1, 0)
        # Two segments and the beginning of a third.
        await put(ctx, queue, [*segment([1, 2]), *segment([3]), (4, 0, 0)])
        for words in ([1, 2], [3]):
            assert states(ctx) == (1, 1, 1)
            await pulse(ctx, queue, "prime")
            for word in words:
                assert ctx.get(queue.word) == word
                assert states(ctx) == (0, 1, 0)
                await pulse(ctx, queue, "pop")
            assert ctx.get(queue.word) == 0
        # Of the third, the marker is missing.
        assert states(ctx) == (1, 1, 0)
        await pulse(ctx, queue, "prime")
        assert states(ctx) == (0, 0, 0)
        await put(ctx, queue, segment([5]))
        assert states(ctx) == (0, 1, 0)

    simulate(queue, play)


def test_ready_never_means_the_marker_of_this_segment():
    queue = WordQueue(MACHINE)

    async def play(ctx):
        await put(ctx, queue, segment([1, 2, 3]))
        await pulse(ctx, queue, "prime")
        ctx.set(queue.pop, 1)
        for _ in range(8):
            assert not ctx.get(queue.ready)
            assert ctx.get(queue.ok)
            await ctx.tick()

    simulate(queue, play)
