"""Proofs about ranges that are cut into bursts."""

from amaranth.hdl import Mux, Signal
from amaranth.lib import data
from harness import Harness, implies

from weightstream.spec.machine import Machine
from weightstream_hw.bus.axi import PAGE_BYTES
from weightstream_hw.bus.bursts import BurstSplitter, burst

PAGE_BITS = (PAGE_BYTES - 1).bit_length()


class RangeModel:
    """Goes through ranges as their commands say, burst by burst.

    Parameters
    ----------
    m : Module
        Where it belongs.
    machine : Machine
        Widths.
    ranges : stream
        The commands.
    beats, taken : Value
        Length of the burst that comes next, and whether it is taken in this clock.
    drop : Value
        Forget the range.
    """

    def __init__(self, m, machine, ranges, beats, taken, drop=0):
        self.machine = machine
        #: There is something left; it begins at `following` and has `left` beats.
        self.active = Signal()
        self.following = Signal(machine.address_bits)
        self.left = Signal(25)
        #: The whole range, and how often it comes again.
        self.first = Signal(machine.address_bits)
        self.whole = Signal(25)
        self.repeats = Signal(16)
        #: The last beat of the range is half a beat.
        self.half = Signal()
        #: The burst is the last one of the range or of its repetition.
        self.ends = Signal()
        total = Signal(25)
        m.d.comb += [
            total.eq((ranges.p.words * 64 + machine.bus_bits - 1) // machine.bus_bits),
            self.ends.eq(self.left == beats),
        ]
        with m.If(ranges.valid & ranges.ready):
            m.d.sync += [
                self.active.eq(ranges.p.words != 0),
                self.first.eq(ranges.p.address),
                self.following.eq(ranges.p.address),
                self.whole.eq(total),
                self.left.eq(total),
                self.repeats.eq(ranges.p.repeats),
                self.half.eq(ranges.p.words[0] & (machine.bus_bits == 128)),
            ]
        with m.Elif(taken):
            m.d.sync += [
                self.left.eq(Mux(self.ends, self.whole, self.left - beats)),
                self.following.eq(Mux(self.ends, self.first, self.following + beats * machine.bus_bytes)),
            ]
            with m.If(self.ends):
                m.d.sync += [self.repeats.eq(self.repeats - 1), self.active.eq(self.repeats != 0)]
        with m.If(drop):
            m.d.sync += self.active.eq(0)


def legal_burst(m, machine, address, beats, longest):
    """Return the rules of a burst: aligned, not too long, within a page; `beats` is minus 1."""
    end = Signal(machine.address_bits, name="end")
    m.d.comb += end.eq(address + beats * machine.bus_bytes)
    return [
        address % machine.bus_bytes == 0,
        beats < longest,
        address[PAGE_BITS:] == end[PAGE_BITS:],
    ]


def splitter_follows(harness, m, model, beats, *path):
    """Claim what leads a splitter from one clock to the next: it is where the model is."""
    lsb = (model.machine.bus_bytes - 1).bit_length()

    def inner(name):
        return harness.inner(*path, name)

    harness.claim(m, inner("active") == model.active)
    with m.If(model.active):
        harness.claim(
            m,
            inner("position") << lsb == model.following,
            inner("first") << lsb == model.first,
            inner("left") == model.left,
            inner("whole") == model.whole,
            inner("repeats") == model.repeats,
            inner("half") == model.half,
            (model.left != 0) & (model.left <= model.whole),
        )
    offered = data.View(burst(model.machine), inner("bursts__payload"))
    with m.If(inner("bursts__valid")):
        harness.claim(
            m,
            model.active,
            offered.address == model.following,
            inner("size") == beats,
            beats <= inner("space"),
            beats <= model.left,
            offered.last == model.ends,
            offered.half == (model.ends & model.half),
        )


class Bursts(Harness):
    """Every range is covered, in order, as often as it should be, by bursts that respect pages."""

    def __init__(self, bus_bits, burst_beats):
        self.machine = Machine(bus_bits=bus_bits, burst_beats=burst_beats)
        super().__init__(BurstSplitter(self.machine, burst_beats))

    def rules(self, m):
        """Compare with the range's command."""
        ranges, bursts = self.dut.ranges, self.dut.bursts
        self.assume(m, self.held_stream(ranges))
        self.assume(m, implies(ranges.valid, ranges.p.address[:4] == 0))
        beats = Signal(9)
        m.d.comb += beats.eq(bursts.p.beats + 1)
        model = RangeModel(m, self.machine, ranges, beats, bursts.valid & bursts.ready)

        self.claim(m, self.held_stream(bursts))
        self.claim(m, ranges.ready == ~model.active)
        # Nothing waits for ever.
        self.claim(m, implies(self.past(model.active & ~bursts.valid), bursts.valid))
        legal = legal_burst(m, self.machine, bursts.p.address, bursts.p.beats, self.dut.burst_beats)
        self.claim(m, implies(bursts.valid, *legal))
        self.reach(m, bursts.valid & bursts.p.last & (model.repeats == 0) & (model.whole == 6))
        splitter_follows(self, m, model, beats)
