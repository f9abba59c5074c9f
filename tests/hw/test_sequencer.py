"""Rounds of a pass: their order, what they say about columns, what they wait for."""

import random

import pytest

from simulation import simulate
from weightstream.spec import image
from weightstream.spec.machine import Machine
from weightstream_hw.control.round import RoundKind
from weightstream_hw.control.sequencer import CLEAR_ROUNDS, FILL_ROUNDS, RoundSequencer

READY = ("streams_ready", "words_ready", "keys_ready", "columns_ready", "drain_ready")


def expected_rounds(first_tile, tiles, symbols, passes, period, distance, classes, fields, last_full, slots):
    """Return the rounds of a pass, in order, without the idle ones."""

    def neighbourhood(position):
        position %= symbols
        group, palette = divmod(position, passes)
        return {
            "next_field": fields[palette, classes[group % period]],
            "next_column": position % 16,
            "next_previous": int(position >= 1),
            "next_back": int(position >= distance),
        }

    rounds = [{"kind": RoundKind.CLEAR, "prime": int(i == CLEAR_ROUNDS - 1)} for i in range(CLEAR_ROUNDS)]
    rounds += [{"kind": RoundKind.FILL}] * FILL_ROUNDS
    for tile in range(tiles):
        common = {"bank": (first_tile + tile) % 2, "full": last_full if tile == tiles - 1 else slots}
        start = {"kind": RoundKind.START, "first": int(tile == 0), "capture": int(tile > 0)}
        rounds.append(start | common | neighbourhood(0))
        for position in range(symbols):
            rounds.append(
                {"kind": RoundKind.SYMBOL, "column": position % 16, "palette": position % passes}
                | {"capture": 0}
                | common
                | neighbourhood(position + 1)
            )
    return [*rounds, {"kind": RoundKind.CLEAR, "capture": 1}]


@pytest.mark.parametrize("stall", [0.0, 0.3], ids=["free", "stalled"])
@pytest.mark.parametrize(
    "tiles,symbols,passes,period,distance,slots",
    [(1, 1, 1, 1, 1, 8), (3, 20, 2, 7, 3, 8), (2, 9, 3, 3, 16, 8), (4, 33, 1, 33, 5, 16), (2, 4, 4, 1, 1, 8)],
)
def test_rounds_of_two_passes(tiles, symbols, passes, period, distance, slots, stall):
    rng = random.Random(f"{tiles} {symbols} {passes} {stall}")
    dut = RoundSequencer(Machine(lanes=16, slots=slots, column_classes=64))
    classes = [rng.randrange(16) for _ in range(period)]
    fields = {(p, c): rng.randrange(1 << 12) for p in range(4) for c in range(16)}
    static = {
        "tiles": tiles,
        "part_symbols": symbols,
        "passes": passes - 1,
        "column_period": period,
        "distance": distance,
        "tile_rows": 16,
        "last_full": rng.randrange(slots),
        "last_edge": 3,
        "row_groups": 2,
    }
    layer = (tiles, symbols, passes, period, distance, classes, fields, static["last_full"], slots)
    expected = expected_rounds(0, *layer) + expected_rounds(tiles, *layer)
    seen, captured, counts = [], [], {"commit": 0, "idle": 0, "rounds": 0}

    async def bench(ctx):
        for name, value in static.items():
            ctx.set(getattr(dut, name), value)
        for start in range(0, period, image.COLUMNS_A_WORD):
            part = classes[start : start + image.COLUMNS_A_WORD]
            word = sum(c << 4 * i for i, c in enumerate(part))
            ctx.set(dut.config, {"columns": 1, "address": start // image.COLUMNS_A_WORD, "data": word})
            await ctx.tick()
        for (palette, number), field in fields.items():
            ctx.set(dut.config, {"column_field": 1, "address": 16 * palette + number, "data": field})
            await ctx.tick()
        ctx.set(dut.config, {})
        for _ in range(2):
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            running = True
            while running:
                for name in READY:
                    ctx.set(getattr(dut, name), rng.random() >= stall)
                await ctx.tick()
                if ctx.get(dut.slot) == 0:
                    token = ctx.get(dut.round)
                    counts["rounds"] += 1
                    if token.kind == RoundKind.IDLE:
                        counts["idle"] += 1
                    else:
                        names = expected[len(seen) % len(expected)]
                        seen.append({name: getattr(token, name) for name in names})
                        counts["commit"] += ctx.get(dut.commit)
                        if token.kind == RoundKind.START and token.full != slots:
                            edge = ctx.get(dut.edge)
                            assert [edge >> lane & 1 for lane in range(16)] == [1, 1, 1] + [0] * 13
                    if ctx.get(dut.take_keys):
                        ctx.set(dut.keys_bank, not ctx.get(dut.keys_bank))
                    if ctx.get(dut.captured):
                        captured.append(ctx.get(dut.captured_row))
                    running = not ctx.get(dut.done)
                else:
                    assert not (ctx.get(dut.commit) or ctx.get(dut.captured) or ctx.get(dut.done))

    simulate(dut, bench)
    assert seen == expected
    assert captured == [16 * tile for tile in range(tiles)] * 2
    assert counts["commit"] == 2 * tiles * symbols
    if stall == 0.0:
        assert counts["rounds"] - counts["idle"] == 2 * dut.rounds(tiles, symbols)
        assert counts["idle"] <= 4
