# amaranth: UnusedElaboratable=no
"""The read master and its readers, on a memory that pauses at random."""

import random

import pytest
from amaranth.hdl import Cat, Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from axi_memory import AxiMemory
from bus_bench import (
    BUS_BITS,
    LENGTHS,
    MACHINE,
    STALLS,
    STARTS,
    clocks_until,
    contents,
    machine_of,
    receive,
    send,
    words_at,
)
from simulation import simulate
from weightstream_hw.bus.axi import OUTSTANDING
from weightstream_hw.bus.bursts import BurstSplitter
from weightstream_hw.bus.read_master import ReadMaster
from weightstream_hw.bus.reader import LinearReader
from weightstream_hw.bus.stream_register import StreamRegister
from weightstream_hw.sim.bench import run_stream

# ---- helpers -------------------------------------------------------------------------------------


def expected_words(data, commands):
    """Return what a reader puts out for commands of (address, words, repeats)."""
    return [word for a, n, repeats in commands for _ in range(repeats + 1) for word in words_at(data, a, n)]


class Readers(wiring.Component):
    """A read master with readers as its clients."""

    def __init__(self, machine, depths):
        self.master = ReadMaster(machine, len(depths))
        self.readers = [LinearReader(machine, depth) for depth in depths]
        super().__init__({"clear": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.master = self.master
        for client, reader in enumerate(self.readers):
            m.submodules[f"reader_{client}"] = ResetInserter(self.clear)(reader)
            wiring.connect(m, reader.request, self.master.requests[client])
            m.d.comb += [
                reader.beat.eq(self.master.beat),
                reader.beat_valid.eq(self.master.beat_valid[client]),
            ]
        return m


def hw_read(machine, commands, memory, *, depth=64, seed=0, stall=0.0):
    """Run readers, one for each list of commands; return what each puts out, and the clocks."""
    dut = Readers(machine, [depth] * len(commands))
    results = [None] * len(commands)

    def source(client):
        payloads = [{"address": a, "words": n, "repeats": r} for a, n, r in commands[client]]

        async def bench(ctx):
            await send(ctx, dut.readers[client].command, payloads, seed + client, stall)

        return bench

    def sink(client):
        count = len(expected_words(memory.data, [(0, n, r) for _, n, r in commands[client]]))

        async def bench(ctx):
            results[client] = await receive(ctx, dut.readers[client].words, count, seed - client - 1, stall)

        return bench

    async def memory_bench(ctx):
        await memory.serve_reads(ctx, dut.master.bus)

    clients = range(len(commands))
    simulate(dut, *map(source, clients), *map(sink, clients), background=[memory_bench])
    return results


# ---- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stall", STALLS, ids=["free", "stalled"])
@pytest.mark.parametrize("bus_bits", BUS_BITS)
def test_words_of_a_range_come_in_order(bus_bits, stall):
    data = contents(8192, seed=1)
    commands = [(start, words, 0) for start in STARTS for words in LENGTHS]
    memory = AxiMemory(data, seed=2, stall=stall, delay=20)
    [(words, _)] = hw_read(machine_of(bus_bits), [commands], memory, stall=stall)
    assert words == expected_words(data, commands)


@pytest.mark.parametrize("bus_bits", BUS_BITS)
def test_ranges_are_repeated(bus_bits):
    data = contents(4096, seed=3)
    commands = [(16, 5, 3), (0, 0, 2), (128, 1, 4), (240, 40, 1), (0, 0, 0), (32, 2, 0)]
    memory = AxiMemory(data, seed=4, stall=0.3, delay=10)
    [(words, _)] = hw_read(machine_of(bus_bits), [commands], memory, stall=0.3)
    assert words == expected_words(data, commands)


@pytest.mark.parametrize("burst_beats", [4, 256])
@pytest.mark.parametrize("bus_bits", BUS_BITS)
def test_bursts_end_where_the_longest_would(bus_bits, burst_beats):
    data = contents(1 << 14, seed=5)
    memory = AxiMemory(data, longest=burst_beats, seed=6, delay=4)
    [(words, _)] = hw_read(machine_of(bus_bits, burst_beats), [[(48, 1200, 0)]], memory, depth=512)
    assert words == words_at(data, 48, 1200)
    beat_bytes, span = bus_bits // 8, burst_beats * bus_bits // 8
    ends = [address + beats * beat_bytes for address, beats in memory.read_bursts]
    assert all(end % span == 0 for end in ends[:-1])


@pytest.mark.parametrize("bus_bits", BUS_BITS)
def test_clients_get_their_own_words(bus_bits):
    data = contents(1 << 14, seed=7)
    numbers = random.Random(8)
    commands = [
        [(16 * numbers.randrange(800), numbers.randrange(60), numbers.randrange(3)) for _ in range(8)]
        for _ in range(3)
    ]
    memory = AxiMemory(data, seed=9, stall=0.4, delay=30)
    results = hw_read(machine_of(bus_bits), commands, memory, depth=32, seed=10, stall=0.4)
    for (words, _), ours in zip(results, commands, strict=True):
        assert words == expected_words(data, ours)


@pytest.mark.parametrize("bus_bits", BUS_BITS)
def test_reading_keeps_up_with_memory(bus_bits):
    data = contents(1 << 14, seed=11)
    commands = [(0, 300, 0), (64, 600, 1)]
    memory = AxiMemory(data, seed=12, delay=20)
    [(words, clocks)] = hw_read(machine_of(bus_bits), [commands], memory)
    assert words == expected_words(data, commands)
    a_word = max(1, 64 // bus_bits)
    # A beat is late only until the first of the longest delays is over.
    assert clocks[-1] - clocks[0] <= a_word * (len(words) - 1) + 40


def test_reads_are_outstanding_up_to_the_limit():
    memory = AxiMemory(contents(1 << 14, seed=13), delay=0)
    memory._due = lambda: memory.clock + 200
    hw_read(machine_of(64, 4), [[(0, 400, 0)]] * 2, memory, depth=128)
    assert memory.most_reads == OUTSTANDING


def test_first_client_goes_first():
    dut = ReadMaster(MACHINE, 3)
    order = []
    taken = Cat(request.valid & request.ready for request in dut.requests)

    async def bench(ctx):
        for client, request in enumerate(dut.requests):
            ctx.set(request.payload, {"address": 256 * client, "beats": 0})
            ctx.set(request.valid, 1)
        for _ in range(3):
            *_, ready = await ctx.tick().sample(taken)
            order.append(ready)
            ctx.set(dut.requests[ready.bit_length() - 1].valid, 0)
            ctx.set(dut.bus.arready, 1)

    simulate(dut, bench)
    assert order == [1, 2, 4]


@pytest.mark.parametrize("bus_bits", BUS_BITS)
def test_read_latencies_are_as_stated(bus_bits):
    dut = Readers(machine_of(bus_bits), [16])
    [reader], master = dut.readers, dut.master

    async def bench(ctx):
        ctx.set(reader.command.payload, {"address": 64, "words": 64 // 32})
        ctx.set(reader.command.valid, 1)
        await ctx.tick()
        ctx.set(reader.command.valid, 0)
        assert await clocks_until(ctx, reader.request.valid) == reader.request_latency
        await ctx.tick()
        assert await clocks_until(ctx, master.bus.arvalid) == master.latency
        ctx.set(master.bus.arready, 1)
        ctx.set(master.bus.rvalid, 1)
        for _ in range(max(1, 64 // bus_bits)):
            await ctx.tick()
        assert await clocks_until(ctx, reader.words.valid) == master.latency + reader.latency

    simulate(dut, bench)


def test_read_error_names_its_burst():
    data = contents(1024, seed=14)
    memory = AxiMemory(data, seed=15, bad={128 + 24, 512})
    dut = Readers(MACHINE, [32])
    errors = []

    async def watch(ctx):
        async for *_, error, address in ctx.tick().sample(dut.master.error, dut.master.error_address):
            errors.extend([address] * error)

    async def bench(ctx):
        await send(ctx, dut.readers[0].command, [{"address": 0, "words": 128}], 0, 0)
        words, _ = await receive(ctx, dut.readers[0].words, 128, 0, 0)
        assert words == words_at(data, 0, 128)

    async def memory_bench(ctx):
        await memory.serve_reads(ctx, dut.master.bus)

    simulate(dut, bench, background=[watch, memory_bench])
    assert errors == [128, 512]


@pytest.mark.parametrize("after", [5, 12, 30, 47])
def test_flush_swallows_what_is_outstanding(after):
    data = contents(4096, seed=16)
    memory = AxiMemory(data, seed=17, stall=0.3, delay=40)
    dut = Readers(MACHINE, [64, 64])

    async def bench(ctx):
        for reader in dut.readers:
            ctx.set(reader.command.payload, {"address": 0, "words": 500})
            ctx.set(reader.command.valid, 1)
        await ctx.tick().repeat(after)
        ctx.set(dut.master.flush, 1)
        await ctx.tick().until(~dut.master.bus.arvalid)
        bursts = len(memory.read_bursts)
        await ctx.tick().until(dut.master.idle)
        for reader in dut.readers:
            ctx.set(reader.command.valid, 0)
        ctx.set(dut.clear, 1)
        await ctx.tick().repeat(50)
        assert ctx.get(dut.master.idle)
        assert bursts == len(memory.read_bursts), "a burst was begun after the flush"
        ctx.set(dut.clear, 0)
        ctx.set(dut.master.flush, 0)
        for reader in dut.readers:
            await send(ctx, reader.command, [{"address": 1024, "words": 99}], 0, 0)
            words, _ = await receive(ctx, reader.words, 99, 0, 0)
            assert words == words_at(data, 1024, 99)

    async def memory_bench(ctx):
        await memory.serve_reads(ctx, dut.master.bus)

    simulate(dut, bench, background=[memory_bench])


@pytest.mark.parametrize("stall", STALLS)
def test_stream_register_passes_all_on_in_order(stall):
    dut = StreamRegister(64)
    words = [random.Random(18).randrange(1 << 64) for _ in range(100)]
    passed, clocks = run_stream(dut, words, len(words), seed=19, stall=stall)
    assert passed == words
    assert (clocks == len(words) + dut.latency) == (stall == 0)


# ---- refusals ------------------------------------------------------------------------------------


def test_bad_parameters_say_what():
    with pytest.raises(ValueError, match=r"^clients must be positive, not 0$"):
        ReadMaster(MACHINE, 0)
    with pytest.raises(ValueError, match=r"^depth must be a power of two, at least 8, not 20$"):
        LinearReader(MACHINE, 20)
    with pytest.raises(ValueError, match=r"^burst_beats must be a power of two, at most 16, not 32$"):
        BurstSplitter(MACHINE, 32)
