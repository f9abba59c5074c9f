"""Shift range and window until the range has its top bit again."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import RANGE_BITS, WINDOW_BITS

from .search import choose

#: Bits of the stream that are known behind the window: as many as one shift can take.
AHEAD_BITS = WINDOW_BITS


def _shifts(value, step):
    """Return `value` shifted left by 0, 1, 2, 3 steps, cut to its width."""
    return [Cat(Const(0, step * i), value)[: len(value)] for i in range(4)]


class Normaliser(wiring.Component):
    """Shift a range to the left until its top bit is set; the window, with stream bits behind it, goes along.

    First by nibbles, then by bits. A row starts with the range 2**15 and takes 15 - k bits, whatever the
    range was.

    Timing
    ------
    Latency: 2 clocks, `next_range` 1 clock.
    Throughput: 1 a clock.
    Stall: none.

    Attributes
    ----------
    range, window : In(16)
        R, not 0 unless `start`, and V.
    ahead : In(15)
        Bits of the stream behind the window.
    start : In(1)
        Start a row.
    key_bits : In(4)
        k, with `start`.
    next_range : Out(15)
        R without its top bit, which is set; one clock ahead of the others, for those who register it.
    next_window, next_ahead : Out(16), Out(15)
        V, and what is left behind it; zeros are shifted in.
    shift : Out(4)
        Bits shifted.
    """

    def __init__(self):
        super().__init__(
            {
                "range": In(RANGE_BITS),
                "window": In(RANGE_BITS),
                "ahead": In(AHEAD_BITS),
                "start": In(1),
                "key_bits": In(4),
                "next_range": Out(RANGE_BITS - 1),
                "next_window": Out(RANGE_BITS),
                "next_ahead": Out(AHEAD_BITS),
                "shift": Out(4),
            }
        )

    def elaborate(self, platform):
        m = Module()

        nibble = [self.range[4 * i : 4 * i + 4].any() for i in range(4)]
        by_nibbles = Signal(2)
        m.d.comb += by_nibbles.eq(
            Mux(
                self.start,
                ~self.key_bits[2:],
                Mux(nibble[3], 0, Mux(nibble[2], 1, Mux(nibble[1], 2, 3))),
            )
        )
        stream = Cat(self.ahead, self.window)
        middle_stream = Signal(len(stream), reset_less=True)
        middle_range = Signal(RANGE_BITS, reset_less=True)
        middle_shift = Signal(2, reset_less=True)
        middle_start = Signal()
        middle_key_bits = Signal(2, reset_less=True)
        m.d.sync += [
            middle_stream.eq(choose(by_nibbles, _shifts(stream, 4))),
            # At the start of a row only the top bit, which is not carried.
            middle_range.eq(Mux(self.start, 0, choose(by_nibbles, _shifts(self.range, 4)))),
            middle_shift.eq(by_nibbles),
            middle_start.eq(self.start),
            middle_key_bits.eq(self.key_bits),
        ]

        top = middle_range[-4:]
        by_bits = Signal(2)
        m.d.comb += by_bits.eq(
            Mux(middle_start, ~middle_key_bits, Mux(top[3], 0, Mux(top[2], 1, Mux(top[1], 2, 3))))
        )
        next_stream = Signal(len(stream), reset_less=True)
        shift = Signal(4, reset_less=True)
        m.d.sync += [
            next_stream.eq(choose(by_bits, _shifts(middle_stream, 1))),
            shift.eq(Cat(by_bits, middle_shift)),
        ]
        m.d.comb += [
            self.next_range.eq(choose(by_bits, _shifts(middle_range, 1))),
            Cat(self.next_ahead, self.next_window).eq(next_stream),
            self.shift.eq(shift),
        ]
        return m
