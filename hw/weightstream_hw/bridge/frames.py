"""Frames of the serial line: flags, escapes and CRC, see docs/serial.md."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from weightstream.spec.serial import ESCAPE, FLAG, FLIP

_CRC_BYTES = 4


class FrameReader(wiring.Component):
    """Take escapes out of what comes along a line, and check the CRC.

    Timing
    ------
    Latency: none; `data_valid` and `flag` belong to the byte that is there.
    Throughput: a byte a clock.
    Stall: none.

    Attributes
    ----------
    byte : In(8)
        A byte of the line.
    valid : In(1)
        There is one.
    data : Out(8)
        A byte of a frame, those of its CRC included.
    data_valid : Out(1)
        There is one.
    flag : Out(1)
        A frame ends, the next one begins.
    good : Out(1)
        With `flag`: the CRC of what ends is right.
    """

    byte: In(8)
    valid: In(1)
    data: Out(8)
    data_valid: Out(1)
    flag: Out(1)
    good: Out(1)

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        escaped = Signal()
        is_escape = Signal()
        m.d.comb += [
            self.flag.eq(self.valid & (self.byte == FLAG)),
            is_escape.eq(self.byte == ESCAPE),
            self.data.eq(self.byte ^ Mux(escaped, FLIP, 0)),
            self.data_valid.eq(self.valid & ~self.flag & ~is_escape),
            # Two escapes side by side are no byte: the CRC will miss one.
            self.good.eq(crc.match_detected & ~escaped),
            crc.start.eq(self.flag),
            crc.data.eq(self.data),
            crc.valid.eq(self.data_valid),
        ]
        with m.If(self.valid):
            m.d.sync += escaped.eq(is_escape)
        return m


class FrameWriter(wiring.Component):
    """Make frames of bodies: flags, escapes, CRC.

    Timing
    ------
    Latency: 2 clocks from the first byte of a body to its flag, none from the others to what is sent.
    Throughput: a byte a clock, of which 7 or more, flags, CRC and escapes, are not of the body.
    Stall: while what is sent is not taken.

    Attributes
    ----------
    i : In(stream)
        A body: bytes, and whether one is the `last`.
    o : Out(stream)
        Bytes for the line.
    """

    i: In(stream.Signature(data.StructLayout({"byte": 8, "last": 1})))
    o: Out(stream.Signature(8))

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC().create()
        # The byte that is sent next, and whether its escape has been.
        byte = Signal(8)
        escaped = Signal()
        sent = Signal()
        special = Signal()
        rest = Signal(32)
        left = Signal(range(_CRC_BYTES + 1))
        m.d.comb += [
            special.eq((byte == FLAG) | (byte == ESCAPE)),
            crc.data.eq(self.i.p.byte),
        ]

        def send_plain():
            """Offer `byte`, if need be as two; `sent`: it is on its way."""
            m.d.comb += [
                self.o.payload.eq(Mux(escaped, byte ^ FLIP, Mux(special, ESCAPE, byte))),
                sent.eq(self.o.ready & self.o.valid & (escaped | ~special)),
            ]
            with m.If(self.o.ready & self.o.valid):
                m.d.sync += escaped.eq(special & ~escaped)

        with m.FSM():
            with m.State("idle"):
                m.d.comb += crc.start.eq(1)
                with m.If(self.i.valid):
                    m.next = "begin"
            with m.State("begin"):
                m.d.comb += [self.o.payload.eq(FLAG), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.next = "body"
            with m.State("body"):
                m.d.comb += [
                    byte.eq(self.i.p.byte),
                    self.o.valid.eq(self.i.valid),
                    self.i.ready.eq(sent),
                    crc.valid.eq(sent),
                ]
                send_plain()
                with m.If(sent & self.i.p.last):
                    m.next = "sum"
            with m.State("sum"):
                m.d.sync += [rest.eq(crc.crc), left.eq(_CRC_BYTES)]
                m.next = "crc"
            with m.State("crc"):
                m.d.comb += [byte.eq(rest[:8]), self.o.valid.eq(1)]
                send_plain()
                with m.If(sent):
                    m.d.sync += [rest.eq(Cat(rest[8:], rest[:8])), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "end"
            with m.State("end"):
                m.d.comb += [self.o.payload.eq(FLAG), self.o.valid.eq(1)]
                with m.If(self.o.ready):
                    m.next = "idle"
        return m
