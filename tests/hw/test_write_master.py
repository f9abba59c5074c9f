"""The write master, on a memory that pauses at random and is guarded on both sides."""

import random

import pytest

from axi_memory import AxiMemory
from bus_bench import BUS_BITS, LENGTHS, MACHINE, STALLS, STARTS, clocks_until, machine_of, send
from simulation import simulate
from weightstream_hw.bus.axi import OUTSTANDING
from weightstream_hw.bus.write_master import WriteMaster

# ---- helpers -------------------------------------------------------------------------------------


def hw_write(machine, commands, memory, *, seed=0, stall=0.0, flush_after=None):
    """Write words to ranges, commands of (address, words); return (clocks, pulses of done, errors)."""
    dut = WriteMaster(machine)
    ranges = [{"address": address, "words": len(words)} for address, words in commands]
    every = [word for _, words in commands for word in words]
    clocks, pulses, errors, clock = [], [], [], [0]

    async def watch(ctx):
        signals = (dut.done, dut.error, dut.error_address, dut.data.valid & dut.data.ready)
        async for *_, done, error, address, word in ctx.tick().sample(*signals):
            clock[0] += 1
            pulses.extend([clock[0]] * done)
            errors.extend([address] * error)
            clocks.extend([clock[0]] * word)

    async def give_ranges(ctx):
        await send(ctx, dut.command, ranges, seed, stall)

    async def finish(ctx):
        await give_ranges(ctx)
        await ctx.tick().until(dut.idle)
        await ctx.tick()

    async def give_words(ctx):
        await send(ctx, dut.data, every, seed + 1, stall)

    async def cut_off(ctx):
        await ctx.tick().repeat(flush_after)
        ctx.set(dut.flush, 1)
        await ctx.tick().until(dut.idle)
        await ctx.tick().repeat(30)
        assert ctx.get(dut.idle)

    async def memory_bench(ctx):
        await memory.serve_writes(ctx, dut.bus)

    if flush_after is None:
        simulate(dut, finish, give_words, background=[watch, memory_bench])
    else:
        simulate(dut, cut_off, background=[watch, memory_bench, give_ranges, give_words])
    return clocks, pulses, errors


def written(size, commands):
    """Return what memory of 0xAA bytes holds after commands."""
    data = bytearray(b"\xaa" * size)
    for address, words in commands:
        for index, word in enumerate(words):
            data[address + 8 * index : address + 8 * index + 8] = word.to_bytes(8, "little")
    return data


def some_words(count, seed):
    """Return random words of 64 bits."""
    numbers = random.Random(seed)
    return [numbers.getrandbits(64) for _ in range(count)]


# ---- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stall", STALLS, ids=["free", "stalled"])
@pytest.mark.parametrize("bus_bits", BUS_BITS)
def test_words_are_written_and_nothing_else(bus_bits, stall):
    for start in STARTS:
        address, commands = start, []
        for index, length in enumerate(LENGTHS):
            commands.append((address, some_words(length, seed=index)))
            address += -(-8 * length // 16) * 16 + 16 * (index % 3)
        memory = AxiMemory(b"\xaa" * 8192, seed=20, stall=stall, delay=20)
        _, pulses, errors = hw_write(machine_of(bus_bits), commands, memory, stall=stall)
        assert memory.data == written(8192, commands)
        assert pulses and not errors


@pytest.mark.parametrize("bus_bits", BUS_BITS)
def test_writing_keeps_up_with_its_words(bus_bits):
    commands = [(48, some_words(300, seed=21))]
    memory = AxiMemory(bytes(4096), seed=22, delay=30)
    clocks, pulses, _ = hw_write(machine_of(bus_bits), commands, memory)
    assert clocks[-1] - clocks[0] == max(1, 64 // bus_bits) * (len(clocks) - 1)
    assert len(pulses) == 1 and pulses[0] > clocks[-1]


@pytest.mark.parametrize("bus_bits", BUS_BITS)
def test_write_latencies_are_as_stated(bus_bits):
    dut = WriteMaster(machine_of(bus_bits))

    async def bench(ctx):
        ctx.set(dut.command.payload, {"address": 64, "words": 2})
        ctx.set(dut.command.valid, 1)
        await ctx.tick()
        ctx.set(dut.command.valid, 0)
        assert await clocks_until(ctx, dut.bus.awvalid) == dut.latency
        ctx.set(dut.data.valid, 1)
        assert not ctx.get(dut.bus.wvalid)
        await ctx.tick().repeat(max(1, bus_bits // 64))
        assert ctx.get(dut.bus.wvalid)

    simulate(dut, bench)


def test_done_waits_for_every_answer():
    memory = AxiMemory(bytes(4096), seed=23)
    memory.random.randint = lambda low, high: 150
    clocks, pulses, _ = hw_write(MACHINE, [(0, some_words(64, seed=24)), (1024, [5])], memory)
    assert len(pulses) == 1 and pulses[0] >= clocks[-1] + 150
    assert memory.most_writes == 5


def test_empty_range_writes_nothing():
    memory = AxiMemory(b"\xaa" * 256, seed=25)
    hw_write(MACHINE, [(0, []), (16, [1, 2]), (64, []), (128, [3])], memory)
    assert memory.data == written(256, [(16, [1, 2]), (128, [3])])


def test_writes_are_outstanding_up_to_the_limit():
    memory = AxiMemory(bytes(4096), seed=26)
    memory.random.randint = lambda low, high: 300
    memory.longest = 4
    hw_write(machine_of(64, 4), [(0, some_words(100, seed=27))], memory)
    assert memory.most_writes == OUTSTANDING


def test_write_error_names_its_burst():
    memory = AxiMemory(bytes(4096), seed=28, bad={256 + 64})
    *_, errors = hw_write(MACHINE, [(0, some_words(100, seed=29))], memory)
    assert errors == [256]


@pytest.mark.parametrize("bus_bits", BUS_BITS)
@pytest.mark.parametrize("flush_after", [3, 4, 5, 6, 9, 20, 41])
def test_flush_completes_the_burst_without_writing(bus_bits, flush_after):
    commands = [(16, some_words(101, seed=30))]
    memory = AxiMemory(b"\xaa" * 4096, seed=31, stall=0.4, delay=20)
    hw_write(machine_of(bus_bits), commands, memory, stall=0.4, flush_after=flush_after)
    whole = written(4096, commands)
    size = next((i for i, (a, b) in enumerate(zip(memory.data, whole, strict=True)) if a != b), len(whole))
    assert memory.data[size:] == b"\xaa" * (4096 - size), "a word is missing before one that was written"
