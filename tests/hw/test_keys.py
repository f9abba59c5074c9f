# amaranth: UnusedElaboratable=no
"""Keys and classes of rows, against the golden decoder."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.sim import Simulator

from simulation import simulate
from weightstream.codec.keys import KeyCode, decode_keys, encode_keys
from weightstream.golden.decode.keys import RiceKeyDecoder as GoldenKeyDecoder
from weightstream.spec.image import KEY_CLASS_FIELDS, KEYS_CLASSES, KEYS_NONE, KEYS_RICE
from weightstream.spec.machine import PRESETS, Machine
from weightstream_hw.decode.keys import CLASSES, RiceKeyDecoder

MACHINE = Machine(lanes=24, slots=8)


@dataclass
class Layer:
    """A layer's keys: classes (rows, k, rice, lift, field), section; how its rows are dealt."""

    mode: int
    classes: list[tuple]
    data: bytes
    keys: list[tuple[int, int, int]]
    row_groups: int = 1
    slot_groups: int = 8
    passes: int = 1

    def tile_rows(self, machine):
        return self.row_groups * machine.group_lanes * self.slot_groups

    def tiles(self, machine):
        """Return what is written for each tile of a pass, by (row group, lane, slot group)."""
        size = self.tile_rows(machine)
        places = [
            (u // machine.group_lanes % self.row_groups, u % machine.group_lanes)
            + (u // (machine.group_lanes * self.row_groups),)
            for u in range(size)
        ]
        return [
            dict(zip(places, self.keys[first : first + size], strict=False))
            for first in range(0, len(self.keys), size)
        ]


def bits(text):
    text = text.replace(" ", "")
    return int(text + "0" * (-len(text) % 8), 2).to_bytes(-(-len(text) // 8), "big")


def rice_layer(rng, rows, spread, **how):
    """Return a layer of sorted keys; `spread` is how far apart they are, at least."""
    fields = rng.sample(range(16), len(rows))
    bits = [rng.choice([0, 1, 3, 8, 11, 15]) for _ in rows]
    keys = []
    for k, count in zip(bits, rows, strict=True):
        end = (1 << k) - 1
        own = sorted(rng.randrange(min(end, spread * count) + 1) for _ in range(count))
        # A key may fall by one between equal rows.
        if rng.random() < 0.5:
            own = [max(key - (rng.random() < 0.3), 0) for key in own]
            own = [max(key, before - 1) for key, before in zip(own, [0, *own], strict=False)]
        keys += own
    codes, section = encode_keys(np.array(keys, np.uint16), bits, rows)
    assert decode_keys(section, codes, rows).tolist() == keys
    classes = [
        (count, code.bits, code.rice, code.lift, field)
        for count, code, field in zip(rows, codes, fields, strict=True)
    ]
    k_and_field = [(c[1], c[4]) for c in classes for _ in range(c[0])]
    expected = [(key, k, field) for key, (k, field) in zip(keys, k_and_field, strict=True)]
    assert all(key == 0 for key, k, _ in expected if k == 0)
    return Layer(KEYS_RICE, classes, section, expected, **how)


def named_layer(rng, rows, **how):
    numbers = [rng.randrange(CLASSES) for _ in range(rows)]
    classes = [(0, rng.randrange(16), 0, 0, rng.randrange(16)) for _ in range(CLASSES)]
    padded = [*numbers, 0]
    section = bytes(padded[i] << 4 | padded[i + 1] for i in range(0, rows, 2))
    return Layer(KEYS_CLASSES, classes, section, [(0, 0, classes[n][4]) for n in numbers], **how)


def plain_layer(rng, rows, **how):
    return Layer(KEYS_NONE, [(0, 7, 3, 1, 9)], b"", [(0, 0, 9)] * rows, **how)


def hw_keys(machine, layers, seed, stall=0.0, hold=60):
    """Run layers; check every tile while it is in use; return errors and the clocks of each pass."""
    dut = RiceKeyDecoder(machine)
    rng = random.Random(seed)
    memory = [{}, {}]
    clock = errors = 0
    spans = []

    async def drive(ctx):
        for layer in layers:
            for number, row_class in enumerate(layer.classes):
                value, lsb = 0, 0
                for (_, width), part in zip(KEY_CLASS_FIELDS, row_class, strict=True):
                    value |= part << lsb
                    lsb += width
                ctx.set(dut.config, {"key_class": 1, "address": number, "data": value})
                await ctx.tick()
            ctx.set(dut.config, {"key_class": 0})
            section = layer.data + bytes(-len(layer.data) % 8)
            words = [int.from_bytes(section[i : i + 8], "little") for i in range(0, len(section), 8)]
            ctx.set(dut.key_mode, layer.mode)
            ctx.set(dut.rows, len(layer.keys))
            ctx.set(dut.tile_rows, layer.tile_rows(machine))
            ctx.set(dut.row_groups, layer.row_groups)
            ctx.set(dut.keys_words, len(words))
            for _ in range(layer.passes):
                began = clock
                ctx.set(dut.start, 1)
                left = list(words)
                while True:
                    ready = bool(left) and ctx.get(dut.words.valid) and ctx.get(dut.words.ready)
                    await ctx.tick()
                    ctx.set(dut.start, 0)
                    if ready:
                        left.pop(0)
                        ctx.set(dut.words.valid, 0)
                    if not ctx.get(dut.busy):
                        break
                    if left and not ctx.get(dut.words.valid) and rng.random() >= stall:
                        ctx.set(dut.words.payload, left[0])
                        ctx.set(dut.words.valid, 1)
                    assert clock - began < 200_000, "no end"
                assert not left, "words were left"
                spans.append(clock - began)

    async def remember(ctx):
        nonlocal clock, errors
        async for _, _, write, error in ctx.tick().sample(dut.write, dut.error):
            clock += 1
            errors += error
            if write.enable:
                place = (write.row_group, write.lane, write.slot)
                memory[write.bank][place] = (write.key, write.bits, write.field)

    def check(bank, tile):
        assert tile.items() <= memory[bank].items()

    async def run_tiles(ctx):
        before = None
        for layer in layers:
            for tile in layer.tiles(machine) * layer.passes:
                waited = 0
                while not ctx.get(dut.tile_ready):
                    await ctx.tick()
                    waited += 1
                    assert waited < 50_000, "no keys"
                bank = ctx.get(dut.bank)
                assert before is None or bank != before[0]
                check(bank, tile)
                ctx.set(dut.tile_take, 1)
                await ctx.tick()
                ctx.set(dut.tile_take, 0)
                # A tile has at least a row start and a symbol. The one before is in use for some clocks more.
                shortest = 2 * machine.slots
                await ctx.tick().repeat(shortest - 1)
                if before:
                    check(*before)
                before = bank, tile
                await ctx.tick().repeat(1 + rng.randrange(hold))
        assert not ctx.get(dut.tile_ready)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_process(remember)
    sim.add_testbench(drive)
    sim.add_testbench(run_tiles)
    sim.run()
    return errors, spans


@pytest.mark.parametrize("stall", [0.0, 0.6], ids=["free", "stalled"])
@pytest.mark.parametrize("spread", [1, 40, 3000])
def test_keys_match_golden(stall, spread):
    rng = random.Random(spread)
    layer = rice_layer(rng, [70, 0, 200, 1, 60], spread, row_groups=3, slot_groups=4)
    golden = GoldenKeyDecoder(layer.data)
    codes = [KeyCode(k, rice, lift) for _, k, rice, lift, _ in layer.classes]
    keys = [golden.decode(code, c[0]) for code, c in zip(codes, layer.classes, strict=True)]
    assert sum(keys, []) == [key for key, _, _ in layer.keys]
    assert hw_keys(MACHINE, [layer], 2, stall)[0] == 0


def test_all_parameters_match_golden():
    rng = random.Random(4)
    layers = []
    for rice in range(16):
        gaps = [1 + rng.randrange(1 << max(rice - 3, 0)) for _ in range(4)] + [1 << min(rice, 14)]
        keys = np.cumsum(gaps) - np.arange(1, 6)
        codes = "".join(
            "1" * (gap >> rice) + "0" + f"{gap & (1 << rice) - 1:0{rice}b}"[:rice] for gap in gaps
        )
        k = min(rice + 2, 15)
        expected = GoldenKeyDecoder(bits(codes)).decode(KeyCode(k, rice, 1), 5)
        assert expected == keys.tolist()
        layers.append(Layer(KEYS_RICE, [(5, k, rice, 1, 3)], bits(codes), [(key, k, 3) for key in expected]))
    assert hw_keys(MACHINE, layers, 5)[0] == 0


def test_passes_and_layers_follow_each_other():
    rng = random.Random(6)
    layers = [
        rice_layer(rng, [100, 33], 30, row_groups=3, slot_groups=1, passes=3),
        named_layer(rng, 101, row_groups=3, slot_groups=2, passes=2),
        plain_layer(rng, 60, slot_groups=1, passes=2),
        rice_layer(rng, [5] * 16, 5, row_groups=3, passes=4),
        named_layer(rng, 1),
        plain_layer(rng, 1),
    ]
    errors, _ = hw_keys(MACHINE, layers, 7, stall=0.3)
    assert errors == 0


@pytest.mark.parametrize("machine", [PRESETS["tiny"], Machine(lanes=1, slots=16)], ids=["tiny", "one_lane"])
def test_other_machines(machine):
    rng = random.Random(8)
    layers = [
        rice_layer(rng, [30, 9], 10, slot_groups=machine.slots),
        named_layer(rng, 30, slot_groups=2),
    ]
    assert hw_keys(machine, layers, 9)[0] == 0


def test_no_tile_is_overwritten_while_it_is_in_use():
    rng = random.Random(10)
    layers = [plain_layer(rng, 4, slot_groups=1), named_layer(rng, 400, slot_groups=1)]
    assert hw_keys(MACHINE, layers, 11, hold=1)[0] == 0


def test_a_key_takes_two_clocks():
    rng = random.Random(12)
    rows = 190
    keys = np.sort(rng.choices(range(1 << 15), k=rows)).astype(np.uint16)
    codes, section = encode_keys(keys, [15], [rows])
    layer = Layer(
        KEYS_RICE,
        [(rows, 15, codes[0].rice, codes[0].lift, 2)],
        section,
        [(int(key), 15, 2) for key in keys],
        row_groups=3,
    )
    assert max(int(gap) >> codes[0].rice for gap in np.diff(keys, prepend=0)) < 16
    _, (clocks,) = hw_keys(MACHINE, [layer], 13)
    assert clocks <= 2 * rows + 10


@pytest.mark.parametrize("mode", [KEYS_NONE, KEYS_CLASSES], ids=["no_keys", "classes"])
def test_a_row_without_key_takes_one_clock(mode):
    rng = random.Random(14)
    layer = (named_layer if mode else plain_layer)(rng, 190, row_groups=3)
    _, (clocks,) = hw_keys(MACHINE, [layer], 15)
    assert clocks <= 190 + 10


@pytest.mark.parametrize(
    "k, rice, section, keys",
    [(3, 0, "1111110 110", [6, 0]), (15, 15, "1" * 40 + "0" + "1" * 15, [0x7FFF])],
    ids=["by_little", "by_far"],
)
def test_keys_beyond_their_bits_are_errors_and_cut(k, rice, section, keys):
    classes = [(len(keys), k, rice, 0, 1)]
    layer = Layer(KEYS_RICE, classes, bits(section), [(key, k, 1) for key in keys])
    assert hw_keys(MACHINE, [layer], 16)[0] == 1


def test_keys_below_zero_are_errors():
    layer = Layer(KEYS_RICE, [(1, 4, 1, 1, 1)], bits("00"), [(15, 4, 1)])
    assert hw_keys(MACHINE, [layer], 17)[0] == 1


def test_the_greatest_gap_is_no_error():
    # From 0 to 2**15 - 1, stored plus 1, as ones.
    layer = Layer(KEYS_RICE, [(1, 15, 0, 1, 1)], bits("1" * (1 << 15) + "0"), [((1 << 15) - 1, 15, 1)])
    assert hw_keys(MACHINE, [layer], 18)[0] == 0


def test_rows_behind_the_last_class_are_an_error_and_have_no_keys():
    classes = [(1, 2, 0, 0, number) for number in range(15)] + [(2, 2, 0, 0, 15)]
    keys = [(1, 2, number) for number in range(15)] + [(1, 2, 15), (2, 2, 15)]
    section = bits("10" * 17)
    fine = Layer(KEYS_RICE, classes, section, keys)
    more = [(key, k, field) for key, k, field in keys] + [(0, 0, field) for field in (0, 0, 0)]
    assert hw_keys(MACHINE, [fine], 19)[0] == 0
    errors, _ = hw_keys(MACHINE, [Layer(KEYS_RICE, classes, section, more)], 20)
    assert errors == 1


@pytest.mark.parametrize("mode", [KEYS_RICE, KEYS_CLASSES], ids=["rice", "classes"])
def test_a_section_that_ends_early_is_an_error_and_reads_as_zeros(mode):
    classes = [(40, 8, 3, 0, 5)]
    keys = [(0, 8, 5) if mode == KEYS_RICE else (0, 0, 5)] * 40
    errors, _ = hw_keys(MACHINE, [Layer(mode, classes, bytes(8), keys)], 21)
    assert errors == 1


@pytest.mark.parametrize("fill", [0xFF, 0x00, 0xA5])
def test_any_section_comes_to_an_end(fill):
    layer = Layer(KEYS_RICE, [(60, 15, 2, 1, 0)], bytes([fill]) * 800, [])
    # Whatever the keys are: they are not looked at.
    layer.tiles = lambda machine: [{}] * 1
    layer.keys = [None] * 60
    hw_keys(MACHINE, [layer], 22)


def test_latency_matches_statement():
    dut = RiceKeyDecoder(MACHINE)
    clocks = 0

    async def bench(ctx):
        nonlocal clocks
        ctx.set(dut.config, {"key_class": 1, "address": 0, "data": 8 | 5 << 21 | 2 << 25})
        await ctx.tick()
        ctx.set(dut.config, {"key_class": 0})
        for port, value in (
            (dut.key_mode, KEYS_RICE),
            (dut.rows, 8),
            (dut.tile_rows, 8),
            (dut.row_groups, 1),
        ):
            ctx.set(port, value)
        ctx.set(dut.keys_words, 1)
        ctx.set(dut.words.valid, 1)
        ctx.set(dut.start, 1)
        ready = []
        writes = []
        while not ready:
            await ctx.tick()
            ctx.set(dut.start, 0)
            clocks += 1
            if ctx.get(dut.write.enable):
                writes.append(clocks)
            if ctx.get(dut.tile_ready):
                ready.append(clocks)
        assert writes == [dut.latency + 2 * i for i in range(8)]
        assert ready == [writes[-1] + 1]

    simulate(dut, bench)
