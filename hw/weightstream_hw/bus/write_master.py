"""The write side of the memory bus."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from .axi import OKAY, OUTSTANDING, AxiWrite
from .bursts import BurstSplitter, memory_range


class WriteMaster(wiring.Component):
    """Write a stream of 64-bit words to ranges of memory.

    A burst is begun as soon as its address is known; its words may come later.

    Timing
    ------
    Latency: 3 clocks from a command to its address on the bus; 1 from a word to its beat (the last one, if a
    beat holds several words or a word several beats).
    Throughput: a word a clock, also from burst to burst; a 32-bit bus: a word in two clocks.
    Stall: words wait while the bus takes no data; bursts wait while the bus takes no address, or while
    `OUTSTANDING` bursts are unanswered.

    Parameters
    ----------
    machine : Machine
        What is built.

    Attributes
    ----------
    command : In(stream)
        A range: `address`, `words`, `repeats` (as `memory_range` lays them out); each repetition takes words
        of its own. A range may be given before the one ahead of it is written.
    data : In(stream)
        Words of 64 bits for the ranges, in order.
    bus : Out(AxiWrite)
        The bus.
    flush : In(1)
        What was begun is completed without changing memory, the rest is forgotten. Hold it until `idle`.
    idle : Out(1)
        Memory has confirmed everything that was commanded.
    done : Out(1)
        It just did, without `flush`: for one clock.
    error : Out(1)
        A burst was answered with an error; for one clock.
    error_address : Out(address_bits)
        With `error`: its address.
    """

    #: Clocks from a command to its address on the bus.
    latency = 3

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "command": In(stream.Signature(memory_range(machine))),
                "data": In(stream.Signature(64)),
                "bus": Out(AxiWrite(machine.address_bits, machine.bus_bits)),
                "flush": In(1),
                "idle": Out(1),
                "done": Out(1),
                "error": Out(1),
                "error_address": Out(machine.address_bits),
            }
        )

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        bus = self.bus
        splitter = BurstSplitter(self.machine, self.machine.burst_beats)
        m.submodules.splitter = ResetInserter(self.flush)(splitter)
        ranges, burst = splitter.ranges, splitter.bursts.p
        m.d.comb += [
            ranges.payload.eq(self.command.payload),
            ranges.valid.eq(self.command.valid & ~self.flush),
            self.command.ready.eq(ranges.ready & ~self.flush),
        ]

        # Memory answers in order: here are the addresses of the bursts that it has not answered.
        m.submodules.order = order = SyncFIFO(width=self.machine.address_bits, depth=OUTSTANDING)

        # A burst is open from its beginning until its last beat is on its way to the bus.
        is_open = Signal()
        closes = Signal()
        begins = Signal()
        left = Signal(8, reset_less=True)
        half = Signal(reset_less=True)
        m.d.comb += [
            begins.eq(
                splitter.bursts.valid
                & (~is_open | closes)
                & (~bus.awvalid | bus.awready)
                & order.w_rdy
                & ~self.flush
            ),
            splitter.bursts.ready.eq(begins),
            order.w_en.eq(begins),
            order.w_data.eq(burst.address),
            bus.awsize.eq((self.machine.bus_bytes - 1).bit_length()),
        ]
        with m.If(bus.awready):
            m.d.sync += bus.awvalid.eq(0)
        with m.If(begins):
            m.d.sync += [bus.awvalid.eq(1), bus.awaddr.eq(burst.address), bus.awlen.eq(burst.beats)]

        # ---- data --------------------------------------------------------------------------------
        # A beat goes when the bus register is free and the beat is complete, or is not to be written.
        free = Signal()
        complete = Signal()
        goes = Signal()
        word = Signal(self.machine.bus_bits)
        strobes = Signal(self.machine.bus_bytes)
        m.d.comb += [
            free.eq(is_open & (~bus.wvalid | bus.wready)),
            goes.eq(free & (complete | self.flush)),
            closes.eq(goes & (left == 0)),
        ]
        with m.If(bus.wready):
            m.d.sync += bus.wvalid.eq(0)
        with m.If(goes):
            m.d.sync += [
                bus.wvalid.eq(1),
                bus.wdata.eq(word),
                bus.wstrb.eq(Mux(self.flush, 0, strobes)),
                bus.wlast.eq(left == 0),
                left.eq(left - 1),
            ]
        with m.If(begins):
            m.d.sync += [is_open.eq(1), left.eq(burst.beats), half.eq(burst.half)]
        with m.Elif(closes):
            m.d.sync += is_open.eq(0)

        build = {32: self._split, 64: self._pass, 128: self._pair}[self.machine.bus_bits]
        build(m, word, strobes, complete, free, goes, is_open, half & (left == 0))

        # ---- answers -----------------------------------------------------------------------------
        was_idle = Signal(init=1)
        m.d.comb += [
            bus.bready.eq(1),
            order.r_en.eq(bus.bvalid),
            self.idle.eq(ranges.ready & ~is_open & ~order.r_rdy),
            self.done.eq(self.idle & ~was_idle & ~self.flush),
        ]
        m.d.sync += [
            was_idle.eq(self.idle | self.flush),
            self.error.eq(bus.bvalid & order.r_rdy & (bus.bresp != OKAY)),
            self.error_address.eq(order.r_data),
        ]
        return m

    def _pass(self, m, word, strobes, complete, free, goes, is_open, single):
        """Make a beat of a word."""
        m.d.comb += [
            word.eq(self.data.payload),
            strobes.eq(~0),
            complete.eq(self.data.valid),
            self.data.ready.eq(free & ~self.flush),
        ]

    def _split(self, m, word, strobes, complete, free, goes, is_open, single):
        """Make two beats of a word, the lower half first."""
        upper = Signal()
        m.d.comb += [
            word.eq(self.data.payload.word_select(upper, 32)),
            strobes.eq(~0),
            complete.eq(self.data.valid),
            self.data.ready.eq(free & upper & ~self.flush),
        ]
        with m.If(self.flush):
            m.d.sync += upper.eq(0)
        with m.Elif(goes):
            m.d.sync += upper.eq(~upper)

    def _pair(self, m, word, strobes, complete, free, goes, is_open, single):
        """Make a beat of two words, the lower half first; the last beat of a range may be half a beat."""
        low = Signal(64, reset_less=True)
        held = Signal()
        whole = held | single
        m.d.comb += [
            word.eq(Mux(single, self.data.payload, Cat(low, self.data.payload))),
            strobes.eq(Mux(single, 0x00FF, 0xFFFF)),
            complete.eq(self.data.valid & whole),
            self.data.ready.eq(Mux(whole, free, is_open) & ~self.flush),
        ]
        with m.If(self.flush):
            m.d.sync += held.eq(0)
        with m.Elif(self.data.valid & self.data.ready):
            m.d.sync += [held.eq(~whole), low.eq(self.data.payload)]
