"""Multiply-accumulate units, against the golden sums."""

import numpy as np
import pytest

from family_cells import mult18x18d
from simulation import simulate
from twins import compare
from weightstream.golden.compute.mac import mac
from weightstream.spec.machine import Machine
from weightstream_hw.compute.mac import Mac
from weightstream_hw.compute.products import PAIRS

KINDS = {
    "multiplier": dict(multipliers=True, group=0),
    "tables": dict(multipliers=False, group=4),
    "small_tables": dict(multipliers=False, group=1),
    "both_multiply": dict(multipliers=True, group=4),
    "both_look_up": dict(multipliers=True, group=2),
}


# ---- helpers -------------------------------------------------------------------------------------


def machine_of(kind, slots=8, passes=4) -> Machine:
    return Machine(slots=slots, passes=passes, **KINDS[kind])


class Bench:
    """Feeds a unit round by round; what it adds up is known from the start."""

    def __init__(self, kind, slots, seed, passes=4):
        self.rng = np.random.default_rng(seed)
        self.machine = machine_of(kind, slots, passes)
        self.looks_up = kind.endswith("tables") or kind == "both_look_up"
        self.dut = Mac(self.machine)
        self.palette = self.rng.integers(-128, 128, (passes, 16))
        self.parity = 0

    async def start(self, ctx):
        """Write the palette, and make all sums 0."""
        if self.machine.multipliers:
            if self.machine.group:
                ctx.set(self.dut.product_mode, self.looks_up)
            for address, weight in enumerate(self.palette.reshape(-1)):
                write = {"palette": 1, "address": address, "data": int(weight) & 0xFF}
                ctx.set(self.dut.config, write)
                await ctx.tick()
            # Writes to other tables must not matter.
            ctx.set(self.dut.config, {"coarse": 1, "fine": 1, "context": 1, "columns": 1, "data": 99})
        await self.round(ctx, capture=True)

    async def round(self, ctx, *, capture=False, column=None, tables=None):
        """Present a round: a capture, a column of (symbol, activation) of each slot, or nothing."""
        c = self.machine.slots
        for slot in range(c):
            symbol, palette, x = column[slot] if column else self.rng.integers((16, 4, 256))
            control = {"symbol": column is not None, "capture": capture, "slot": slot}
            ctx.set(self.dut.control, {**control, "palette": int(palette), "parity": self.parity})
            ctx.set(self.dut.symbol, int(symbol))
            if self.machine.multipliers:
                ctx.set(self.dut.x, int(x))
            if tables is not None:
                # Half the machine's slots are idle while 8 pairs are written.
                pair, enable = slot % PAIRS, slot < PAIRS
                even, odd = (int(value) for value in tables[2 * pair : 2 * pair + 2])
                write = {"enable": enable, "bank": 1 - self.parity, "pair": pair, "even": even, "odd": odd}
                ctx.set(self.dut.products, write)
            await ctx.tick()

    async def sums(self, ctx) -> list[int]:
        """Return the shadow sums; the round goes on idling."""
        ctx.set(self.dut.control, {"slot": 0})
        found = []
        for slot in range(self.machine.slots):
            ctx.set(self.dut.control, {"slot": slot})
            ctx.set(self.dut.shadow_address, slot)
            await ctx.tick()
            found.append(ctx.get(self.dut.sum))
        return found

    def run(self, bench):
        simulate(self.dut, bench)


async def accumulate(bench, ctx, columns, signed, extreme):
    """Present columns of random symbols; return the golden sums of the slots."""
    rng, c, machine = bench.rng, bench.machine.slots, bench.machine
    low, high = (-128, 127) if signed else (0, 255)
    draw = (lambda shape: rng.choice([low, high], shape)) if extreme else None
    palette = rng.integers(0, machine.passes, columns)
    symbols = rng.integers(0, 16, (columns, c))
    if bench.looks_up:
        # The products stand for the weights, and the activation is 1.
        limit = 1 << 14 + machine.group.bit_length()
        tables = rng.integers(-limit, limit, (columns, 16))
        if extreme:
            tables = np.where(tables < 0, -limit, limit - 1)
        tables = np.concatenate([tables, np.zeros((1, 16), np.int64)])
        bench.parity ^= 1
        await bench.round(ctx, tables=tables[0])
        for column in range(columns):
            if rng.random() < 0.2:
                await bench.round(ctx)
            bench.parity ^= 1
            data = [(symbols[column, s], palette[column], rng.integers(-128, 128)) for s in range(c)]
            await bench.round(ctx, column=data, tables=tables[column + 1])
        return [int(sum(tables[k, symbols[k, s]] for k in range(columns))) for s in range(c)]
    x = draw((columns, c)) if extreme else rng.integers(low, high + 1, (columns, c))
    for column in range(columns):
        while rng.random() < 0.2:
            await bench.round(ctx)
        await bench.round(ctx, column=[(symbols[column, s], palette[column], x[column, s]) for s in range(c)])
    weights = bench.palette[palette[:, None], symbols].astype(np.int16)
    kind = np.int8 if signed else np.uint8
    return np.diagonal(mac(x.T.astype(kind), weights.T)).tolist()


# ---- tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [8, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_match_golden(kind, slots):
    bench = Bench(kind, slots, seed=slots)

    async def run(ctx):
        await bench.start(ctx)
        for signed in (False, True):
            for extreme in (False, True):
                expected = await accumulate(bench, ctx, 12, signed, extreme)
                await bench.round(ctx, capture=True)
                await bench.round(ctx)
                assert await bench.sums(ctx) == expected

    bench.run(run)


@pytest.mark.parametrize("kind", ["multiplier", "tables"])
def test_sums_of_a_tile_stay_while_the_next_one_runs(kind):
    bench = Bench(kind, 8, seed=3)

    async def run(ctx):
        await bench.start(ctx)
        first = await accumulate(bench, ctx, 6, False, False)
        await bench.round(ctx, capture=True)
        second = await accumulate(bench, ctx, 6, False, False)
        assert await bench.sums(ctx) == first
        await bench.round(ctx, capture=True)
        await bench.round(ctx)
        assert await bench.sums(ctx) == second

    bench.run(run)


@pytest.mark.parametrize("kind", ["multiplier", "tables", "both_look_up"])
def test_latency_matches_statement(kind):
    bench = Bench(kind, 8, seed=5)
    dut = bench.dut

    async def run(ctx):
        await bench.start(ctx)
        expected = await accumulate(bench, ctx, 2, False, False)
        # Whether the sum of slot 0 is there if it is addressed so many clocks behind its capture.
        for wait, found in ((dut.latency, True), (dut.latency - 1, False)):
            ctx.set(dut.shadow_address, 0)
            for clock in range(16):
                ctx.set(dut.control, {"capture": clock < 8, "slot": clock % 8})
                await ctx.tick()
                if clock == wait:
                    assert (ctx.get(dut.sum) == expected[0]) == found
            expected = await accumulate(bench, ctx, 2, False, False)

    bench.run(run)


def mac_inputs(clocks):
    """Return inputs of each clock: tables are written while symbols come."""
    rng = np.random.default_rng(6)
    return [
        {
            "symbol": rng.integers(16),
            "control": {
                "symbol": rng.random() < 0.8,
                "capture": rng.random() < 0.1,
                "slot": clock % 8,
                "palette": rng.integers(4),
                "parity": rng.integers(2),
            },
            "x": rng.choice([-256, 255, *rng.integers(-256, 256, 4)]),
            "config": {"palette": rng.random() < 0.5, "address": rng.integers(64), "data": rng.integers(256)},
            "product_mode": clock > clocks // 2,
            "products": {
                "enable": rng.random() < 0.5,
                "bank": rng.integers(2),
                "pair": rng.integers(PAIRS),
                "even": rng.integers(-(1 << 17), 1 << 17),
                "odd": rng.choice([-(1 << 17), (1 << 17) - 1]),
            },
            "shadow_address": rng.integers(8),
        }
        for clock in range(clocks)
    ]


def test_block_of_an_ecp5_does_what_operators_do(tmp_path):
    units = Mac(machine_of("both_multiply")), Mac(machine_of("both_multiply"), "ecp5")
    # Sums that a reset leaves as they are start from 0 in both.
    compare(tmp_path, units, mac_inputs(600), cells=mult18x18d(), settled=5)
