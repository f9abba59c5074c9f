"""What the test benches of the bus share: machines, memory contents, sources and sinks of streams."""

import random
from dataclasses import replace

from weightstream.spec.machine import Machine

MACHINE = Machine()
BUS_BITS = [32, 64, 128]
STALLS = [0.0, 0.5]
#: Where ranges begin: at a page, at the last beats of one, in the middle of a burst.
STARTS = [0, 16, 4096 - 16, 4096 - 128, 4096 + 48]
LENGTHS = [1, 2, 3, 15, 16, 17, 33, 100]


def machine_of(bus_bits=64, burst_beats=16):
    """Return a machine with another bus."""
    return replace(MACHINE, bus_bits=bus_bits, burst_beats=burst_beats)


def contents(count, seed):
    """Return random bytes."""
    return random.Random(seed).randbytes(count)


def words_at(data, address, words):
    """Return words of 64 bits."""
    return [int.from_bytes(data[a : a + 8], "little") for a in range(address, address + 8 * words, 8)]


async def send(ctx, stream, payloads, seed, stall):
    """Give payloads to a stream, with pauses."""
    pauses = random.Random(seed)
    for payload in payloads:
        while pauses.random() < stall:
            await ctx.tick()
        ctx.set(stream.payload, payload)
        ctx.set(stream.valid, 1)
        ready = False
        while not ready:
            *_, ready = await ctx.tick().sample(stream.ready)
        ctx.set(stream.valid, 0)


async def receive(ctx, stream, count, seed, stall, limit=20000):
    """Take payloads from a stream, with pauses; return them, and the clock of each."""
    pauses = random.Random(seed)
    got, clocks, held = [], [], None
    for clock in range(limit):
        if len(got) == count:
            break
        ctx.set(stream.ready, pauses.random() >= stall)
        *_, valid, ready, payload = await ctx.tick().sample(stream.valid, stream.ready, stream.payload)
        assert held is None or (valid and payload == held), "a payload changed while it was stalled"
        held = payload if valid and not ready else None
        if valid and ready:
            got.append(payload)
            clocks.append(clock)
    ctx.set(stream.ready, 0)
    assert len(got) == count, f"{len(got)} of {count} after {limit} clocks"
    return got, clocks


async def clocks_until(ctx, signal):
    """Return the clocks from the one that was just sampled to one in which a signal is set."""
    clocks = 1
    while not ctx.get(signal):
        await ctx.tick()
        clocks += 1
    return clocks


async def offer_bytes(ctx, dut, text, pauses, valid="valid"):
    """Give a block bytes that it cannot stall."""
    for byte in text:
        while pauses.random() < 0.3:
            await ctx.tick()
        ctx.set(dut.byte, byte)
        ctx.set(getattr(dut, valid), 1)
        await ctx.tick()
        ctx.set(getattr(dut, valid), 0)
