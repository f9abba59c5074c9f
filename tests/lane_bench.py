"""Plays the sequencer, the streams and the keys to lanes, and compares their symbols."""

import functools
import random

from amaranth.hdl import Cat, Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from lane_rounds import Round, configuration, segment
from weightstream_hw.control.round import ROUND, RoundKind, symbol_latency
from weightstream_hw.decode.contexts import ContextMap
from weightstream_hw.decode.lane import Lane
from weightstream_hw.decode.ring import RingControl

#: Clocks from the lanes' `ok` to the first clock of the round that it lets begin.
OK_CLOCKS = 4


class Lanes(wiring.Component):
    """The lanes of a machine, their control, and a context map for each two of them."""

    def __init__(self, machine):
        self.machine = machine
        self.play = None
        self.control = RingControl(machine)
        self.lanes = [Lane(machine) for _ in range(machine.lanes)]
        lane = self.lanes[0]
        super().__init__(
            {
                "reset": In(1),
                "config": In(lane.config.shape()),
                "words": In(lane.words.shape().size).array(machine.lanes),
                "keys": In(lane.key.shape().size).array(machine.lanes),
                "mac": Out(self.control.mac.shape().size),
                "symbols": Out(4 * machine.lanes),
                "taken": Out(len(lane.taken) * machine.lanes),
                # All are ok, ready, at their end; one is corrupt.
                "states": Out(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        reset = ResetInserter(self.reset)
        m.submodules.control = reset(self.control)
        m.d.comb += [
            self.mac.eq(self.control.mac),
            self.symbols.eq(Cat(lane.symbol for lane in self.lanes)),
            self.taken.eq(Cat(lane.taken for lane in self.lanes)),
            self.states.eq(
                Cat(
                    Cat(lane.ok for lane in self.lanes).all(),
                    Cat(lane.ready for lane in self.lanes).all(),
                    Cat(lane.at_end for lane in self.lanes).all(),
                    Cat(lane.corrupt for lane in self.lanes).any(),
                )
            ),
        ]
        for i, lane in enumerate(self.lanes):
            m.submodules[f"lane_{i}"] = reset(lane)
            m.d.comb += [
                lane.control.eq(self.control.lanes),
                lane.edge.eq(self.control.lane_edge[i]),
                lane.config.eq(self.config),
                lane.words.eq(self.words[i]),
                lane.key.eq(self.keys[i]),
            ]
        for i in range(0, len(self.lanes), 2):
            pair = self.lanes[i : i + 2]
            contexts = ContextMap(len(pair))
            m.submodules[f"contexts_{i}"] = reset(contexts)
            m.d.comb += contexts.config.eq(self.config)
            for lane, context, table in zip(pair, contexts.contexts, contexts.tables, strict=True):
                m.d.comb += [context.eq(lane.context), lane.table.eq(table)]
        return m


@functools.cache
def _simulated(machine):
    """Return lanes and their simulator, which plays what `play` of the lanes is; to make it takes a while."""
    dut = Lanes(machine)
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)

    async def play(ctx):
        await dut.play(ctx)

    simulator.add_testbench(play)
    return dut, simulator


class Bench:
    """Decode a layer.

    Parameters
    ----------
    machine : Machine
        Its queues are filled as far as they may be.
    passes : list of Pass
        What is decoded, one after the other; all of one layer.
    seed : int
        Of the chances below.
    idle : float
        Chance of an idle round before any other.
    arrival : float
        Chance that a word arrives in a clock.
    broken_off : int
        So many rounds are played before a reset; then all begins anew.
    corrupt : bool
        Whether a row end is impossible; then what is left behind does not matter.

    Attributes
    ----------
    checked : int
        Symbols compared.
    waits : int
        Rounds that words or keys were late for.
    """

    def __init__(self, machine, passes, seed, *, idle=0.0, arrival=1.0, broken_off=0, corrupt=False):
        self.machine, self.passes = machine, passes
        self.idle, self.arrival, self.broken_off, self.corrupt = idle, arrival, broken_off, corrupt
        self.random = random.Random(seed)
        self.dut, _ = _simulated(machine)
        self.latency = symbol_latency(machine)
        self.clock = self.checked = self.waits = 0
        plan = passes[0].coded.plan
        self.words = [
            [entry for one in passes for entry in segment(one.coded.lanes[lane % plan.lanes])]
            for lane in range(machine.lanes)
        ]
        self.groups = len(passes[0].keys[0][0])
        #: What every input was set to.
        self.inputs = {}
        self._begin()

    def _begin(self):
        """Forget what was before a reset."""
        lanes = self.machine.lanes
        self.sent, self.taken, self.all_taken = [0] * lanes, [0] * lanes, 0
        self.ok, self.ready = [False] * OK_CLOCKS, [False] * OK_CLOCKS
        self.key_writes, self.keys_done = [], 0
        # By clock: what comes out then; clocks in which all segments must be at their end.
        self.expected, self.ends = {}, set()

    def run(self):
        dut, simulator = _simulated(self.machine)
        if dut.play:
            simulator.reset()
        dut.play = self._play
        simulator.run()
        return self

    async def _play(self, ctx):
        await self._configure(ctx)
        if self.broken_off:
            for planned in self.passes[0].rounds[: self.broken_off]:
                await self._round(ctx, planned)
            ctx.set(self.dut.reset, 1)
            for port in (*self.dut.words, *self.dut.keys):
                self._set(ctx, port, 0)
            await ctx.tick()
            self.clock += 1
            ctx.set(self.dut.reset, 0)
            self._begin()
        for one in self.passes:
            await self._pass(ctx, one)
        for _ in range(5):
            await self._round(ctx, Round({}), checked=False)
        assert not self.expected
        states = ctx.get(self.dut.states)
        assert states >> 3 == self.corrupt
        if not self.corrupt:
            assert self.taken == [len(words) for words in self.words]
            assert states >> 2 & 1

    async def _configure(self, ctx):
        dut, coded = self.dut, self.passes[0].coded
        ctx.set(dut.control.distance, coded.contexts.distance)
        ctx.set(dut.control.clone_log2, coded.sharing.clone_slots.bit_length() - 1)
        ctx.set(dut.control.split_log2, coded.sharing.split_slots.bit_length() - 1)
        for number, lane in enumerate(dut.lanes):
            ctx.set(lane.first_part, number % coded.plan.lanes < coded.plan.row_lanes)
        nothing = dict.fromkeys(dut.config.shape().members, 0)
        for values in configuration(coded):
            ctx.set(dut.config, nothing | values)
            await ctx.tick()
        ctx.set(dut.config, nothing)

    async def _pass(self, ctx, one):
        self.keys_done = begun = 0
        for number, tile in enumerate(one.keys[:2]):
            self._send_keys(tile, number)
        pending = {}
        for planned in one.rounds:
            while not self._may_begin(planned):
                common = {name: v for name, v in planned.fields.items() if name in ("full", "bank")}
                await self._round(ctx, Round(common | pending, planned.edge))
            pending = {name: v for name, v in planned.fields.items() if name.startswith("next_")}
            if planned.fields["kind"] == RoundKind.START:
                if 0 < begun < len(one.keys) - 1:
                    self._send_keys(one.keys[begun + 1], begun + 1)
                begun += 1
            await self._round(ctx, planned)

    def _may_begin(self, planned):
        enough = self.ready if planned.fields.get("prime") else self.ok
        if not enough[-OK_CLOCKS] or planned.needs_keys > self.keys_done:
            self.waits += 1
            return False
        return self.random.random() >= self.idle

    def _send_keys(self, tile, number):
        """Write the keys of a tile, as soon as those two tiles before are not needed any more."""
        begin = self.clock + self.machine.slots + 2
        for group in range(self.groups):
            self.key_writes.append((begin, number % 2, group, [lane[group] for lane in tile]))

    async def _round(self, ctx, planned, checked=True):
        nothing = dict.fromkeys(ROUND.members, 0) | {"kind": RoundKind.IDLE}
        fields = nothing | planned.fields
        ctx.set(self.dut.control.round, fields)
        ctx.set(self.dut.control.edge, planned.edge)
        mac = (planned.symbols is not None) | fields["capture"] << 1
        mac |= fields["palette"] << 6 | fields["parity"] << 8
        if fields["prime"]:
            self.ends.add(self.clock + self.latency + 5)
        for slot in range(self.machine.slots):
            if checked:
                symbols = planned.symbols and [lane[slot] for lane in planned.symbols]
                self.expected[self.clock + self.latency] = mac | slot << 2, symbols
            ctx.set(self.dut.control.slot, slot)
            await self._clock(ctx)

    async def _clock(self, ctx):
        """Let a clock pass."""
        self._send_words(ctx)
        self._write_keys(ctx)
        if self.clock in self.expected:
            self._compare(ctx, *self.expected.pop(self.clock))
        states = ctx.get(self.dut.states)
        assert self.clock not in self.ends or states >> 2 & 1
        self.ok.append(states & 1)
        self.ready.append(states >> 1 & 1)
        self._count_taken(ctx)
        await ctx.tick()
        self.clock += 1

    def _set(self, ctx, port, value):
        # Setting takes most of the time.
        if self.inputs.get(id(port)) != value:
            self.inputs[id(port)] = value
            ctx.set(port, value)

    def _send_words(self, ctx):
        room = self.machine.queue_words - 1
        for lane, words in enumerate(self.words):
            at = self.sent[lane]
            entry = 0
            if at < len(words) and at - self.taken[lane] < room:
                if self.arrival == 1 or self.random.random() < self.arrival:
                    word, last, final = words[at]
                    entry = 1 | word << 1 | last << 17 | final << 18
                    self.sent[lane] += 1
            self._set(ctx, self.dut.words[lane], entry)

    def _write_keys(self, ctx):
        if self.key_writes and self.clock >= self.key_writes[0][0]:
            _, bank, group, entries = self.key_writes.pop(0)
            for port, (key, bits, row) in zip(self.dut.keys, entries, strict=True):
                self._set(ctx, port, 1 | bank << 1 | group << 2 | key << 6 | bits << 21 | row << 25)
            self.keys_done += group + 1 == self.groups
        else:
            for port in self.dut.keys:
                self._set(ctx, port, 0)

    def _compare(self, ctx, mac, symbols):
        assert ctx.get(self.dut.mac) == mac, self.clock
        if symbols is not None:
            decoded = ctx.get(self.dut.symbols)
            for lane, symbol in enumerate(symbols):
                if symbol is not None:
                    assert decoded >> 4 * lane & 15 == symbol, (self.clock, lane)
                    self.checked += 1

    def _count_taken(self, ctx):
        taken = ctx.get(self.dut.taken)
        if taken != self.all_taken:
            self.all_taken = taken
            size = self.machine.queue_words
            for lane in range(self.machine.lanes):
                step = (taken // size**lane - self.taken[lane]) % size
                assert step <= 1
                self.taken[lane] += step
