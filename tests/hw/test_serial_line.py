# amaranth: UnusedElaboratable=no
"""The serial line of an accelerator: bytes, frames, whole requests."""

import random
import zlib

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bus_bench import STALLS, contents, offer_bytes, receive, send
from simulation import simulate
from weightstream.spec import serial
from weightstream.spec.serial import encode
from weightstream_hw.bridge.frames import FrameReader, FrameWriter
from weightstream_hw.bridge.requests import RequestReader
from weightstream_hw.bridge.uart import SMALLEST_DIVISOR, UartReceiver, UartTransmitter

SPECIAL = bytes([serial.FLAG, serial.ESCAPE])


# ---- the line ------------------------------------------------------------------------------------


class Wire(wiring.Component):
    """A transmitter and a receiver of another rate."""

    byte: Out(8)
    valid: Out(1)
    cut: In(1)

    def __init__(self, sends, takes):
        self.transmitter, self.receiver = UartTransmitter(sends), UartReceiver(takes)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.transmitter, m.submodules.receiver = self.transmitter, self.receiver
        m.d.comb += [
            self.receiver.line.eq(self.transmitter.line & ~self.cut),
            self.byte.eq(self.receiver.byte),
            self.valid.eq(self.receiver.valid),
        ]
        return m


async def hear(ctx, dut, count, limit=100_000):
    """Return bytes that are there for a clock each."""
    heard = []
    for _ in range(limit):
        if len(heard) == count:
            break
        *_, byte, valid = await ctx.tick().sample(dut.byte, dut.valid)
        if valid:
            heard.append(byte)
    return bytes(heard)


@pytest.mark.parametrize("sends, takes", [(4, 4), (5, 5), (16, 16), (48, 50), (50, 48)])
def test_bytes_cross_the_line_though_clocks_differ(sends, takes):
    dut, text, heard = Wire(sends, takes), bytes([0, 255, 0x55, 0xAA]) + contents(4, seed=sends), []

    async def talk(ctx):
        await send(ctx, dut.transmitter.i, text, 1, 0.0)

    async def listen(ctx):
        heard.append(await hear(ctx, dut, len(text)))

    simulate(dut, talk, listen)
    assert heard == [text]


def test_a_broken_line_is_no_byte_and_is_left_behind():
    dut, heard = Wire(8, 8), []

    async def talk(ctx):
        ctx.set(dut.cut, 1)  # low for so long that the stop bit is missing
        await ctx.tick().repeat(200)
        ctx.set(dut.cut, 0)
        await ctx.tick().repeat(8)
        await send(ctx, dut.transmitter.i, b"after", 1, 0.0)

    async def listen(ctx):
        heard.append(await hear(ctx, dut, 5))

    simulate(dut, talk, listen)
    assert heard == [b"after"]


@pytest.mark.parametrize("block", [UartReceiver, UartTransmitter])
def test_bits_that_are_too_short_are_refused(block):
    with pytest.raises(ValueError, match=f"^divisor must be at least {SMALLEST_DIVISOR}, not 3$"):
        block(3)


# ---- frames --------------------------------------------------------------------------------------


BODIES = [b"a", SPECIAL * 4, bytes(range(256)), contents(40, seed=7)]
#: A body whose CRC has bytes that are escaped.
BODIES.append(
    next(
        b
        for b in (bytes([n, 9]) for n in range(256))
        if set(SPECIAL) & set(zlib.crc32(b).to_bytes(4, "little"))
    )
)


@pytest.mark.parametrize("stall", STALLS, ids=["free", "stalled"])
def test_written_frames_are_those_of_the_protocol(stall):
    dut, got = FrameWriter(), []
    payloads = [{"byte": b, "last": at == len(body) - 1} for body in BODIES for at, b in enumerate(body)]
    expected = b"".join(map(encode, BODIES))

    async def source(ctx):
        await send(ctx, dut.i, payloads, 3, stall)

    async def sink(ctx):
        got.append(await receive(ctx, dut.o, len(expected), 4, stall))

    simulate(dut, source, sink)
    [(sent, _)] = got
    assert bytes(sent) == expected


def test_read_frames_lose_escapes_and_say_whether_they_are_good():
    dut, ended = FrameReader(), []
    damaged = bytearray(encode(BODIES[2]))
    damaged[50] ^= 4
    text = (
        b"".join(map(encode, BODIES)) + damaged + encode(b"last")[:-1] + bytes([serial.ESCAPE, serial.FLAG])
    )

    async def source(ctx):
        await offer_bytes(ctx, dut, text, random.Random(5))
        await ctx.tick()

    async def watch(ctx):
        body = []
        while True:
            sampled = (dut.data, dut.data_valid, dut.flag, dut.good)
            *_, data, valid, flag, good = await ctx.tick().sample(*sampled)
            if valid:
                body.append(data)
            if flag:
                if body:
                    ended.append((bytes(body[:-4]), bool(good)))
                body = []

    simulate(dut, source, background=[watch])
    assert [body for body, good in ended if good] == BODIES
    assert [good for _, good in ended[len(BODIES) :]] == [False, False]


def test_requests_are_whole_or_nothing():
    dut, seen = RequestReader(), []
    longest = serial.REQUEST.pack(6, 1, 1024, 0) + contents(1024, seed=1)
    good = [serial.REQUEST.pack(1, 9, 4, 0x1234), longest, serial.REQUEST.pack(3, 7, 4, 0) + b"abcd"]
    # Too long, too short, cut off, behind noise: none of them is a request.
    bad = [encode(longest + b"x"), encode(b"1234567"), encode(longest)[:500], b"noise"]
    text = bad[3] + b"".join(encode(body) + bad[at] for at, body in enumerate(good)) + encode(good[0])

    async def source(ctx):
        for byte in text:
            await offer_bytes(ctx, dut, [byte], random.Random(byte), "byte_valid")
            if ctx.get(dut.valid):
                header, size = ctx.get(dut.header), ctx.get(dut.payload)
                payload = []
                for index in range(size):
                    ctx.set(dut.index, index)
                    await ctx.tick()
                    payload.append(ctx.get(dut.shown))
                seen.append(header.as_bits().to_bytes(8, "little") + bytes(payload))
                ctx.set(dut.done, 1)
                await ctx.tick()
                ctx.set(dut.done, 0)
                # Its own last flag was the one that ended it: the next one begins a frame.

    simulate(dut, source)
    assert seen == [*good, good[0]]
