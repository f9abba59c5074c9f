# amaranth: UnusedElaboratable=no

import random

import pytest

from simulation import simulate
from weightstream.spec.image import (
    CONFIG_COARSE,
    CONFIG_COLUMN_FIELD,
    CONFIG_COLUMNS,
    CONFIG_CONTEXTS,
    CONFIG_FINE,
    CONFIG_KEY_CLASS,
    CONFIG_NEIGHBOUR,
    CONFIG_NONE,
    CONFIG_PALETTE,
    config_word,
)
from weightstream_hw.control.configuration import ConfigurationLoader

NAMES = {
    CONFIG_COARSE: "coarse",
    CONFIG_FINE: "fine",
    CONFIG_CONTEXTS: "context",
    CONFIG_NEIGHBOUR: "neighbour",
    CONFIG_COLUMNS: "columns",
    CONFIG_COLUMN_FIELD: "column_field",
    CONFIG_PALETTE: "palette",
    CONFIG_KEY_CLASS: "key_class",
}


def random_words(seed, count, kinds=(*range(9),)):
    rng = random.Random(seed)
    return [(rng.choice(kinds), 8 * rng.randrange(512), rng.getrandbits(48)) for _ in range(count)]


def expected_writes(words):
    writes = []
    for kind, address, value in words:
        if kind == CONFIG_CONTEXTS:
            writes += [("context", address + i, value >> 6 * i & 63) for i in range(8)]
        elif kind in NAMES:
            writes.append((NAMES[kind], address, value))
    return writes


def hw_load(words, seed=0, stall=0.0, behind=0):
    """Return the writes, clocks from start to done, errors, and the words that were not taken."""
    dut = ConfigurationLoader()
    writes, errors, clocks, left = [], 0, 0, list(words) + [(CONFIG_COARSE, 1, 2)] * behind

    async def bench(ctx):
        nonlocal errors, clocks
        rng = random.Random(seed)
        ctx.set(dut.count, len(words))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        clocks = 1
        valid = False
        while True:
            valid = valid or (bool(left) and rng.random() >= stall)
            if valid:
                ctx.set(dut.words.payload, config_word(*left[0]))
            ctx.set(dut.words.valid, valid)
            done = ctx.get(dut.done)
            write = dut.write
            enabled = [name for name in NAMES.values() if ctx.get(write[name])]
            assert len(enabled) <= 1
            if enabled:
                writes.append((enabled[0], ctx.get(write.address), ctx.get(write.data) & (1 << 48) - 1))
                if enabled[0] == "context":
                    writes[-1] = (*writes[-1][:2], writes[-1][2] & 63)
            errors += ctx.get(dut.error)
            if done:
                assert not ctx.get(dut.busy)
                await ctx.tick().repeat(3)
                assert not ctx.get(dut.done)
                return
            if valid and ctx.get(dut.words.ready):
                left.pop(0)
                valid = False
            await ctx.tick()
            clocks += 1
            assert clocks < 100_000, "no end"

    simulate(dut, bench)
    return writes, clocks, errors, left


@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["free", "stalled"])
def test_words_become_writes(stall):
    words = random_words(1, 200)
    writes, _, errors, _ = hw_load(words, seed=2, stall=stall)
    assert writes == expected_writes(words)
    assert errors == 0


def test_contexts_write_their_six_bits_only():
    assert hw_load([(CONFIG_CONTEXTS, 4088, 0xFEDCBA987654)])[0] == expected_writes(
        [(CONFIG_CONTEXTS, 4088, 0xFEDCBA987654)]
    )


def test_cycles_match_statement():
    words = random_words(3, 100)
    assert hw_load(words)[1] == ConfigurationLoader().cycles([kind for kind, _, _ in words])


def test_no_words_are_done_at_once():
    writes, clocks, errors, _ = hw_load([])
    assert (writes, clocks, errors) == ([], 1, 0)


def test_only_counted_words_are_taken():
    words = random_words(4, 5)
    assert len(hw_load(words, behind=3)[3]) == 3


def test_unknown_kinds_are_errors_and_skipped():
    words = [(CONFIG_COARSE, 5, 6), (9, 1, 2), (15, 3, 4), (CONFIG_NONE, 0, 0), (CONFIG_FINE, 7, 8)]
    writes, _, errors, _ = hw_load(words)
    assert writes == [("coarse", 5, 6), ("fine", 7, 8)]
    assert errors == 2
