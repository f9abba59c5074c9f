"""The front end: what it asks memory for, what it hands on, what it refuses."""

import random
from types import SimpleNamespace

import pytest

from descriptors import IMPOSSIBLE, MACHINE, POSSIBLE, case, layer
from weightstream.errors import ImageError
from weightstream.golden.machine import check_descriptor
from weightstream.spec import image
from weightstream.spec.operations import refusals
from weightstream.spec.registers import ErrorCode
from weightstream_hw.control.program import ProgramReader
from weightstream_hw.sim.bench import Bench

IMAGE, PROGRAM = 0xAB_0000_1230, 0x540
STREAMS = ("command", "lanes_command", "records_command", "keys_command", "lane_table", "config_words")


def words_of(data):
    return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]


def header(magic=image.MAGIC, version=image.VERSION, digest=MACHINE.digest, words=1000):
    return words_of(image.HEADER.pack(magic, version, digest, 1 << 20, PROGRAM, words, 3))


def operation(seed, **given):
    """Return an operation: its fields, its lane table, its configuration."""
    rng = random.Random(seed)
    if given.get("op", image.OP_MATRIX) != image.OP_MATRIX:
        return given | {"item_words": seed}, [], []
    fields = layer(**given)
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
            if d["op"] == image.OP_MATRIX:
                for _ in range(d["config_words"]):
                    await take(dut.config_words.ready, dut.config_words.valid)
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
        operation(3, key_mode=image.KEYS_NONE, config_words=1),
        operation(4, key_mode=image.KEYS_CLASSES, config_words=0, row_groups=1, low=-5),
        operation(5, op=image.OP_STORE),
        END,
    ]
    expected = expected_events(operations, 9)
    words = header() + program(operations)
    assert hw_read(words, expected, batch=9, seed=6, stall=stall) == (expected, [])


@pytest.mark.parametrize("batch,clone_log2", [(1, 1), (4, 1), (5, 1), (8, 1), (9, 1), (31, 0), (7, 3)])
def test_memory_is_read_once_a_pass(batch, clone_log2):
    operations = [operation(7, clone_log2=clone_log2), END]
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


def test_a_job_without_items_is_refused_before_memory_is_read():
    assert hw_read([], [], batch=0, fails=True) == ([], [(ErrorCode.BATCH, IMAGE)])


# ---- what gateware and golden machine refuse -----------------------------------------------------


@pytest.mark.parametrize("entry", POSSIBLE.values(), ids=POSSIBLE.keys())
def test_both_take_what_the_machine_has(entry):
    machine, fields = case(*entry)
    if fields["op"] != image.OP_END:
        check_descriptor(fields, machine)
    rng = random.Random(1)
    sizes = (fields["stored_lanes"], fields["config_words"]) if fields["op"] == image.OP_MATRIX else (0, 0)
    operations = [(fields, *([rng.getrandbits(64) for _ in range(size)] for size in sizes))]
    operations += [END] * (fields["op"] != image.OP_END)
    expected = expected_events(operations, 3)
    words = header(digest=machine.digest) + program(operations)
    assert hw_read(words, expected, batch=3, machine=machine) == (expected, [])


@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["free", "stalled"])
@pytest.mark.parametrize("entry", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_both_refuse_the_same_descriptors(entry, stall):
    machine, fields = case(*entry)
    with pytest.raises(ImageError) as caught:
        check_descriptor(fields, machine)
    before = [operation(1, op=image.OP_LOAD)]
    expected = expected_events(before, 1)
    words = header(digest=machine.digest) + program([*before, (fields, [], [])])
    # Its own address, and nothing is read for it.
    error = (caught.value.code, IMAGE + PROGRAM + image.DESCRIPTOR_BYTES)
    assert error[0] == ErrorCode.DESCRIPTOR
    assert hw_read(words, expected, machine=machine, stall=stall, fails=True) == (expected, [error])


def test_every_condition_is_the_only_reason_of_some_refusal():
    alone, conditions = set(), {}
    for entry in IMPOSSIBLE.values():
        machine, d = case(*entry)
        full_rows = d["rows"] - (d["tiles"] - 1) * d["tile_rows"] - d["last_edge"]
        conditions = refusals(SimpleNamespace(**d), machine, full_rows)
        reasons = [number for number, reason in enumerate(conditions.get(d["op"], ())) if reason]
        alone |= {(d["op"], *reasons)} if len(reasons) == 1 else set()
    assert alone == {(op, number) for op, own in conditions.items() for number in range(len(own))}
