"""The next bits of a section, seen through a window."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

#: Bits that are seen at once.
VIEW_BITS = 16
#: Bits that can be taken in each clock.
NIBBLE_BITS = 4


class BitWindow(wiring.Component):
    """Show the next 16 bits of a section and go on by as many as are taken.

    Bits run from the most significant bit of the first byte on; bytes come as little-endian words of 64
    bits. Behind its words, the section goes on with zeros. What is left of it in the end is dropped, so that
    the next section begins with a word.

    Timing
    ------
    Latency: 5 clocks from `start` to the first view, if the first word is there.
    Throughput: up to 16 bits in 2 clocks; 4 bits in each clock.
    Stall: `ready` and `nibble_ready` are 0 while the next word is not there.

    Attributes
    ----------
    start : In(1)
        Begin with a section; looked at while `busy` is 0.
    count : In(24)
        Its words of 64 bits; looked at with `start`.
    finish : In(1)
        Drop what is left of it.
    words : In(stream)
        Exactly `count` words of a section are taken.
    view : Out(16)
        The next bits, the first one highest.
    valid : Out(1)
        There is a view.
    ready, nibble_ready : Out(1)
        Up to 16 bits can be taken; up to 4.
    take : In(1)
        Bits are taken; not without leave.
    amount : In(5)
        How many, 0 to 16.
    past : Out(1)
        More bits were taken than the section has.
    busy : Out(1)
        From `start` until the last word of the section is gone.
    """

    def __init__(self):
        super().__init__(
            {
                "start": In(1),
                "count": In(24),
                "finish": In(1),
                "words": In(stream.Signature(64)),
                "view": Out(VIEW_BITS),
                "valid": Out(1),
                "ready": Out(1),
                "nibble_ready": Out(1),
                "take": In(1),
                "amount": In(range(VIEW_BITS + 1)),
                "past": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # The section in chunks of 16 bits: the view begins within `here` and ends within `ahead`. The chunk
        # behind is fetched beforehand, so that the memory's side does not depend on what is taken.
        here, ahead, behind = (Signal(VIEW_BITS, reset_less=True) for _ in range(3))
        offset, beyond = Signal(range(VIEW_BITS)), Signal(range(2 * VIEW_BITS))
        #: Whether a chunk is not of the section; whether bits of such a chunk were taken, in earlier clocks.
        here_past, ahead_past, behind_past, was_past = (Signal() for _ in range(4))
        fetched, fetching, running = Signal(), Signal(), Signal()
        left, ended, index = Signal(24), Signal(), Signal(2)
        word = self.words.payload
        chunks = [Cat(word[i + 8 : i + 16], word[i : i + 8]) for i in range(0, 64, VIEW_BITS)]
        step = Signal()
        #: Whether a nibble can be taken without a step: the view begins in the first 3 of 4.
        nibble_shown = ~offset[2:].all()
        m.d.comb += [
            fetching.eq(running & ~fetched),
            self.view.eq((Cat(ahead, here) << offset)[VIEW_BITS : 2 * VIEW_BITS]),
            self.past.eq(was_past | (here_past & (offset != 0))),
            self.ready.eq(self.valid & fetched),
            self.nibble_ready.eq(self.valid & (fetched | nibble_shown)),
            beyond.eq(offset + self.amount),
        ]
        m.d.sync += was_past.eq(self.past)
        with m.If(fetching & (ended | self.words.valid)):
            m.d.sync += [
                behind.eq(Mux(ended, 0, Array(chunks)[index])),
                behind_past.eq(ended),
                fetched.eq(1),
                index.eq(index + 1),
            ]
        with m.If(fetching & (index == len(chunks) - 1)):
            m.d.comb += self.words.ready.eq(~ended)
        with m.If(step):
            m.d.sync += [
                here.eq(ahead),
                here_past.eq(ahead_past),
                ahead.eq(behind),
                ahead_past.eq(behind_past),
                fetched.eq(0),
            ]
        with m.If(self.words.valid & self.words.ready):
            m.d.sync += [left.eq(left - 1), ended.eq(left == 1)]

        with m.FSM() as states:
            with m.State("closed"):
                m.d.sync += [
                    left.eq(self.count),
                    ended.eq(self.count == 0),
                    index.eq(0),
                    offset.eq(0),
                    fetched.eq(0),
                    here_past.eq(0),
                    ahead_past.eq(0),
                    was_past.eq(0),
                ]
                with m.If(self.start):
                    m.next = "first chunk"
            with m.State("first chunk"):
                m.d.comb += [running.eq(1), step.eq(fetched)]
                with m.If(fetched):
                    m.next = "second chunk"
            with m.State("second chunk"):
                m.d.comb += [running.eq(1), step.eq(fetched)]
                with m.If(fetched):
                    m.d.sync += self.valid.eq(1)
                    m.next = "open"
            with m.State("open"):
                m.d.comb += [
                    running.eq(1),
                    step.eq(self.take & (beyond >= VIEW_BITS)),
                ]
                with m.If(self.take):
                    m.d.sync += offset.eq(beyond)
                with m.If(self.finish):
                    m.d.sync += self.valid.eq(0)
                    m.next = "drop"
            with m.State("drop"):
                m.d.comb += self.words.ready.eq(~ended)
                with m.If(ended):
                    m.next = "closed"
        m.d.comb += self.busy.eq(~states.ongoing("closed"))
        return m
