"""The front end: what it asks memory for, what it hands on, what it refuses."""

import random
from dataclasses import replace

import pytest

from weightstream.spec import image
from weightstream.spec.machine import Machine
from weightstream.spec.registers import ErrorCode
from weightstream_hw.control.program import ProgramReader
from weightstream_hw.sim.bench import Bench

MACHINE = Machine(lanes=16, slots=8, group=2, passes=2, column_classes=64, patch_words=64, address_bits=40)
IMAGE, PROGRAM = 0xAB_0000_1230, 0x540
#: A layer within the limits of the machine; not at them.
LEGAL = {
    "op": image.OP_MATRIX,
    "key_mode": image.KEYS_RICE,
    "row_groups": 2,
    "stored_lanes": 3,
    "config_words": 5,
    "rows": 100,
    "tile_rows": 16,
    "tiles": 7,
    "row_lanes": 16,
    "part_symbols": 30,
    "positions": 4,
    "column_period": 2,
    "distance": 1,
    "keys_offset": 0x1000,
    "keys_words": 9,
    "records_offset": 0x2000,
    "records_words": 100,
    "part_words": 4,
    "chunk_words": 4,
}
TABULATED = {"product_tables": 1, "group_log2": 1}
#: How far a layer may go.
LIMITS = {
    "stored_lanes": 16,
    "row_groups": 2,
    "passes": 1,
    "column_period": 64,
    "chunk_words": 64,
    "input_base": MACHINE.pool_bytes - 8,
    "output_base": MACHINE.pool_bytes - 8,
    "last_full": 8,
    "distance": 16,
}
COUNTS = ("rows", "tiles", "part_symbols", "positions", "tile_rows", "row_groups", "stored_lanes")
COUNTS += ("chunk_words", "part_words", "column_period")
IMPOSSIBLE = [
    *({name: 0} for name in COUNTS),
    *({name: limit + (8 if name.endswith("_base") else 1)} for name, limit in LIMITS.items()),
    *({name: 4} for name in ("clone_log2", "split_log2")),
    {"clone_log2": 2, "split_log2": 2},
    {"group_log2": 1},
    *(TABULATED | change for change in ({"clone_log2": 1}, {"split_log2": 1}, {"split_groups": 1})),
    TABULATED | {"row_groups": 1},
    TABULATED | {"group_log2": 2},
    *({"op": op} for op in (4, 15)),
]


STREAMS = ("command", "lanes_command", "records_command", "keys_command", "lane_table", "config_words")


def words_of(data):
    return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]


def header(magic=image.MAGIC, version=image.VERSION, digest=MACHINE.digest, words=1000):
    return words_of(image.HEADER.pack(magic, version, digest, 1 << 20, PROGRAM, words, 3))


def operation(seed, **changes):
    """Return an operation: its fields, its lane table, its configuration."""
    rng = random.Random(seed)
    fields = LEGAL | changes
    if fields["op"] != image.OP_MATRIX:
        return {"op": fields["op"], "item_words": seed}, [], []
    return fields, *(
        [rng.getrandbits(64) for _ in range(fields[n])] for n in ("stored_lanes", "config_words")
    )


END = operation(0, op=image.OP_END)


def expected_events(operations, batch):
    """Return what a program reader does for a program, in order."""
    events, at = [("command", IMAGE, 8, 0), ("command", IMAGE + PROGRAM, 1000, 0)], IMAGE + PROGRAM
    for d, table, config in operations:
        if table:
            repeats = max(0, -(-batch // d["positions"]) - 1)
            events.append(("lanes_command", IMAGE, d["stored_lanes"], repeats))
            events += [("lane_table", word) for word in table]
            events.append(("records_command", IMAGE + d["records_offset"], d["records_words"], repeats))
            if d["key_mode"] != image.KEYS_NONE:
                events.append(("keys_command", IMAGE + d["keys_offset"], d["keys_words"], repeats))
        values = dict.fromkeys((field.name for field in image.DESCRIPTOR), 0) | d
        events += [("layer", at, values), *(("config_words", word) for word in config)]
        at += image.DESCRIPTOR_BYTES + 8 * len(table + config)
    return events


def hw_read(words, expected, *, batch=1, seed=0, stall=0.0, machine=MACHINE, fails=False):
    """Run a program reader until what is expected has happened; return what did, and the errors."""
    dut = ProgramReader(machine)
    bench = Bench(dut, seed=seed, stall=stall)
    bench.source(dut.words, words)
    for name in STREAMS[:-1]:
        bench.sink(getattr(dut, name), sum(event[0] == name for event in expected))
    streams = [getattr(dut, name) for name in STREAMS]
    events, errors = [], []

    async def observe(ctx):
        values = [signal for stream in streams for signal in (stream.valid & stream.ready, stream.payload)]
        error = (dut.error, dut.error_code, dut.error_address)
        async for _, _, *found in ctx.tick().sample(*values, *error):
            for name, taken, payload in zip(STREAMS, found[:-3:2], found[1:-3:2], strict=True):
                if taken and isinstance(payload, int):
                    events.append((name, payload))
                elif taken:
                    events.append((name, *(payload[key] for key in payload.shape().members)))
            if found[-3]:
                errors.append((ErrorCode(found[-2]), found[-1]))

    async def take_layers(ctx):
        rng = random.Random(seed)

        async def take(ready, valid):
            taken = False
            while not taken:
                willing = rng.random() >= stall
                ctx.set(ready, willing)
                *_, valid_now = await ctx.tick().sample(valid)
                taken = willing and valid_now
            ctx.set(ready, 0)

        ctx.set(dut.image, IMAGE)
        ctx.set(dut.batch, batch)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for _, _, d in (event for event in expected if event[0] == "layer"):
            await ctx.tick().until(dut.layer_valid)
            now = {field.name: ctx.get(getattr(dut.descriptor, field.name)) for field in image.DESCRIPTOR}
            events.append(("layer", ctx.get(dut.operation), now))
            await take(dut.layer_ready, dut.layer_valid)
            for _ in range(d["config_words"]):
                await take(dut.config_words.ready, dut.config_words.valid)
            if d["op"] == image.OP_MATRIX:
                await ctx.tick().repeat(rng.randrange(1, 4))
                ctx.set(dut.config_done, 1)
                await ctx.tick()
                ctx.set(dut.config_done, 0)
        if fails:
            await ctx.tick().until(dut.error)
        # Nothing happens behind the end, or an error.
        ctx.set(dut.layer_ready, 1)
        for _ in range(10):
            await ctx.tick()
            active = [dut.words.ready, dut.layer_valid, *(stream.valid for stream in streams)]
            assert not any(map(ctx.get, active))

    bench.process(observe, background=True)
    bench.process(take_layers)
    bench.run()
    return events, errors


def program(operations):
    return [w for d, *rest in operations for w in sum(rest, words_of(image.pack_descriptor(**d)))]


@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["free", "stalled"])
def test_operations_are_handed_on_in_order(stall):
    operations = [
        operation(1, op=image.OP_LOAD),
        operation(2),
        operation(3, key_mode=image.KEYS_NONE, stored_lanes=16, config_words=1),
        operation(4, key_mode=image.KEYS_CLASSES, config_words=0, stored_lanes=1, records_words=0, low=-5),
        operation(5, op=image.OP_STORE),
        END,
    ]
    expected = expected_events(operations, 9)
    words = header() + program(operations)
    assert hw_read(words, expected, batch=9, seed=6, stall=stall) == (expected, [])


@pytest.mark.parametrize(
    "batch,positions", [(0, 4), (1, 4), (4, 4), (5, 4), (8, 4), (9, 4), (30, 1), (7, 4095)]
)
def test_memory_is_read_once_a_pass(batch, positions):
    operations = [operation(7, positions=positions), END]
    expected = expected_events(operations, batch)
    assert hw_read(header() + program(operations), expected, batch=batch, seed=8, stall=0.2) == (expected, [])


@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["free", "stalled"])
@pytest.mark.parametrize("field,used", [("magic", 1), ("version", 1), ("digest", 2)])
def test_a_wrong_header_has_its_own_code(field, used, stall):
    right = {"magic": image.MAGIC, "version": image.VERSION, "digest": MACHINE.digest}[field]
    for wrong in (right ^ 1, right ^ 1 << 31):
        words = header(**{field: wrong})[:used]
        expected = [("command", IMAGE, 8, 0)]
        found = hw_read(words, expected, seed=10, stall=stall, fails=True)
        assert found == (expected, [(ErrorCode[field.upper()], IMAGE)])


def check_refused(machine, changes):
    """Check that a layer is refused, with its own address, before anything that it needs is read."""
    before = [operation(1, op=image.OP_LOAD)]
    expected = expected_events(before, 1)
    words = header(digest=machine.digest) + program([*before, (LEGAL | changes, [], [])])
    error = (ErrorCode.DESCRIPTOR, IMAGE + PROGRAM + image.DESCRIPTOR_BYTES)
    assert hw_read(words, expected, machine=machine, fails=True) == (expected, [error])


@pytest.mark.parametrize("changes", IMPOSSIBLE, ids=lambda c: ",".join(f"{k}={v}" for k, v in c.items()))
def test_an_impossible_descriptor_is_refused(changes):
    check_refused(MACHINE, changes)


@pytest.mark.parametrize(
    "lacks,changes",
    [
        ({"multipliers": False}, {}),
        ({"group": 0}, {"product_tables": 1}),
        ({"thresholds": False}, {"use_thresholds": 1}),
    ],
    ids=["multipliers", "product tables", "thresholds"],
)
def test_what_a_machine_lacks_is_refused(lacks, changes):
    check_refused(replace(MACHINE, **lacks), changes)


@pytest.mark.parametrize(
    "changes",
    [LIMITS, {"clone_log2": 3}, {"split_log2": 2, "clone_log2": 1, "split_groups": 1}, TABULATED]
    + [{"row_groups": 1}, {"use_thresholds": 1, "rounding": 2}],
    ids=["limits", "clones", "parts", "tables", "groups", "thresholds"],
)
def test_all_that_the_machine_has_can_be_asked_for(changes):
    operations = [operation(12, **changes), END]
    expected = expected_events(operations, 3)
    assert hw_read(header() + program(operations), expected, batch=3) == (expected, [])
