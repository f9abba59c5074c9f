"""From a sum to an 8-bit output by multiplication, shift and rounding.

Golden: weightstream.golden.compute.requantise
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.image import ROUNDINGS, SHIFT_LSB
from weightstream.spec.machine import Machine

from ..delay import delayed
from ..multipliers import check_multipliers
from .mac import SUM_BITS

MULTIPLIER_BITS = SHIFT_LSB
PRODUCT_BITS = SUM_BITS + MULTIPLIER_BITS
MAX_SHIFT = 47
#: Width of zero point, low and high.
LIMIT_BITS = 11

#: A row record, as it lies in memory.
RECORD = data.StructLayout({"bias": signed(32), "multiplier": MULTIPLIER_BITS, "shift": 6, "unused": 2})
assert RECORD.size == 64

#: The lower piece of a sum that is multiplied in two: what a multiplier of 18 bits takes without a sign.
PIECE_BITS = 17

#: Bits of a shifted product in front of the point, without its sign: what needs more is clipped at every zero
#: point.
WHOLE_BITS = LIMIT_BITS

#: Significant bits of a float32.
FLOAT_BITS = 24
UP, FLOAT32 = ROUNDINGS.index("up"), ROUNDINGS.index("float32")


class Requantiser(wiring.Component):
    """Compute ``clip(zero point + round((sum + bias) * multiplier / 2**shift), low, high)``.

    Timing
    ------
    Latency: `latency` clocks from a sum to its value.
    Throughput: one value a clock.
    Stall: none.

    Parameters
    ----------
    machine : Machine
        Whether there is a rounding as in float32 (`float_rounding`).
    dsp : str
        One of `MULTIPLIERS`: two slices of 18 x 25 bits, or four pieces of 18 x 18 bits and one clock more.

    Attributes
    ----------
    valid : In(1)
        A sum is there.
    sum : In(signed(32))
        Without its bias; with it, it must still fit 32 bits.
    record : In(64)
        The record of its row (RECORD), in the same clock. It may come straight from a memory.
    rounding : In(2)
        Index in ROUNDINGS: halves up, halves to even, as float32. Machines without the last take it as the
        second. Constant during a layer, like what follows.
    zero_point, low, high : In(signed(11))
        What is added behind the rounding, and what the result is clipped to.
    value_valid : Out(1)
        A value is there.
    value : Out(8)
        The low bits of the result.
    """

    def __init__(self, machine: Machine, *, dsp: str = "generic"):
        self.machine = machine
        self._split = check_multipliers(dsp) != "xc7"
        #: Clocks from a sum to its value.
        self.latency = 8 + 5 * machine.float_rounding + self._split
        super().__init__(
            {
                "valid": In(1),
                "sum": In(signed(SUM_BITS)),
                "record": In(RECORD.size),
                "rounding": In(2),
                "zero_point": In(signed(LIMIT_BITS)),
                "low": In(signed(LIMIT_BITS)),
                "high": In(signed(LIMIT_BITS)),
                "value_valid": Out(1),
                "value": Out(8),
            }
        )

    def elaborate(self, platform) -> Module:
        """Return the circuit.

        Numbers stay two's complement all the way: the shift rounds down, and what it has lost decides whether
        1 is added. Of a shifted product only 12 bits count, and the first that was lost (*guard*), and
        whether any behind that was 1 (*sticky*).

        As float32, sum and product are rounded to 24 significant bits before. The sum is, in its place. The
        product is not: unless it is clipped, its 24 bits reach at least 12 bits behind the point, so that
        rounding it can do no more than make a half of what is a little less or a little more. `_settle` sees
        that in 25 bits behind the point: 24 significant ones of a number from 1/2 on, and their guard.
        """
        m = Module()
        float_rounding = self.machine.float_rounding
        # Constant as the rounding is.
        self._as_float = Signal()
        m.d.sync += self._as_float.eq(self.rounding == FLOAT32)

        total = Signal(signed(SUM_BITS), reset_less=True)
        record = Signal(RECORD, reset_less=True)
        biased = Signal(signed(SUM_BITS), reset_less=True)
        m.d.sync += [
            total.eq(self.sum),
            Value.cast(record).eq(self.record),
            biased.eq(total + record.bias),
        ]
        waited = 1
        if float_rounding:
            biased = self._round_sum(m, biased)
            waited += 3
        multiplier = delayed(m, record.multiplier, waited, "multiplier")
        product = _multiply(m, biased, multiplier, self._split)
        shift = delayed(m, record.shift, waited + 2 + self._split, "shift")
        shifted = _shift(m, product, shift, FLOAT_BITS + 1 if float_rounding else 1)
        if float_rounding:
            shifted = self._settle(m, shifted)
        self._finish(m, shifted)
        m.d.comb += self.value_valid.eq(delayed(m, self.valid, self.latency, "valid", reset_less=False))
        return m

    def _round_sum(self, m: Module, biased: Signal) -> Signal:
        """Return a sum rounded to 24 significant bits, halves to even, three clocks later."""
        dropped = Signal(SUM_BITS - 1 - FLOAT_BITS, reset_less=True)
        m.d.sync += dropped.eq(self._dropped(biased[:-1] ^ biased[-1].replicate(SUM_BITS - 1)))
        biased = delayed(m, biased, 1, "biased")
        guard, sticky, odd = _remainder(biased, dropped)

        # With ones in place of the dropped bits, a carry-in comes out above them.
        filled = Signal(signed(SUM_BITS), reset_less=True)
        carry = Signal(reset_less=True)
        zeros = Signal(len(dropped), reset_less=True)
        m.d.sync += [filled.eq(biased | dropped), carry.eq(guard & (sticky | odd)), zeros.eq(dropped)]

        # 1 bit more: 2**31 - 1 becomes 2**31.
        rounded = Signal(signed(SUM_BITS + 1), reset_less=True)
        carried = filled + carry
        m.d.sync += rounded.eq(Cat(carried[: len(zeros)] & ~zeros, carried[len(zeros) :]))
        return rounded

    def _settle(self, m: Module, shifted: Signal) -> Signal:
        """Return a shifted product with the guard and sticky bits of its float32, two clocks later."""
        bits = Cat(shifted.fraction, shifted.whole)
        dropped = Signal(len(bits) - FLOAT_BITS, reset_less=True)
        m.d.sync += dropped.eq(self._dropped(bits ^ shifted.sign.replicate(len(bits))))
        shifted = delayed(m, shifted, 1, "shifted")

        behind, guard = shifted.fraction[:-1], shifted.fraction[-1]
        last, rest, odd = _remainder(Cat(shifted.fraction, shifted.whole), dropped)
        up = last & (rest | shifted.sticky | odd)
        # What goes up carries into the guard bit if all bits between are ones.
        carry = up & (behind | dropped).all()
        kept = Cat(behind[: len(dropped)] & ~dropped, behind[len(dropped) :])
        more = kept.any() | (shifted.sticky & ~dropped[0]) | up

        settled = Signal(_shifted_layout(1), reset_less=True)
        m.d.sync += [
            settled.whole.eq(shifted.whole),
            settled.sign.eq(shifted.sign),
            settled.beyond.eq(shifted.beyond),
            # Carried from 1/2 to 1: more than 1/2 goes there too.
            settled.fraction.eq(guard | carry),
            settled.sticky.eq(Mux(carry, guard, more)),
        ]
        return settled

    def _dropped(self, magnitude: Value) -> Value:
        """Return which bits of a number are below its 24 significant ones.

        For a negative number, `magnitude` is 1 less than its magnitude. That makes a difference only to
        powers of 2, of which nothing but zeros is dropped.
        """
        return Cat(magnitude[end:].any() & self._as_float for end in range(FLOAT_BITS, len(magnitude)))

    def _finish(self, m: Module, shifted: Signal) -> None:
        """Round, add the zero point, and clip."""
        up = shifted.fraction & (shifted.sticky | shifted.whole[0] | (self.rounding == UP))
        whole = Mux(shifted.beyond, (~shifted.sign).replicate(WHOLE_BITS), shifted.whole)
        total = Signal(signed(WHOLE_BITS + 2), reset_less=True)
        value = Signal(8, reset_less=True)
        m.d.sync += [
            total.eq(Cat(whole, shifted.sign).as_signed() + self.zero_point + up),
            value.eq(Mux(total < self.low, self.low, Mux(total > self.high, self.high, total))),
        ]
        m.d.comb += self.value.eq(value)


def _multiply(m: Module, total: Signal, multiplier: Signal, split: bool) -> Signal:
    """Return a product, two clocks later; three if the multiplier is split too."""
    low = _times(m, total[:PIECE_BITS], multiplier, split, "low")
    high = _times(m, total[PIECE_BITS:].as_signed(), multiplier, split, "high")
    product = Signal(signed(PRODUCT_BITS), reset_less=True)
    m.d.sync += product.eq(Cat(low[:PIECE_BITS], high + low[PIECE_BITS:]))
    return product


def _times(m: Module, piece: Value, multiplier: Signal, split: bool, name: str) -> Signal:
    """Return the product of a piece of a sum, one clock later; two if the multiplier is split."""
    product = Signal((piece * multiplier).shape(), name=f"product_{name}", reset_less=True)
    if not split:
        m.d.sync += product.eq(piece * multiplier)
        return product
    half = MULTIPLIER_BITS // 2
    parts = []
    for i in range(2):
        part = piece * multiplier.word_select(i, half)
        parts.append(Signal(part.shape(), name=f"product_{name}_{i}", reset_less=True))
        m.d.sync += parts[i].eq(part)
    m.d.sync += product.eq(Cat(parts[0][:half], parts[1] + (parts[0] >> half)))
    return product


def _shifted_layout(fraction_bits: int, whole_bits: int = WHOLE_BITS) -> data.StructLayout:
    """Return the layout of a shifted product, with some bits behind the point."""
    return data.StructLayout(
        {
            "fraction": fraction_bits,
            "whole": whole_bits,
            "sign": 1,
            # Some bit in front of `whole` differs from the sign.
            "beyond": 1,
            # Some bit behind `fraction` is 1.
            "sticky": 1,
        }
    )


def _shift(m: Module, product: Signal, shift: Signal, fraction_bits: int) -> Signal:
    """Return a product divided by 2**shift, two clocks later, in steps of a digit of base 4."""
    sign = product[-1]
    bits = Cat(Const(0, fraction_bits), product[:-1])
    padding = sign.replicate(fraction_bits + WHOLE_BITS + MAX_SHIFT - len(bits))
    bits, beyond, sticky = _step(Cat(bits, padding), 0, 0, sign, shift[4:], 16)
    far = Signal(_shifted_layout(fraction_bits, len(bits) - fraction_bits), reset_less=True)
    m.d.sync += far.eq(Cat(bits, sign, beyond, sticky))

    shift = delayed(m, shift[:4], 1, "shift_near")
    bits = Cat(far.fraction, far.whole)
    bits, beyond, sticky = _step(bits, far.beyond, far.sticky, far.sign, shift[2:], 4)
    bits, beyond, sticky = _step(bits, beyond, sticky, far.sign, shift[:2], 1)
    shifted = Signal(_shifted_layout(fraction_bits), reset_less=True)
    m.d.sync += shifted.eq(Cat(bits, far.sign, beyond, sticky))
    return shifted


def _step(bits: Value, beyond, sticky, sign: Value, digit: Value, unit: int) -> tuple[Value, Value, Value]:
    """Shift by ``digit * unit``: return the bits that the longest shift leaves, and what was lost so far."""
    most = min(3, MAX_SHIFT // unit)
    width = len(bits) - most * unit
    at = [bits[i * unit : i * unit + width] for i in range(most + 1)]
    shifted = Mux(digit[1], Mux(digit[0], at[-1], at[2]), Mux(digit[0], at[1], at[0]))
    front = bits[width:] ^ sign.replicate(most * unit)
    for i in range(most):
        group = slice(i * unit, (i + 1) * unit)
        beyond |= front[group].any() & (digit <= i)
        sticky |= bits[group].any() & (digit > i)
    return shifted, beyond, sticky


def _remainder(bits: Value, dropped: Value) -> tuple[Value, Value, Value]:
    """Return the highest bit that is dropped, whether any below it is 1, and the lowest bit that is kept."""
    highest = dropped & ~(dropped >> 1)
    return (bits & highest).any(), (bits & (dropped >> 1)).any(), ((bits >> 1) & highest).any()
