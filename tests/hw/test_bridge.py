# amaranth: UnusedElaboratable=no
"""Requests of the serial line, done and answered; docs/serial.md is true."""

import random
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from bus_bench import clocks_until, contents, offer_bytes
from simulation import simulate
from weightstream.spec import serial
from weightstream.spec.machine import Machine
from weightstream.spec.registers import ADDRESS_BITS
from weightstream.spec.serial import MEMORY_BASE, Command, Frames, Status, encode
from weightstream_hw.bridge.engine import Engine
from weightstream_hw.bridge.frames import FrameWriter
from weightstream_hw.bridge.memory import BlockMemory

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "serial.md"
MACHINE = Machine()
MEMORY_BYTES = 8192
CLOCK_HZ = 48_000_000


class Bridge(wiring.Component):
    """An engine with its memory, and frames on both sides."""

    def __init__(self):
        self.memory = BlockMemory(MACHINE, MEMORY_BYTES)
        self.engine = Engine(self.memory, CLOCK_HZ)
        self.frames = FrameWriter()
        super().__init__({"unused": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory, m.submodules.engine, m.submodules.frames = self.memory, self.engine, self.frames
        wiring.connect(m, self.engine.words, self.memory.request)
        wiring.connect(m, self.engine.answer, self.frames.i)
        m.d.comb += [
            self.engine.words_answer.eq(self.memory.answer),
            self.engine.words_answered.eq(self.memory.answered),
        ]
        return m


class Registers:
    """Registers that count how often they were accessed, behind an AXI4-Lite bus with random pauses."""

    def __init__(self, seed):
        self.values, self.reads, self.writes, self.bad = {}, [], [], set()
        self.random = random.Random(seed)

    async def pause(self, ctx):
        while self.random.random() < 0.5:
            await ctx.tick()

    async def take(self, ctx, ready, valid, payload):
        """Be ready until there is something; return it."""
        await self.pause(ctx)
        ctx.set(ready, 1)
        taken = False
        while not taken:
            *_, taken, value = await ctx.tick().sample(valid, payload)
        ctx.set(ready, 0)
        return value

    async def give(self, ctx, valid, ready):
        ctx.set(valid, 1)
        taken = False
        while not taken:
            *_, taken = await ctx.tick().sample(ready)
        ctx.set(valid, 0)

    async def serve_reads(self, ctx, bus):
        while True:
            address = await self.take(ctx, bus.arready, bus.arvalid, bus.araddr)
            self.reads.append(address)
            await self.pause(ctx)
            ctx.set(bus.rdata, self.values.get(address, 0))
            ctx.set(bus.rresp, 2 if address in self.bad else 0)
            await self.give(ctx, bus.rvalid, bus.rready)

    async def serve_writes(self, ctx, bus):
        while True:
            order = [("aw", bus.awaddr), ("w", bus.wdata)]
            self.random.shuffle(order)
            taken = {}
            for name, payload in order:
                ready, valid = getattr(bus, f"{name}ready"), getattr(bus, f"{name}valid")
                taken[name] = await self.take(ctx, ready, valid, payload)
            self.writes.append((taken["aw"], taken["w"]))
            self.values[taken["aw"]] = taken["w"]
            ctx.set(bus.bresp, 2 if taken["aw"] in self.bad else 0)
            await self.give(ctx, bus.bvalid, bus.bready)


def converse(exchanges, *, seed=1, stall=0.5, bad=(), clocks=3000):
    """Send texts in turn; return registers and answers, None where none comes in so many clocks."""
    dut, registers, answers = Bridge(), Registers(seed), []
    registers.bad |= set(bad)
    rng = random.Random(seed)

    async def bench(ctx):
        for text in exchanges:
            await offer_bytes(ctx, dut.engine, text, rng, "byte_valid")
            frames, body = Frames(), []
            for _ in range(clocks):
                ctx.set(dut.frames.o.ready, rng.random() >= stall)
                *_, valid, ready, byte = await ctx.tick().sample(
                    dut.frames.o.valid, dut.frames.o.ready, dut.frames.o.payload
                )
                if valid and ready:
                    body += frames.feed(bytes([byte]))
                    if body:
                        break
            ctx.set(dut.frames.o.ready, 0)
            answers.append(body[0] if body else None)

    async def reads(ctx):
        await registers.serve_reads(ctx, dut.engine.registers)

    async def writes(ctx):
        await registers.serve_writes(ctx, dut.engine.registers)

    simulate(dut, bench, background=[reads, writes])
    return registers, answers


def request(command, sequence, length=0, address=0, payload=b""):
    return encode(serial.REQUEST.pack(command, sequence, length, address) + payload)


def reply(command, sequence, payload=b"", status=Status.OK, flags=0):
    return serial.REPLY.pack(command | serial.ANSWERED, sequence, status, flags) + payload


def test_identify_says_who_answers():
    _, answers = converse([request(Command.IDENTIFY, 5, serial.IDENTITY.size, 0xCAFE1234)])
    fields = (
        serial.MAGIC,
        serial.VERSION,
        serial.BLOCK_BYTES,
        MEMORY_BASE,
        MEMORY_BYTES,
        CLOCK_HZ,
        0xCAFE1234,
    )
    assert answers == [reply(Command.IDENTIFY, 5, serial.IDENTITY.pack(*fields))]


@pytest.mark.parametrize("seed", [1, 2])
def test_memory_is_written_and_read_in_blocks(seed):
    sizes = [8, 16, 1024]
    blocks = [contents(size, seed=size + seed) for size in sizes]
    starts = [MEMORY_BASE, MEMORY_BASE + 4096 - 8, MEMORY_BASE + MEMORY_BYTES - 1024]
    exchanges, expected = [], []
    for n, (start, block) in enumerate(zip(starts, blocks, strict=True)):
        exchanges.append(request(Command.WRITE_MEMORY, n, len(block), start, block))
        expected.append(reply(Command.WRITE_MEMORY, n))
    for n, (start, block) in enumerate(zip(starts, blocks, strict=True)):
        exchanges.append(request(Command.READ_MEMORY, 3 + n, len(block), start))
        expected.append(reply(Command.READ_MEMORY, 3 + n, block))
    assert converse(exchanges, seed=seed, stall=0.2)[1] == expected


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_repeated_register_request_is_answered_but_not_done_again(seed):
    value = bytes([1, 2, 3, 4])
    write = request(Command.WRITE_REGISTER, 8, 4, 0x10, value)
    read = request(Command.READ_REGISTER, 9, 4, 0x10)
    exchanges = [write, write, read, read, read, request(Command.READ_REGISTER, 10, 4, 0x10)]
    registers, answers = converse(exchanges, seed=seed)
    assert registers.writes == [(0x10, 0x04030201)] and registers.reads == [0x10, 0x10]
    assert answers == [
        *[reply(Command.WRITE_REGISTER, 8)] * 2,
        *[reply(Command.READ_REGISTER, 9, value)] * 3,
        reply(Command.READ_REGISTER, 10, value),
    ]


def test_identify_and_other_requests_end_the_memory_of_a_register_request():
    read = request(Command.READ_REGISTER, 4, 4, 0x20)
    identify = request(Command.IDENTIFY, 4, serial.IDENTITY.size)
    registers, _ = converse([read, identify, read, request(Command.STATUS, 5), read, read])
    assert registers.reads == [0x20] * 3


def test_a_refused_access_is_reported_and_its_report_repeated():
    write, read = (
        request(Command.WRITE_REGISTER, 1, 4, 0x44, bytes(4)),
        request(Command.READ_REGISTER, 2, 4, 0x44),
    )
    registers, answers = converse([write, write, read], bad={0x44})
    assert len(registers.writes) == 1
    assert answers == [
        *[reply(Command.WRITE_REGISTER, 1, status=Status.RESPONSE)] * 2,
        reply(Command.READ_REGISTER, 2, status=Status.RESPONSE),
    ]


END = MEMORY_BASE + MEMORY_BYTES
REFUSED = {
    "command": (Status.COMMAND, 0, 0, 0, b""),
    "unknown": (Status.COMMAND, 77, 8, MEMORY_BASE, b""),
    "identify": (Status.LENGTH, Command.IDENTIFY, 8, 0, b""),
    "status": (Status.LENGTH, Command.STATUS, 4, 0, b""),
    "payload": (Status.LENGTH, Command.READ_REGISTER, 4, 0, b"1234"),
    "register-length": (Status.LENGTH, Command.WRITE_REGISTER, 8, 0, bytes(8)),
    "short-payload": (Status.LENGTH, Command.WRITE_MEMORY, 16, MEMORY_BASE, bytes(8)),
    "no-length": (Status.LENGTH, Command.WRITE_MEMORY, 0, MEMORY_BASE, b""),
    "odd-length": (Status.LENGTH, Command.READ_MEMORY, 12, MEMORY_BASE, b""),
    "long-read": (Status.LENGTH, Command.READ_MEMORY, 1032, MEMORY_BASE, b""),
    "register-address": (Status.ADDRESS, Command.READ_REGISTER, 4, 1 << ADDRESS_BITS, b""),
    "odd-register": (Status.ADDRESS, Command.WRITE_REGISTER, 4, 0x12, bytes(4)),
    "below": (Status.ADDRESS, Command.READ_MEMORY, 8, MEMORY_BASE - 8, b""),
    "null": (Status.ADDRESS, Command.WRITE_MEMORY, 8, 0, bytes(8)),
    "behind": (Status.ADDRESS, Command.WRITE_MEMORY, 16, END - 8, bytes(16)),
    "top": (Status.ADDRESS, Command.READ_MEMORY, 8, 0xFFFFFFF8, b""),
    "odd-memory": (Status.ADDRESS, Command.READ_MEMORY, 8, MEMORY_BASE + 4, b""),
}


def test_requests_that_cannot_be_done_say_why_and_do_nothing():
    marks = [request(Command.WRITE_MEMORY, 100, 8, END - 8, b"untouch!")]
    looks = [request(Command.READ_MEMORY, 101, 8, END - 8)]
    cases = list(REFUSED.values())
    exchanges = [request(case[1], n, *case[2:]) for n, case in enumerate(cases)]
    registers, answers = converse([*marks, *exchanges, *looks], stall=0.1)
    for n, (name, (status, command, *_)) in enumerate(REFUSED.items()):
        assert answers[1 + n] == reply(command, n, status=status), name
    assert answers[-1] == reply(Command.READ_MEMORY, 101, b"untouch!")
    assert not registers.reads and not registers.writes


def test_damaged_requests_are_dropped_and_the_next_one_is_heard():
    start, sequence = request(Command.STATUS, 1), request(Command.STATUS, 2)
    damaged = bytearray(request(Command.WRITE_REGISTER, 3, 4, 0x10, bytes(4)))
    damaged[6] ^= 1
    lost = request(Command.WRITE_MEMORY, 4, 8, MEMORY_BASE, bytes(8))
    exchanges = [start, bytes(damaged), lost[:9] + lost[10:], lost[1:12], sequence]
    registers, answers = converse(exchanges, clocks=400)
    assert answers == [reply(Command.STATUS, 1), None, None, None, reply(Command.STATUS, 2)]
    assert not registers.writes


@pytest.mark.parametrize("words", [0, 1, 5])
def test_clocks_to_an_answer_match_statement(words):
    dut, clocks = Bridge(), []
    text = request(Command.STATUS, 1)
    if words:
        text = request(Command.WRITE_MEMORY, 1, 8 * words, MEMORY_BASE, bytes(8 * words))

    async def bench(ctx):
        for byte in text:
            ctx.set(dut.engine.byte, byte)
            ctx.set(dut.engine.byte_valid, 1)
            await ctx.tick()
        ctx.set(dut.engine.byte_valid, 0)
        clocks.append(await clocks_until(ctx, dut.engine.answer.valid))

    simulate(dut, bench)
    assert clocks == [dut.engine.latency + words * dut.engine.word_clocks]


def test_document_is_generated():
    assert DOCUMENT.read_text() == serial.to_markdown(), (
        "docs/serial.md is out of date: weightstream.spec.serial.to_markdown() is what it should be"
    )
