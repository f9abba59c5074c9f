# amaranth: UnusedElaboratable=no
import math

import numpy as np
import pytest

from simulation import simulate
from weightstream.golden.compute import mac
from weightstream.golden.compute.requantise import requantise
from weightstream.ir import network
from weightstream.ir.network import Requantise
from weightstream.spec.image import RECORD, ROUNDINGS, SHIFT_LSB
from weightstream.spec.machine import Machine
from weightstream_hw.compute import requantise as gateware
from weightstream_hw.compute.requantise import Requantiser

BOTH = pytest.mark.parametrize("float_rounding", [False, True], ids=["integer", "float"])
INT32 = 1 << 31


def hw_requantise(dut, sums, activation, gaps=()):
    """Return the values of a layer with one sum a row, and their clocks; no sum comes in clocks of `gaps`."""
    records = [
        int.from_bytes(RECORD.pack(bias, multiplier | shift << SHIFT_LSB), "little")
        for bias, multiplier, shift in zip(
            activation.bias.tolist(), activation.multiplier.tolist(), activation.shift.tolist(), strict=True
        )
    ]
    values, clocks = [], []

    async def bench(ctx):
        ctx.set(dut.rounding, ROUNDINGS.index(activation.rounding))
        for name in ("zero_point", "low", "high"):
            ctx.set(getattr(dut, name), getattr(activation, name))
        given = iter(zip(sums.tolist(), records, strict=True))
        for clock in range(len(records) + len(gaps) + dut.latency):
            if ctx.get(dut.value_valid):
                values.append(ctx.get(dut.value))
                clocks.append(clock)
            row = None if clock in gaps else next(given, None)
            ctx.set(dut.valid, row is not None)
            if row is not None:
                ctx.set(dut.sum, row[0])
                ctx.set(dut.record, row[1])
            await ctx.tick()
        assert ctx.get(dut.value_valid) == (len(values) < len(records))
        if len(values) < len(records):
            values.append(ctx.get(dut.value))
            clocks.append(clock + 1)

    simulate(dut, bench)
    return np.array(values), clocks


def layer(rng, cases, rounding, zero_point=-3, low=-128, high=127):
    """Return sums and an activation of rows (biased sum, multiplier, shift), with random biases."""
    biased, multiplier, shift = (np.array(column, np.int64) for column in zip(*cases, strict=True))
    bias = rng.integers(-INT32, INT32, len(cases)) >> rng.integers(0, 32, len(cases))
    bias = np.clip(bias, biased - INT32 + 1, biased + INT32)
    bias = np.clip(bias, -INT32, INT32 - 1)
    activation = Requantise(
        bias=bias.astype(np.int32),
        multiplier=multiplier.astype(np.int32),
        shift=shift.astype(np.uint8),
        zero_point=zero_point,
        low=low,
        high=high,
        rounding=rounding,
    )
    return (biased - bias).astype(np.int32), activation


def fitting_shift(rng, biased, multiplier, least=-2, most=9):
    """Return a shift that leaves some bits of a product in front of the point."""
    bits = (abs(biased) * multiplier).bit_length() - int(rng.integers(least, most))
    return min(max(bits, 0), network.MAX_SHIFT)


def random_cases(rng, count):
    """Sums and multipliers of all sizes, most products not clipped."""
    for _ in range(count):
        biased = int(rng.integers(-INT32, INT32)) >> int(rng.integers(0, 31))
        multiplier = max(1, int(rng.integers(1, 1 << 24)) >> int(rng.integers(0, 24)))
        yield biased, multiplier, fitting_shift(rng, biased, multiplier)


def near_half_cases(rng, count):
    """Products a little more or less than n or n + 1/2: ``biased * multiplier = near (mod 2**shift)``."""
    for _ in range(count):
        odd = int(rng.integers(1, 1 << int(rng.integers(1, 14)))) | 1
        shift = int(rng.integers(int(rng.choice([1, 24])), 32))
        little = (1 << int(rng.integers(0, 9))) + int(rng.integers(-2, 2))
        near = int(rng.choice([0, 1, 1, 1]) << shift - 1) + int(rng.choice([-1, 1])) * little
        biased = near * pow(odd, -1, 1 << shift) % (1 << shift)
        biased += int(rng.integers(0, 8)) << shift
        zeros = int(rng.integers(0, 9))
        if biased < INT32:
            yield int(rng.choice([-1, 1])) * biased, odd << zeros, shift + zeros


def float_step_cases(rng, count):
    """Sums at and beside what a float32 can hold, powers of two, and halves between two float32."""
    for _ in range(count):
        k = int(rng.integers(1, 8))
        biased = (1 << 23 | int(rng.integers(0, 1 << 23))) << k | int(rng.integers(0, 2)) << k - 1
        if rng.integers(0, 4) == 0:
            biased = 1 << int(rng.integers(1, 31))
        biased = min(biased + int(rng.integers(-2, 3)), INT32 - 1)
        multiplier = int(rng.choice([1, 3, int(rng.integers(1, 1 << 24)), (1 << 24) - 1]))
        yield int(rng.choice([-1, 1])) * biased, multiplier, fitting_shift(rng, biased, multiplier, 0, 8)


def extreme_cases():
    """Ends of all ranges."""
    for biased in (-INT32, 1 - INT32, -1, 0, 1, INT32 - 1):
        for multiplier in (1, 2, (1 << 23) + 1, (1 << 24) - 1):
            for shift in (0, 1, 2, 15, 16, 23, 24, 31, 32, 46, 47):
                yield biased, multiplier, shift


def half_cases():
    """Exact halves, and what lies beside them, at every shift."""
    for shift in range(1, network.MAX_SHIFT + 1):
        for whole in (0, 1, 6, 127):
            for beside in (-1, 0, 1):
                zeros = min(shift - 1, 23)
                biased = ((2 * whole + 1) << shift - 1 - zeros) + beside
                if biased < INT32:
                    yield biased, 1 << zeros, shift
                    yield -biased, 1 << zeros, shift


def unclipped(outputs, activation):
    return ((outputs > activation.low) & (outputs < activation.high)).mean()


@pytest.mark.parametrize(
    "rounding, float_rounding",
    [("up", False), ("even", False), ("up", True), ("even", True), ("float32", True)],
    ids=["up-integer", "even-integer", "up-float", "even-float", "float32"],
)
def test_values_match_golden(rounding, float_rounding):
    rng = np.random.default_rng(1)
    cases = [*extreme_cases(), *half_cases(), *near_half_cases(rng, 300), *random_cases(rng, 500)]
    sums, activation = layer(rng, cases, rounding)
    expected = requantise(sums[None], activation)[0]
    values, _ = hw_requantise(Requantiser(Machine(float_rounding=float_rounding)), sums, activation)
    assert np.array_equal(values, expected & 0xFF)
    assert unclipped(expected, activation) > 0.5


def test_float32_values_match_golden():
    rng = np.random.default_rng(2)
    cases = [*near_half_cases(rng, 4000), *float_step_cases(rng, 2000), *random_cases(rng, 500)]
    sums, activation = layer(rng, cases, "float32")
    expected = requantise(sums[None], activation)[0]
    values, _ = hw_requantise(Requantiser(Machine()), sums, activation)
    assert np.array_equal(values, expected & 0xFF)
    # It must matter.
    _, integer = layer(np.random.default_rng(2), cases, "even")
    integer.bias[:] = activation.bias
    assert (expected != requantise(sums[None], integer)[0]).sum() > 100


@BOTH
def test_any_zero_point_and_limits_match_golden(float_rounding):
    rng = np.random.default_rng(3)
    dut = Requantiser(Machine(float_rounding=float_rounding))
    limits = [(-1024, -1024, 1023), (1023, -1024, 1023), (0, -512, 512), (255, 0, 255), (-128, -128, 127)]
    for zero_point, low, high in [*limits, (77, 30, 29 + int(rng.integers(1, 9)))]:
        cases = list(random_cases(rng, 120))
        # Products about as large as the limits, where clipping must look at all bits in front of the point.
        cases += [(int(rng.integers(-2100, 2100)), 1, 0) for _ in range(60)]
        cases += [(int(rng.integers(-2100, 2100)) << 19, 1 << 12, 31) for _ in range(60)]
        cases += [(int(sign) << int(bit), 1, 0) for bit in range(8, 31) for sign in (-1, 1)]
        sums, activation = layer(rng, cases, "even", zero_point, low, high)
        values, _ = hw_requantise(dut, sums, activation)
        assert np.array_equal(values, requantise(sums[None], activation)[0] & 0xFF)


@pytest.mark.parametrize("rounding, float_rounding", [("up", False), ("even", True), ("float32", True)])
def test_values_of_two_products_match_golden(rounding, float_rounding):
    rng = np.random.default_rng(4)
    machine = Machine(float_rounding=float_rounding)
    cases = [*extreme_cases(), *near_half_cases(rng, 300), *float_step_cases(rng, 200)]
    sums, activation = layer(rng, cases, rounding)
    expected = requantise(sums[None], activation)[0]
    values, _ = hw_requantise(Requantiser(machine, dsp="xc7"), sums, activation)
    assert np.array_equal(values, expected & 0xFF)


def test_float32_is_halves_to_even_without_float_rounding():
    rng = np.random.default_rng(5)
    cases = list(near_half_cases(rng, 300))
    sums, activation = layer(rng, cases, "float32")
    _, even = layer(np.random.default_rng(5), cases, "even")
    even.bias[:] = activation.bias
    values, _ = hw_requantise(Requantiser(Machine(float_rounding=False)), sums, activation)
    assert np.array_equal(values, requantise(sums[None], even)[0] & 0xFF)


@BOTH
@pytest.mark.parametrize("dsp", ["generic", "xc7"])
def test_latency_matches_statement(dsp, float_rounding):
    rng = np.random.default_rng(6)
    dut = Requantiser(Machine(float_rounding=float_rounding), dsp=dsp)
    sums, activation = layer(rng, list(random_cases(rng, 60)), "up")
    gaps = set(rng.permutation(np.arange(1, 100))[:40].tolist())
    values, clocks = hw_requantise(dut, sums, activation, gaps)
    assert clocks == [clock + dut.latency for clock in range(100) if clock not in gaps]
    assert np.array_equal(values, requantise(sums[None], activation)[0] & 0xFF)


def test_float32_is_two_roundings_in_place():
    def significant(value):
        lost = max(0, abs(value).bit_length() - 24)
        return round_half_even(value, lost) << lost

    def round_half_even(value, shift):
        quotient, rest = divmod(value, 1 << shift)
        return quotient + (2 * rest > 1 << shift or (2 * rest == 1 << shift and quotient % 2 == 1))

    rng = np.random.default_rng(7)
    cases = [*near_half_cases(rng, 10000), *float_step_cases(rng, 10000), *random_cases(rng, 10000)]
    sums, activation = layer(rng, cases, "float32", 0, -(1 << 60), 1 << 60)
    scale = [math.ldexp(multiplier, -shift) for _, multiplier, shift in cases]
    biased = np.array([case[0] for case in cases], np.int32)
    expected = np.rint(biased.astype(np.float32) * np.array(scale, np.float32)).astype(np.int64)
    assert expected.tolist() == [
        round_half_even(significant(significant(biased) * multiplier), shift)
        for biased, multiplier, shift in cases
    ]


def test_limits_are_those_of_the_network():
    assert gateware.MAX_SHIFT == network.MAX_SHIFT
    assert gateware.MULTIPLIER_BITS == network.MAX_MULTIPLIER_BITS
    assert gateware.SUM_BITS == mac.SUM_BITS
