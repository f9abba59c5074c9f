"""Requests of the serial line, whole and checked."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from weightstream.spec import serial
from weightstream.spec.serial import BLOCK_BYTES

from .frames import FrameReader

#: What the bytes of a request are, the first one lowest: `weightstream.spec.serial.REQUEST`.
HEADER = data.StructLayout({"command": 8, "sequence": 8, "length": 16, "address": 32})
_HEADER_BYTES, _CRC_BYTES = serial.REQUEST.size, serial.CRC.size
#: A payload is kept with the CRC behind it, for nobody knows that it is one before the flag.
_KEPT = BLOCK_BYTES + _CRC_BYTES


class RequestReader(wiring.Component):
    """Collect a request, and offer it if its CRC is right. Until it is done with, nothing else is heard.

    Timing
    ------
    Latency: 1 clock from the flag that ends a frame to `valid`.
    Throughput: a byte a clock.
    Stall: bytes that come while a request is offered are lost, and what follows them up to a flag.

    Attributes
    ----------
    byte : In(8)
        A byte of the line.
    byte_valid : In(1)
        There is one.
    header : Out(HEADER)
        With `valid`: the request.
    payload : Out
        With `valid`: bytes that follow its header.
    valid : Out(1)
        A request is there.
    done : In(1)
        It is done with.
    index : In
        Number of a byte of the payload.
    shown : Out(8)
        That byte, a clock later.
    """

    def __init__(self):
        super().__init__(
            {
                "byte": In(8),
                "byte_valid": In(1),
                "header": Out(HEADER),
                "payload": Out(range(BLOCK_BYTES + 1)),
                "valid": Out(1),
                "done": In(1),
                "index": In(range(BLOCK_BYTES + 1)),
                "shown": Out(8),
            }
        )

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        m.submodules.frames = frames = FrameReader()
        m.submodules.buffer = buffer = Memory(shape=8, depth=_KEPT, init=[])
        write, read = buffer.write_port(), buffer.read_port()
        # Bytes of the frame; one more than there may be stands for all that are too many.
        most = _HEADER_BYTES + _KEPT
        count = Signal(range(most + 2))
        m.d.comb += [
            frames.byte.eq(self.byte),
            frames.valid.eq(self.byte_valid),
            write.addr.eq(count - _HEADER_BYTES),
            write.data.eq(frames.data),
            read.addr.eq(self.index),
            read.en.eq(1),
            self.shown.eq(read.data),
        ]
        with m.FSM():
            with m.State("hunt"):
                m.d.sync += count.eq(0)
                with m.If(frames.flag):
                    m.next = "collect"
            with m.State("collect"):
                with m.If(frames.data_valid):
                    with m.If(count < _HEADER_BYTES):
                        m.d.sync += self.header.eq(Cat(self.header.as_value()[8:], frames.data))
                    with m.Else():
                        m.d.comb += write.en.eq(count < most)
                    with m.If(count <= most):
                        m.d.sync += count.eq(count + 1)
                with m.If(frames.flag):
                    m.d.sync += [count.eq(0), self.payload.eq(count - (_HEADER_BYTES + _CRC_BYTES))]
                    with m.If(frames.good & (count >= _HEADER_BYTES + _CRC_BYTES) & (count <= most)):
                        m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.valid.eq(1)
                with m.If(self.done):
                    m.next = "hunt"
        return m
