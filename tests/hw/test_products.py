# amaranth: UnusedElaboratable=no
"""The centre that tabulates products, alone and with a multiply-accumulate unit behind it."""

import numpy as np
import pytest
from amaranth.hdl import Module

from family_cells import mult18x18d
from simulation import simulate
from twins import compare
from weightstream.golden.compute.mac import mac
from weightstream.spec.machine import Machine
from weightstream_hw.compute.mac import Mac
from weightstream_hw.compute.products import PAIRS, ProductCentre, start_window

EXTREMES = {False: (0, 255), True: (-128, 127)}


# ---- helpers -------------------------------------------------------------------------------------


async def write_palette(ctx, centre, palette):
    """Write a palette, (passes, 16, group) weights."""
    for address, weights in enumerate(palette.reshape(-1, palette.shape[-1])):
        packed = sum((int(w) & 0xFF) << 8 * i for i, w in enumerate(weights))
        ctx.set(centre.config, {"palette": 1, "address": address, "data": packed})
        await ctx.tick()
    ctx.set(centre.config, {"coarse": 1, "context": 1, "key_class": 1, "address": 3, "data": 0x55555555})


def start(ctx, centre, x, palette, parity):
    """Present a start with activations, (columns, 4)."""
    ctx.set(centre.start, 1)
    ctx.set(centre.palette, int(palette))
    ctx.set(centre.parity, int(parity))
    for column, values in enumerate(x):
        for i, value in enumerate(values):
            ctx.set(centre.x[column][i], int(value) & 0xFF)


def no_start(ctx, centre, rng):
    """Take the start away; what stands beside it must not matter."""
    start(ctx, centre, rng.integers(0, 256, (len(centre.x), 4)), rng.integers(4), rng.integers(2))
    ctx.set(centre.start, 0)


# ---- tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [PAIRS, PAIRS + 3], ids=["dense", "spaced"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("dsp", ["generic", "xc7"])
def test_products_match_golden(dsp, group, signed, spacing):
    rng = np.random.default_rng(group)
    machine = Machine(group=group, passes=2, columns=2)
    centre = ProductCentre(machine, dsp)
    low, high = EXTREMES[signed]
    palette = rng.integers(-128, 128, (2, 16, group))
    palette[1] = rng.choice([-128, 127], (16, group))
    palette[1, :2] = [[-128], [127]]
    # Weights that the layer does not have.
    palette[0, :, max(1, group // 2) :] = 0
    starts = 12
    x = rng.integers(low, high + 1, (starts, 2, 4))
    x[6:] = rng.choice([low, high], (6, 2, 4))
    x[-1] = low
    passes, parity = rng.integers(0, 2, (2, starts))
    passes[-1] = 1
    found = []

    async def drive(ctx):
        await write_palette(ctx, centre, palette)
        ctx.set(centre.signed_input, signed)
        for n in range(starts):
            start(ctx, centre, x[n], passes[n], parity[n])
            await ctx.tick()
            no_start(ctx, centre, rng)
            await ctx.tick().repeat(spacing - 1)
        await ctx.tick().repeat(centre.latency + 1)

    async def gather(ctx):
        first = None
        clock = 0
        while True:
            if ctx.get(centre.start) and first is None:
                first = clock
            writes = [ctx.get(p) for p in centre.products]
            if writes[0].enable:
                found.append((clock - first, writes))
            await ctx.tick()
            clock += 1

    simulate(centre, drive, watching=[gather])

    assert len(found) == starts * PAIRS
    assert found[-1][0] + 1 == centre.cycles(starts) + (spacing - PAIRS) * (starts - 1)
    kind = np.int8 if signed else np.uint8
    for n in range(starts):
        for pair in range(PAIRS):
            clock, writes = found[n * PAIRS + pair]
            assert clock == centre.latency + n * spacing + pair
            for column, write in enumerate(writes):
                weights = palette[passes[n], 2 * pair : 2 * pair + 2].astype(np.int16)
                expected = mac(x[n, column, None, :group].astype(kind), weights)[0]
                assert (write.even, write.odd) == tuple(expected)
                assert (write.enable, write.bank, write.pair) == (1, parity[n], pair)


def sums_with_lead(machine: Machine, lead: int, seed: int) -> bool:
    """Whether sums are right if each column's products are started `lead` clocks before its symbols."""
    rng = np.random.default_rng(seed)
    c, columns = machine.slots, 12
    m = Module()
    m.submodules.centre = centre = ProductCentre(machine)
    m.submodules.unit = unit = Mac(machine)
    for member in ("enable", "bank", "pair", "even", "odd"):
        m.d.comb += unit.products[member].eq(centre.products[0][member])
    palette = rng.integers(-128, 128, (machine.passes, 16, machine.group))
    x = rng.integers(0, 256, (columns, 1, 4))
    symbols = rng.integers(0, 16, (columns, c))
    # The worst: the first slot wants the pair that is written last, the last slot the one written first.
    symbols[:, 0], symbols[:, -1] = 15, 0
    passes = np.arange(columns) % machine.passes
    sums = []
    if machine.multipliers:
        m.d.comb += unit.product_mode.eq(1)

    async def bench(ctx):
        await write_palette(ctx, centre, palette)
        begin = 3 * c
        for clock in range(begin + c * (columns + 2)):
            slot = clock % c
            column = (clock - begin) // c
            symbol = 0 <= column < columns
            control = {"symbol": symbol, "capture": clock < c or column == columns, "slot": slot}
            ctx.set(unit.control, {**control, "parity": column % 2})
            ctx.set(unit.symbol, int(symbols[column, slot]) if symbol else 0)
            early, phase = divmod(clock - begin + lead, c)
            no_start(ctx, centre, rng)
            if phase == 0 and 0 <= early < columns:
                start(ctx, centre, x[early], passes[early], early % 2)
            await ctx.tick()
        for slot in range(c):
            ctx.set(unit.shadow_address, slot)
            await ctx.tick()
            sums.append(ctx.get(unit.sum))

    simulate(m, bench)
    weights = np.moveaxis(palette[passes[:, None], symbols], 0, 1).reshape(c, -1).astype(np.int16)
    activations = x[:, :, : machine.group].reshape(1, -1).astype(np.uint8)
    return sums == mac(activations, weights)[0].tolist()


@pytest.mark.parametrize("slots", [8, 16])
@pytest.mark.parametrize("multipliers", [False, True], ids=["tables", "both"])
def test_products_are_there_for_the_symbols_of_their_column(slots, multipliers):
    machine = Machine(slots=slots, columns=1, multipliers=multipliers, group=4, passes=2)
    window = start_window(machine, Mac.product_latency)
    assert sums_with_lead(machine, window[0], seed=1)
    assert sums_with_lead(machine, window[-1], seed=2)
    # The window is as wide as can be.
    assert not sums_with_lead(machine, window[0] - 1, seed=3)
    assert not sums_with_lead(machine, window[-1] + 1, seed=4)


def centre_inputs(clocks):
    """Return inputs of each clock: palettes are written while products are computed."""
    rng = np.random.default_rng(5)
    return [
        {
            "config": {
                "palette": rng.random() < 0.5,
                "address": rng.integers(64),
                "data": rng.integers(1 << 32),
            },
            "signed_input": clock > clocks // 2,
            "start": rng.random() < 0.2,
            "palette": rng.integers(4),
            "parity": rng.integers(2),
            "x": rng.choice([0, 127, 128, 255, *rng.integers(0, 256, 4)], (2, 4)).tolist(),
        }
        for clock in range(clocks)
    ]


def test_blocks_of_an_ecp5_do_what_operators_do(tmp_path):
    machine = Machine(group=4, passes=4, columns=2)
    centres = ProductCentre(machine), ProductCentre(machine, "ecp5")
    settled = 2 * ProductCentre.latency
    compare(tmp_path, centres, centre_inputs(600), cells=mult18x18d(), settled=settled)


def test_machine_without_tables_has_no_centre():
    with pytest.raises(ValueError, match=r"^machine must have product tables, not group=0$"):
        ProductCentre(Machine(group=0))
