"""An asynchronous serial line: 8 data bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

#: The fewest clocks of a bit: bits are sampled in their middle, found to a clock.
SMALLEST_DIVISOR = 4


def _check(divisor: int) -> None:
    if divisor < SMALLEST_DIVISOR:
        raise ValueError(f"divisor must be at least {SMALLEST_DIVISOR}, not {divisor!r}")


class UartReceiver(wiring.Component):
    """Take bytes from a line.

    A byte without its stop bit is dropped: the line was broken, or we are out of step.

    Timing
    ------
    Latency: the byte is put out in the middle of its stop bit, 2 clocks late for the synchroniser.
    Throughput: a byte in 9.5 bits, so that a sender may be up to 4 % faster.
    Stall: none; bytes are there for one clock.

    Parameters
    ----------
    divisor : int
        Clocks of a bit.

    Attributes
    ----------
    line : In(1)
        The line, not synchronised.
    byte : Out(8)
        What came.
    valid : Out(1)
        It came in this clock.
    """

    line: In(1, init=1)
    byte: Out(8)
    valid: Out(1)

    def __init__(self, divisor: int):
        _check(divisor)
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.line, line, init=1)
        clocks = Signal(range(self.divisor + self.divisor // 2))
        bits = Signal(range(9))
        m.d.sync += self.valid.eq(0)
        with m.FSM():
            with m.State("idle"):
                # From the edge of the start bit to the middle of bit 0.
                m.d.sync += [clocks.eq(self.divisor + self.divisor // 2 - 1), bits.eq(0)]
                with m.If(~line):
                    m.next = "bits"
            with m.State("bits"):
                m.d.sync += clocks.eq(clocks - 1)
                with m.If(clocks == 0):
                    m.d.sync += [clocks.eq(self.divisor - 1), bits.eq(bits + 1)]
                    with m.If(bits == 8):
                        m.d.sync += self.valid.eq(line)
                        m.next = "end"
                    with m.Else():
                        m.d.sync += self.byte.eq(Cat(self.byte[1:], line))
            with m.State("end"):
                # A line that is low behind the last bit is broken: wait until it is high again.
                with m.If(line):
                    m.next = "idle"
        return m


class UartTransmitter(wiring.Component):
    """Send bytes along a line.

    Timing
    ------
    Latency: 1 clock from a byte to its start bit.
    Throughput: a byte in 10 bits and a clock.
    Stall: the next byte waits for the stop bit of the one before.

    Parameters
    ----------
    divisor : int
        Clocks of a bit.

    Attributes
    ----------
    i : In(stream)
        Bytes.
    line : Out(1)
        The line.
    """

    i: In(stream.Signature(8))
    line: Out(1, init=1)

    def __init__(self, divisor: int):
        _check(divisor)
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        clocks = Signal(range(self.divisor))
        bits = Signal(range(11))
        word = Signal(9, init=-1)
        m.d.comb += self.i.ready.eq(bits == 0)
        with m.If(bits != 0):
            m.d.sync += clocks.eq(clocks - 1)
            with m.If(clocks == 0):
                m.d.sync += [
                    clocks.eq(self.divisor - 1),
                    bits.eq(bits - 1),
                    self.line.eq(word[0]),
                    word.eq(Cat(word[1:], 1)),
                ]
        with m.Elif(self.i.valid):
            m.d.sync += [
                clocks.eq(self.divisor - 1),
                bits.eq(10),
                self.line.eq(0),
                word.eq(Cat(self.i.payload, 1)),
            ]
        return m
