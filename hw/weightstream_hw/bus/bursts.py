"""Ranges of memory, cut into bursts."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

#: Bits of the length of a range, in words of 64 bits, and of how often it is repeated.
WORDS_BITS, REPEATS_BITS = 24, 16


def memory_range(machine: Machine) -> data.StructLayout:
    """Return the layout of a range.

    Byte address, a multiple of 16; length in words of 64 bits; how often it is gone through again.
    """
    return data.StructLayout({"address": machine.address_bits, "words": WORDS_BITS, "repeats": REPEATS_BITS})


def burst(machine: Machine) -> data.StructLayout:
    """Return the layout of a burst.

    Byte address; beats minus 1; `last`: a range or its repetition ends here; `half`: it ends with the lower
    half of a beat.
    """
    return data.StructLayout({"address": machine.address_bits, "beats": 8, "last": 1, "half": 1})


class BurstSplitter(wiring.Component):
    """Cut ranges into bursts that end at multiples of the longest burst: none of them crosses 4 KiB.

    Timing
    ------
    Latency: 2 clocks from a range to its first burst.
    Throughput: a burst in 2 clocks. A range without words takes 1 clock and has no bursts.
    Stall: a burst waits until it is taken; the next range waits for the last burst of the one before.

    Parameters
    ----------
    machine : Machine
        What is built.
    burst_beats : int
        The longest burst, a power of two.

    Attributes
    ----------
    ranges : In(stream)
        Ranges, as `memory_range` lays them out.
    bursts : Out(stream)
        Bursts, as `burst` lays them out.

    Raises
    ------
    ValueError
        `burst_beats` is no power of two, or more than the machine's.
    """

    #: Clocks from a range to its first burst, and from one burst to the next.
    latency = 2

    def __init__(self, machine: Machine, burst_beats: int):
        if not 1 <= burst_beats <= machine.burst_beats or burst_beats & (burst_beats - 1):
            raise ValueError(
                f"burst_beats must be a power of two, at most {machine.burst_beats}, not {burst_beats}"
            )
        self.machine = machine
        self.burst_beats = burst_beats
        super().__init__(
            {
                "ranges": In(stream.Signature(memory_range(machine))),
                "bursts": Out(stream.Signature(burst(machine))),
            }
        )

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        machine, ranges, bursts = self.machine, self.ranges, self.bursts
        beat_lsb = (machine.bus_bytes - 1).bit_length()
        burst_bits = (self.burst_beats - 1).bit_length()

        total = Signal(WORDS_BITS + 1)
        if machine.bus_bits == 128:
            m.d.comb += total.eq((ranges.p.words + 1) >> 1)
        else:
            m.d.comb += total.eq(ranges.p.words * (64 // machine.bus_bits))

        # Where the range begins, and where the next burst does, in beats.
        first = Signal(machine.address_bits - beat_lsb, reset_less=True)
        position = Signal.like(first)
        whole = Signal.like(total, reset_less=True)
        left = Signal.like(whole)
        half = Signal(reset_less=True)
        repeats = Signal(REPEATS_BITS, reset_less=True)
        active = Signal()

        # A burst is measured in one clock and offered from the next one on.
        space = Signal(range(self.burst_beats + 1))
        size = Signal(range(self.burst_beats + 1), reset_less=True)
        m.d.comb += [
            space.eq(self.burst_beats - position[:burst_bits]),
            ranges.ready.eq(~active),
        ]
        with m.If(~active):
            m.d.sync += [
                active.eq(ranges.valid & (ranges.p.words != 0)),
                first.eq(ranges.p.address[beat_lsb:]),
                position.eq(ranges.p.address[beat_lsb:]),
                whole.eq(total),
                left.eq(total),
                half.eq(ranges.p.words[0] if machine.bus_bits == 128 else 0),
                repeats.eq(ranges.p.repeats),
            ]
        with m.Elif(~bursts.valid):
            fits = left <= space
            m.d.sync += [
                size.eq(Mux(fits, left, space)),
                # One less than the size, but not computed from it.
                bursts.p.beats.eq(Mux(fits, left - 1, ~position[:burst_bits])),
                bursts.p.address.eq(position << beat_lsb),
                bursts.p.last.eq(fits),
                bursts.p.half.eq(fits & half),
                bursts.valid.eq(1),
            ]
        with m.Elif(bursts.ready):
            m.d.sync += [bursts.valid.eq(0), position.eq(position + size), left.eq(left - size)]
            with m.If(bursts.p.last):
                m.d.sync += [
                    active.eq(repeats != 0),
                    repeats.eq(repeats - 1),
                    position.eq(first),
                    left.eq(whole),
                ]
        return m
