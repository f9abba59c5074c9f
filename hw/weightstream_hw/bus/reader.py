"""A client of the read master: ranges of memory as a stream of words."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from .axi import OUTSTANDING, read_beat, read_request
from .bursts import BurstSplitter, memory_range


class LinearReader(wiring.Component):
    """Read ranges of memory, each as often as its command says, and put out their 64-bit words in order.

    A burst is asked for once there is room for all its beats. Ranges follow one another without a gap.

    Timing
    ------
    Latency: 3 clocks from a command to its first request; 1 from a beat to the word that it completes.
    Throughput: a word a clock (a 32-bit bus: in two clocks), if `depth` covers what memory takes to answer.
    Stall: the beats that were asked for are kept; nothing is asked for that there is no room for.

    Parameters
    ----------
    machine : Machine
        What is built.
    depth : int
        Beats that are kept, a power of two, at least 8. Bursts have at most half as many.

    Attributes
    ----------
    command : In(stream)
        A range: `address`, `words`, `repeats` (as `memory_range` lays them out).
    request : Out(stream)
        To the read master.
    beat : In(StructLayout), beat_valid : In(1)
        From the read master.
    words : Out(stream)
        Words of 64 bits.

    Raises
    ------
    ValueError
        `depth` is no power of two, or less than 8.
    """

    #: Clocks from a command to its first request, from a beat to the word that it completes.
    request_latency, latency = 3, 1

    def __init__(self, machine: Machine, depth: int):
        if depth < 8 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two, at least 8, not {depth}")
        self.machine = machine
        self.depth = depth
        super().__init__(
            {
                "command": In(stream.Signature(memory_range(machine))),
                "request": Out(stream.Signature(read_request(machine))),
                "beat": In(read_beat(machine)),
                "beat_valid": In(1),
                "words": Out(stream.Signature(64)),
            }
        )

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        wide = self.machine.bus_bits == 128
        splitter = BurstSplitter(self.machine, min(self.machine.burst_beats, self.depth // 2))
        m.submodules.splitter = splitter
        wiring.connect(m, wiring.flipped(self.command), splitter.ranges)
        burst = splitter.bursts.p

        # In look-up tables: it would be a small part of a block memory, and wait for it as long as for logic.
        m.submodules.queue = queue = SyncFIFO(width=self.machine.bus_bits + wide, depth=self.depth)
        taken = Signal()
        m.d.comb += [
            self.request.p.address.eq(burst.address),
            self.request.p.beats.eq(burst.beats),
            taken.eq(self.request.valid & self.request.ready),
            splitter.bursts.ready.eq(taken),
            queue.w_en.eq(self.beat_valid),
            queue.w_data.eq(self.beat.data),
        ]

        #: Beats that are neither kept nor asked for. Once a burst fits, it fits until it is taken.
        room = Signal(range(self.depth + 1), init=self.depth)
        fits = Signal()
        m.d.sync += [
            room.eq(room - Mux(taken, burst.beats + 1, 0) + (queue.r_rdy & queue.r_en)),
            fits.eq(splitter.bursts.valid & (room > burst.beats) & ~taken),
        ]
        m.d.comb += self.request.valid.eq(fits)

        if wide:
            # Whether the last beat of a burst is half a beat: that travels beside the burst.
            m.submodules.halves = halves = SyncFIFO(width=1, depth=OUTSTANDING)
            ends = self.beat_valid & self.beat.last
            m.d.comb += [
                self.request.valid.eq(fits & halves.w_rdy),
                halves.w_en.eq(taken),
                halves.w_data.eq(burst.half),
                halves.r_en.eq(ends),
                queue.w_data.eq(Cat(self.beat.data, ends & halves.r_data)),
            ]
            self._halve(m, queue)
        elif self.machine.bus_bits == 64:
            m.d.comb += [
                self.words.payload.eq(queue.r_data),
                self.words.valid.eq(queue.r_rdy),
                queue.r_en.eq(self.words.ready),
            ]
        else:
            self._pair(m, queue)
        return m

    def _halve(self, m: Module, queue: SyncFIFO):
        """Put out the halves of a beat, the lower one first."""
        upper = Signal()
        only = queue.r_data[128]
        m.d.comb += [
            self.words.payload.eq(Mux(upper, queue.r_data[64:128], queue.r_data[:64])),
            self.words.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.words.ready & (upper | only)),
        ]
        with m.If(self.words.valid & self.words.ready):
            m.d.sync += upper.eq(~upper & ~only)

    def _pair(self, m: Module, queue: SyncFIFO):
        """Put out pairs of beats, the lower half first."""
        low = Signal(32, reset_less=True)
        half = Signal()
        m.d.comb += [
            self.words.payload.eq(Cat(low, queue.r_data)),
            self.words.valid.eq(queue.r_rdy & half),
            queue.r_en.eq(~half | self.words.ready),
        ]
        with m.If(queue.r_rdy & queue.r_en):
            m.d.sync += [low.eq(queue.r_data), half.eq(~half)]
        return m
