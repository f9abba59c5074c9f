"""A register in the way of a stream."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class StreamRegister(wiring.Component):
    """Pass a stream on through a register: what takes it does not wait for the memory that it comes from.

    Timing
    ------
    Latency: 1 clock.
    Throughput: 1 a clock.
    Stall: `i` waits while the register is full and `o` is not taken.

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
        m.d.comb += [self.o.payload.eq(payload), self.i.ready.eq(~self.o.valid | self.o.ready)]
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), payload.eq(self.i.payload)]
        return m
