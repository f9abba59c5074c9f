"""Registers in the way of a stream."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class StreamRegister(wiring.Component):
    """Pass a stream on through registers: neither side waits for what the other one decides in this clock.

    Timing
    ------
    Latency: 1 clock.
    Throughput: 1 a clock.
    Stall: two payloads are kept while `o` is not taken.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Attributes
    ----------
    i : In(stream)
        What comes.
    o : Out(stream)
        The same.
    """

    #: Clocks from `i` to `o`.
    latency = 1

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        payload = Signal.like(self.i.payload, reset_less=True)
        # What came while the payload before was not taken.
        spare = Signal.like(self.i.payload, reset_less=True)
        kept = Signal()
        m.d.comb += [self.o.payload.eq(payload), self.i.ready.eq(~kept)]
        with m.If(~kept):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | kept),
                payload.eq(Mux(kept, spare, self.i.payload)),
                kept.eq(0),
            ]
        with m.Else():
            m.d.sync += kept.eq(self.i.valid | kept)
        return m
