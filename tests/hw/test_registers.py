# amaranth: UnusedElaboratable=no
"""The register bank against its declaration, and its page in docs/."""

import random
from dataclasses import fields, replace
from pathlib import Path

import pytest

from register_port import Port
from simulation import simulate
from weightstream.spec.machine import PRESETS, Machine
from weightstream.spec.registers import (
    BY_NAME,
    REGISTERS,
    Access,
    ErrorCode,
    Field,
    Register,
    constants,
    digest,
    machine_of,
    to_markdown,
)
from weightstream_hw.bus.registers import RegisterBank

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "registers.md"
CTRL, GIE, IER, ISR = (BY_NAME[name].address for name in ("ctrl", "gie", "ier", "isr"))
ORDERS = ["address first", "data first", "together"]
#: Registers that only hold what is written, word by word.
PLAIN = [
    (register.address + 4 * word, sum((1 << field.bits) - 1 << field.lsb for field in register.fields))
    for register in REGISTERS
    if all(field.access is Access.WRITE for field in register.fields)
    for word in range(register.words)
]


# ---- helpers -------------------------------------------------------------------------------------


async def pulse(ctx, signal):
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


# ---- declaration ---------------------------------------------------------------------------------


def test_document_is_as_generated():
    assert DOCUMENT.read_text("utf-8") == to_markdown()


def test_registers_do_not_overlap():
    words = [r.address + 4 * n for r in REGISTERS for n in range(r.words)]
    assert len(words) == len(set(words))
    assert len(BY_NAME) == len(REGISTERS)


@pytest.mark.parametrize("preset", PRESETS)
def test_machine_can_be_read_back(preset):
    machine = PRESETS[preset]
    words = {"shape": 0, "memory": 0}
    for (register, field), value in constants(machine).items():
        if register in words:
            words[register] |= value << BY_NAME[register].field(field).lsb
    assert machine_of(**words) == machine


def test_constants_hold_every_machine():
    for name, values in {
        "lanes": (1, 64), "slots": (8, 16), "columns": (1, 16), "group": (0, 4), "passes": (1, 4),
        "bus_bits": (32, 128), "address_bits": (32, 64), "burst_beats": (4, 256),
        "queue_words": (1 << 8, 1 << 14), "pool_bytes": (1 << 10, 1 << 24), "patch_words": (1 << 6, 1 << 12),
        "column_classes": (1 << 6, 1 << 15), "multipliers": (False, True), "thresholds": (False, True),
        "float_rounding": (False, True),
    }.items():  # fmt: skip
        for value in values:
            for (register, field), constant in constants(replace(Machine(), **{name: value})).items():
                assert constant < 1 << BY_NAME[register].field(field).bits


def test_machine_is_described_completely():
    assert len(BY_NAME["shape"].fields) + len(BY_NAME["memory"].fields) == len(fields(Machine))


def test_every_error_has_a_sentence():
    assert [code.value for code in ErrorCode] == list(range(len(ErrorCode)))
    assert all(code.sentence.endswith((".", "?")) for code in ErrorCode)


def test_bad_declarations_say_what():
    with pytest.raises(ValueError, match=r"^field f must lie within 64 bits, not at 60\+5$"):
        Field("f", 60, 5, Access.READ, "doc")
    with pytest.raises(ValueError, match=r"^reset of field f must fit 2 bits, not 0x4$"):
        Field("f", 0, 2, Access.WRITE, "doc", 4)
    with pytest.raises(ValueError, match=r"^field f must have a doc$"):
        Field("f", 0, 1, Access.READ, "")
    one = Field("one", 0, 2, Access.READ, "doc")
    with pytest.raises(ValueError, match=r"^address of r must be a multiple of 4 below 0x1000$"):
        Register("r", 6, (one,))
    with pytest.raises(ValueError, match=r"^field two of r overlaps the one below$"):
        Register("r", 0, (one, Field("two", 1, 2, Access.READ, "doc")))


# ---- bank ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_constants_read_as_declared(preset):
    dut = RegisterBank(PRESETS[preset])

    async def bench(ctx):
        port = Port(dut.bus)
        for (register, field), value in constants(PRESETS[preset]).items():
            place = BY_NAME[register].field(field)
            word = await port.read(ctx, BY_NAME[register].address)
            assert word >> place.lsb & (1 << place.bits) - 1 == value
        assert (await port.read(ctx, BY_NAME["identity"].address)).to_bytes(4, "little") == b"WSTR"
        assert await port.read(ctx, BY_NAME["map"].address) == digest()

    simulate(dut, bench)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["free", "stalled"])
def test_written_words_read_back(order, stall):
    dut = RegisterBank(Machine())
    numbers = random.Random(1)

    async def bench(ctx):
        port = Port(dut.bus, seed=2, stall=stall)
        held = {}
        for address, _ in PLAIN:
            held[address] = await port.read(ctx, address)
        assert held[BY_NAME["watchdog"].address] == BY_NAME["watchdog"].fields[0].reset
        for _ in range(60):
            address, mask = numbers.choice(PLAIN)
            data, strobes = numbers.getrandbits(32), numbers.getrandbits(4)
            await port.write(ctx, address, data, strobes, order)
            bits = sum(0xFF << 8 * n for n in range(4) if strobes >> n & 1)
            held[address] = (held[address] & ~bits | data & bits) & mask & 0xFFFFFFFF
            other = numbers.choice(PLAIN)[0]
            assert await port.read(ctx, other) == held[other]
        image = BY_NAME["image"].address
        assert ctx.get(dut.image__address) == held[image + 4] << 32 | held[image]
        assert ctx.get(dut.batch__items) == held[BY_NAME["batch"].address]

    simulate(dut, bench)


def test_free_words_read_zero_and_take_writes():
    dut = RegisterBank(Machine())
    taken = {r.address + 4 * n for r in REGISTERS for n in range(r.words)}

    async def bench(ctx):
        port = Port(dut.bus)
        before = [await port.read(ctx, address) for address, _ in PLAIN]
        for address in [a for a in range(0, 0x120, 4) if a not in taken] + [0x410, 0x810, 0xFFC]:
            await port.write(ctx, address, 0xFFFFFFFF)
            assert await port.read(ctx, address) == 0
        assert [await port.read(ctx, address) for address, _ in PLAIN] == before
        assert not ctx.get(dut.ctrl__ap_start)

    simulate(dut, bench)


def test_start_waits_until_the_job_is_taken_up():
    dut = RegisterBank(Machine())

    async def bench(ctx):
        port = Port(dut.bus)
        ctx.set(dut.ctrl__ap_idle, 1)
        assert await port.read(ctx, CTRL) == 0b0100
        await port.write(ctx, CTRL, 1)
        await ctx.tick().repeat(20)
        assert ctx.get(dut.ctrl__ap_start)
        await port.write(ctx, CTRL, 0)
        assert ctx.get(dut.ctrl__ap_start)
        ctx.set(dut.ctrl__ap_idle, 0)
        assert await port.read(ctx, CTRL) == 0b0001
        await pulse(ctx, dut.ctrl__ap_ready)
        assert not ctx.get(dut.ctrl__ap_start)
        assert await port.read(ctx, CTRL) == 0b1000
        assert await port.read(ctx, CTRL) == 0

    simulate(dut, bench)


def test_done_is_kept_until_it_is_read():
    dut = RegisterBank(Machine())

    async def bench(ctx):
        port = Port(dut.bus)
        await pulse(ctx, dut.ctrl__ap_done)
        await ctx.tick().repeat(20)
        await port.read(ctx, GIE)
        assert await port.read(ctx, CTRL) == 0b0010
        assert await port.read(ctx, CTRL) == 0

    simulate(dut, bench)


@pytest.mark.parametrize("after", range(8))
def test_done_beside_a_read_is_not_lost(after):
    dut = RegisterBank(Machine())

    async def bench(ctx):
        bus = dut.bus
        ctx.set(bus.rready, 1)
        ctx.set(bus.arvalid, 1)
        seen = 0
        for clock in range(20):
            ctx.set(dut.ctrl__ap_done, clock == after)
            *_, valid, data = await ctx.tick().sample(bus.rvalid, bus.rdata)
            seen += valid and data >> 1 & 1
        assert seen == 1

    simulate(dut, bench)


@pytest.mark.parametrize("bit", [0, 1], ids=["done", "ready"])
def test_interrupts_follow_their_enables(bit):
    dut = RegisterBank(Machine())

    async def bench(ctx):
        port = Port(dut.bus)
        events = [dut.ctrl__ap_done, dut.ctrl__ap_ready]
        await pulse(ctx, events[bit])
        assert not ctx.get(dut.interrupt)
        assert await port.read(ctx, ISR) == 1 << bit
        await port.write(ctx, IER, 1 << bit)
        assert not ctx.get(dut.interrupt)
        await port.write(ctx, GIE, 1)
        assert ctx.get(dut.interrupt)
        assert await port.read(ctx, CTRL) & 1 << 9
        await port.write(ctx, ISR, 1 << bit)
        assert not ctx.get(dut.interrupt)
        assert await port.read(ctx, ISR) == 0
        await pulse(ctx, events[1 - bit])
        assert not ctx.get(dut.interrupt)
        await pulse(ctx, events[bit])
        assert ctx.get(dut.interrupt)
        await port.write(ctx, ISR, 0b11)
        assert not ctx.get(dut.interrupt)
        await port.write(ctx, ISR, 1 << bit)
        assert await port.read(ctx, ISR) == 1 << bit

    simulate(dut, bench)


def test_soft_reset_is_one_clock():
    dut = RegisterBank(Machine())
    clocks = []

    async def watch(ctx):
        async for *_, reset in ctx.tick().sample(dut.reset__soft):
            clocks.append(reset)

    async def bench(ctx):
        port = Port(dut.bus)
        await port.write(ctx, BY_NAME["reset"].address, 0)
        assert not any(clocks)
        await port.write(ctx, BY_NAME["reset"].address, 1)
        await ctx.tick().repeat(10)
        assert sum(clocks) == 1
        assert await port.read(ctx, BY_NAME["reset"].address) == 0

    simulate(dut, bench, background=[watch])


def test_upper_word_goes_with_the_lower():
    dut = RegisterBank(Machine())
    at = BY_NAME["error_at"].address

    async def bench(ctx):
        port = Port(dut.bus)
        ctx.set(dut.error_at__address, 0x1234567890ABCDEF)
        ctx.set(dut.error__code, ErrorCode.MAGIC)
        assert await port.read(ctx, at) == 0x90ABCDEF
        ctx.set(dut.error_at__address, 0)
        assert await port.read(ctx, BY_NAME["error"].address) == ErrorCode.MAGIC
        assert await port.read(ctx, at + 4) == 0x12345678
        assert await port.read64(ctx, at) == 0

    simulate(dut, bench)


def test_bank_latencies_are_as_stated():
    dut = RegisterBank(Machine())

    async def bench(ctx):
        bus = dut.bus
        ctx.set(bus.arvalid, 1)
        ctx.set(bus.awvalid, 1)
        ctx.set(bus.wvalid, 1)
        for clock in range(1, 4):
            await ctx.tick()
            assert ctx.get(bus.rvalid) == (clock >= dut.read_latency)
            assert ctx.get(bus.bvalid) == (clock >= dut.write_latency)

    simulate(dut, bench)


def test_events_are_counted():
    dut = RegisterBank(Machine())
    names = [register.name for register in REGISTERS if register.fields[0].access is Access.COUNT]
    numbers = random.Random(3)
    counts = dict.fromkeys(names, 0)

    async def bench(ctx):
        port = Port(dut.bus)
        for clock in range(400):
            for index, name in enumerate(names):
                event = index == 0 or numbers.random() < index / len(names)
                ctx.set(getattr(dut, f"{name}__count"), event and clock < 380)
                counts[name] += event and clock < 380
            await ctx.tick()
        for name in names:
            assert await port.read64(ctx, BY_NAME[name].address) == counts[name]

    simulate(dut, bench)
