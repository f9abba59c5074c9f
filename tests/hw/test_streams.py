# amaranth: UnusedElaboratable=no
"""Stream fetch and word distributor together, between a memory and queues that are modelled."""

import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from lane_rounds import segment
from simulation import simulate
from weightstream.spec.machine import PRESETS, Machine
from weightstream_hw.decode.streams import StreamFetch
from weightstream_hw.decode.words import WordDistributor, burst_beats, words_a_beat

IMAGE = 0x1230F50
MACHINES = {
    "pynq_z2": PRESETS["pynq_z2"],
    "ecp5_85f": PRESETS["ecp5_85f"],
    "tiny": PRESETS["tiny"],
    "one_lane": Machine(lanes=1, bus_bits=32, queue_words=256),
    "small_queues": Machine(lanes=4, slots=16, bus_bits=128, queue_words=256, burst_beats=256),
    "short_bursts": Machine(lanes=16, bus_bits=32, burst_beats=4),
}


@dataclass
class Layer:
    """Words of each stored lane, and how often they are read."""

    lanes: list[list[int]]
    passes: int = 1
    offsets: list[int] = field(default_factory=list)


@dataclass
class Memory:
    """An image of layers, answering in order."""

    machine: Machine
    rng: random.Random
    latency: int
    gaps: float
    data: bytearray = field(default_factory=lambda: bytearray(64))
    queue: deque = field(default_factory=deque)
    requests: int = 0

    def place(self, layer: Layer):
        """Put a layer's lanes behind what is there, one after another."""
        self.data += self.rng.randbytes(2 * self.rng.randrange(40))
        for words in layer.lanes:
            layer.offsets.append(len(self.data))
            self.data += b"".join(word.to_bytes(2, "little") for word in words)

    def ask(self, clock: int, address: int, beats: int):
        size = self.machine.bus_bytes
        assert address % size == 0
        assert beats <= burst_beats(self.machine) <= self.machine.burst_beats
        assert address // 4096 == (address + beats * size - 1) // 4096
        first = address - IMAGE
        assert 0 <= first and first + (beats - 1) * size < len(self.data), "nothing of the image is there"
        for beat in range(beats):
            due = clock + self.latency + self.rng.randrange(1 + int(20 * self.gaps))
            content = self.data[first + beat * size : first + (beat + 1) * size]
            self.queue.append((due, int.from_bytes(content, "little"), beat == beats - 1))
        self.requests += 1

    def answer(self, clock: int):
        """Return the beat of this clock, or None."""
        if self.queue and self.queue[0][0] <= clock and self.rng.random() >= self.gaps:
            return self.queue.popleft()[1:]
        return None


def expected_words(machine: Machine, layers: list[Layer]) -> list[list[tuple[int, int, int]]]:
    lanes = [[] for _ in range(machine.lanes)]
    for layer in layers:
        for lane, own in enumerate(lanes):
            own += segment(layer.lanes[lane % len(layer.lanes)]) * layer.passes
    return lanes


def hw_fetch(machine, layers, seed, *, gaps=0.0, latency=20, pop=lambda rng, lane, held: True):
    """Return what each lane received, and the clock in which each word came."""
    fetch, distributor = StreamFetch(machine), WordDistributor(machine)
    m = Module()
    m.submodules += [fetch, distributor]
    m.d.comb += [
        distributor.tag.eq(fetch.tag),
        distributor.tag_valid.eq(fetch.tag_valid),
        fetch.released.eq(distributor.released),
    ]
    rng = random.Random(seed)
    memory = Memory(machine, rng, latency, gaps)
    for layer in layers:
        memory.place(layer)
    received = [[] for _ in range(machine.lanes)]
    held, taken = [0] * machine.lanes, [0] * machine.lanes
    arrivals = []
    wanted = sum(map(len, expected_words(machine, layers)))

    async def program(ctx):
        for layer in layers:
            command = {"image": IMAGE, "stored_lanes": len(layer.lanes), "repeats": layer.passes - 1}
            ctx.set(fetch.command.payload, command)
            ctx.set(fetch.command.valid, 1)
            await ctx.tick().until(fetch.command.ready)
            ctx.set(fetch.command.valid, 0)
            for offset, words in zip(layer.offsets, layer.lanes, strict=True):
                while rng.random() < gaps:
                    await ctx.tick()
                ctx.set(fetch.table.payload, len(words) << 32 | offset)
                ctx.set(fetch.table.valid, 1)
                await ctx.tick().until(fetch.table.ready)
                ctx.set(fetch.table.valid, 0)

    async def bench(ctx):
        clock = count = quiet = 0
        request = fetch.request
        while count < wanted:
            ctx.set(request.ready, rng.random() >= gaps)
            beat = memory.answer(clock)
            ctx.set(distributor.beat_valid, beat is not None)
            if beat:
                ctx.set(distributor.beat, {"data": beat[0], "last": beat[1]})
            if ctx.get(request.valid) and ctx.get(request.ready):
                memory.ask(clock, ctx.get(request.p.address), ctx.get(request.p.beats) + 1)
            quiet += 1
            for bus, word in enumerate(distributor.words):
                if not ctx.get(word.valid):
                    continue
                quiet = 0
                within = bus + machine.word_buses * ctx.get(word.lane)
                for group in range(machine.groups):
                    if ctx.get(word.groups) >> group & 1:
                        lane = group * machine.group_lanes + within
                        received[lane].append((ctx.get(word.data), ctx.get(word.last), ctx.get(word.final)))
                        held[lane] += 1
                        assert held[lane] < machine.queue_words, "a queue runs over"
                        count += 1
                        arrivals.append(clock)
            for lane in range(machine.lanes):
                if held[lane] and pop(rng, lane, held[lane]):
                    held[lane] -= 1
                    taken[lane] = (taken[lane] + 1) % machine.queue_words
                    ctx.set(fetch.taken[lane], taken[lane])
            assert quiet < 5000, f"{count} of {wanted} words came"
            clock += 1
            await ctx.tick()
        # Nothing more comes, and the next layer could begin.
        await ctx.tick().repeat(100)
        assert ctx.get(fetch.command.ready)
        assert not any(ctx.get(word.valid) for word in distributor.words)

    simulate(m, bench, watching=[program])
    return received, arrivals


def random_lanes(seed, lengths):
    rng = random.Random(seed)
    return [[rng.randrange(1 << 16) for _ in range(length)] for length in lengths]


def random_layer(rng, stored, most, passes=1):
    lengths = [rng.choice([0, 1, rng.randrange(20), rng.randrange(most + 1)]) for _ in range(stored)]
    return Layer([[rng.randrange(1 << 16) for _ in range(n)] for n in lengths], passes)


@pytest.mark.parametrize("gaps", [0.0, 0.4], ids=["free", "stalled"])
@pytest.mark.parametrize("name", MACHINES)
def test_every_lane_gets_its_words(name, gaps):
    machine = MACHINES[name]
    rng = random.Random(1)
    most = 4000 // machine.lanes
    stored = machine.lanes if machine.groups == 1 else machine.group_lanes
    layers = [
        random_layer(rng, machine.lanes, most),
        random_layer(rng, stored, most // 2, passes=3),
        random_layer(rng, machine.lanes, 10, passes=2),
    ]
    received, _ = hw_fetch(machine, layers, seed=2, gaps=gaps)
    assert received == expected_words(machine, layers)


def test_full_queues_hold_their_lane_back_only():
    machine = Machine(lanes=16, queue_words=256)
    layers = [
        Layer(random_lanes(3, [350] * 8), 2),
        Layer(random_lanes(4, range(300, 316))),
    ]
    received, _ = hw_fetch(
        machine,
        layers,
        seed=5,
        gaps=0.1,
        pop=lambda rng, lane, held: rng.random() < (0.1 if lane in (3, 9) else 0.4),
    )
    assert received == expected_words(machine, layers)


def test_clones_wait_for_the_slowest():
    machine = Machine(lanes=24, queue_words=256)
    layer = Layer(random_lanes(5, [600] * 8))
    received, _ = hw_fetch(
        machine, [layer], seed=6, pop=lambda rng, lane, held: lane != 17 or rng.random() < 0.1
    )
    assert received == expected_words(machine, [layer])


def test_lanes_without_words_get_markers():
    machine = PRESETS["ecp5_85f"]
    layer = Layer([[] for _ in range(8)], passes=5)
    received, _ = hw_fetch(machine, [layer], seed=7)
    assert received == [segment([]) * 5] * 8


@pytest.mark.parametrize("name", ["small_queues", "tiny", "one_lane"])
def test_lanes_that_need_many_words_to_go_on_get_them(name):
    machine = MACHINES[name]
    layer = Layer(random_lanes(8, [500] * machine.lanes), 2)
    received, _ = hw_fetch(machine, [layer], seed=9, pop=lambda rng, lane, held: held >= 8 * machine.slots)
    assert received == expected_words(machine, [layer])


def test_a_queue_has_no_room_for_a_marker_behind_its_last_word():
    machine = MACHINES["one_lane"]
    layer = Layer(random_lanes(12, [machine.queue_words - 1]))
    burst = burst_beats(machine) * words_a_beat(machine)
    received, _ = hw_fetch(
        machine,
        [layer],
        seed=15,
        pop=lambda rng, lane, held: held >= machine.queue_words - burst and rng.random() < 0.002,
    )
    assert received == expected_words(machine, [layer])


@pytest.mark.parametrize("name", ["pynq_z2", "ecp5_85f", "tiny", "one_lane"])
def test_words_come_as_fast_as_memory_sends_them(name):
    machine = MACHINES[name]
    layer = Layer(random_lanes(10, [1200] * machine.lanes))
    _, arrivals = hw_fetch(machine, [layer], seed=11, latency=25)
    # The first bursts wait for memory; at the end, lanes run out of words one after another.
    first, last = len(arrivals) // 5, len(arrivals) * 4 // 5
    rate = (last - first) / (arrivals[last] - arrivals[first])
    most = min(words_a_beat(machine), machine.word_buses)
    assert rate >= 0.97 * most, f"{rate:.2f} of {most} words a clock"


def test_latencies_match_statement():
    machine = PRESETS["ecp5_85f"]
    fetch, distributor = StreamFetch(machine), WordDistributor(machine)
    m = Module()
    m.submodules += [fetch, distributor]
    asked, words = [], []
    clock = loaded = beat = 0

    async def count(ctx):
        nonlocal clock
        async for _ in ctx.tick():
            clock += 1

    async def bench(ctx):
        nonlocal loaded, beat
        ctx.set(fetch.request.ready, 1)
        ctx.set(fetch.command.payload, {"image": 0, "stored_lanes": 8, "repeats": 0})
        ctx.set(fetch.command.valid, 1)
        await ctx.tick().until(fetch.command.ready)
        assert clock == machine.lanes + 1
        ctx.set(fetch.command.valid, 0)
        ctx.set(fetch.table.valid, 1)
        for lane in range(8):
            ctx.set(fetch.table.payload, 1000 << 32 | 4096 * lane)
            assert ctx.get(fetch.table.ready)
            loaded = clock
            await ctx.tick()
        while len(asked) < 8:
            if ctx.get(fetch.request.valid):
                asked.append(clock)
            await ctx.tick()
        ctx.set(distributor.tag, {"bus": 2, "lane": 1, "groups": 1, "skip": 0, "end": 8, "marker": 1})
        ctx.set(distributor.tag_valid, 1)
        await ctx.tick()
        ctx.set(distributor.tag_valid, 0)
        ctx.set(distributor.beat_valid, 1)
        beat = clock
        await ctx.tick()
        ctx.set(distributor.beat.last, 1)
        await ctx.tick()
        ctx.set(distributor.beat_valid, 0)
        while len(words) < 9:
            if ctx.get(distributor.words[2].valid):
                words.append(clock)
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_process(count)
    sim.add_testbench(bench)
    sim.run()
    assert asked == [loaded + fetch.latency + i * fetch.period for i in range(8)]
    assert words == [beat + distributor.latency + i for i in range(9)]
