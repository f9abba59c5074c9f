"""One radix-4 step of the search for a symbol: three thresholds are compared with the window side by side."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import FREQUENCY_BITS, RANGE_BITS

from ..multipliers import check_multipliers, registered_product

THRESHOLDS = data.ArrayLayout(FREQUENCY_BITS, 3)


def choose(select, values):
    """Return one of four values."""
    a, b, c, d = values
    return Mux(select[1], Mux(select[0], d, c), Mux(select[0], b, a))


class SearchStep(wiring.Component):
    """Compare a window with three products of the range.

    ::

        differences[i] = V - floor(R * thresholds[i] / 2**14)
        quarter        = how many of them are not negative

    The difference is what the window becomes if the symbol is found above the threshold. So the bounds of
    its interval are not needed themselves: R = (V - lo) - (V - hi). One DSP slice does it all: the high bits
    of ``V * 2**14 + 2**14 - 1 - R * threshold`` are the difference, rounded as it must be.

    At rest the products are 0, all differences V, and `quarter` is 3: then the window stays what it is, and
    so does the range, as V - (V - R).

    Timing
    ------
    Latency: thresholds and range 2 clocks, others 1 clock.
    Throughput: 1 a clock.
    Stall: none.

    Parameters
    ----------
    dsp : str
        One of `MULTIPLIERS`: leave multiplication and subtraction to synthesis, or instantiate what
        multiplies, with its own registers.

    Attributes
    ----------
    thresholds : In(3 of 14)
        In rising order, a clock ahead of window and `rest`.
    range : In(16)
        R, a clock ahead of the window.
    window : In(16)
        V.
    rest : In(1)
        No symbol is searched for.
    differences : Out(3 of 16)
        Those that are negative hold their low bits.
    quarter : Out(2)
        Two bits of the symbol.

    Raises
    ------
    ValueError
        `dsp` is none of `MULTIPLIERS`.
    """

    def __init__(self, dsp: str = "generic"):
        self.dsp = check_multipliers(dsp)
        super().__init__(
            {
                "thresholds": In(THRESHOLDS),
                "range": In(RANGE_BITS),
                "window": In(RANGE_BITS),
                "rest": In(1),
                "differences": Out(data.ArrayLayout(RANGE_BITS, 3)),
                "quarter": Out(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        reached = []
        for i in range(3):
            # Signed, at the place of the quotient.
            difference = Signal(RANGE_BITS + 1, name=f"difference_{i}")
            if self.dsp == "xc7":
                self._slice(m, i, difference)
            else:
                window = Signal(RANGE_BITS, name=f"window_{i}", reset_less=True)
                m.d.sync += window.eq(self.window)
                product = registered_product(
                    m, f"product_{i}", self.range, self.thresholds[i], dsp=self.dsp, clear=self.rest
                )
                m.d.comb += difference.eq(window - product[FREQUENCY_BITS:])
            m.d.comb += self.differences[i].eq(difference)
            reached.append(~difference[-1])
        # Thresholds rise, so what is reached is, too.
        m.d.comb += self.quarter.eq(Cat(reached[2] | (reached[0] & ~reached[1]), reached[1]))
        return m

    def _slice(self, m, i, difference):
        one, zero = Const(1, 1), Const(0, 1)
        result = Signal(48, name=f"result_{i}")
        ones = Const((1 << FREQUENCY_BITS) - 1, FREQUENCY_BITS)
        m.submodules[f"slice_{i}"] = Instance(
            "DSP48E1",
            # Registers: range, threshold, window and product.
            p_AREG=1,
            p_ACASCREG=1,
            p_BREG=1,
            p_BCASCREG=1,
            p_CREG=1,
            p_DREG=0,
            p_ADREG=0,
            p_MREG=1,
            p_PREG=0,
            p_ALUMODEREG=0,
            p_CARRYINREG=0,
            p_CARRYINSELREG=0,
            p_INMODEREG=0,
            p_OPMODEREG=0,
            p_USE_MULT="MULTIPLY",
            p_USE_DPORT="FALSE",
            i_CLK=ClockSignal(),
            i_A=Cat(self.range, Const(0, 14)),
            i_B=Cat(self.thresholds[i], Const(0, 4)),
            i_C=Cat(ones, self.window, Const(0, 18)),
            i_D=Const(0, 25),
            # C - A * B
            i_OPMODE=Const(0b0110101, 7),
            i_ALUMODE=Const(0b0011, 4),
            i_INMODE=Const(0, 5),
            i_CARRYIN=zero,
            i_CARRYINSEL=Const(0, 3),
            i_CEA1=zero,
            i_CEA2=one,
            i_CEB1=zero,
            i_CEB2=one,
            i_CEC=one,
            i_CEM=one,
            i_CEP=zero,
            i_CED=zero,
            i_CEAD=zero,
            i_CEALUMODE=zero,
            i_CECTRL=zero,
            i_CECARRYIN=zero,
            i_CEINMODE=zero,
            i_RSTA=zero,
            i_RSTB=zero,
            i_RSTC=zero,
            i_RSTM=self.rest,
            i_RSTP=zero,
            i_RSTD=zero,
            i_RSTALLCARRYIN=zero,
            i_RSTALUMODE=zero,
            i_RSTCTRL=zero,
            i_RSTINMODE=zero,
            o_P=result,
        )
        m.d.comb += difference.eq(result[FREQUENCY_BITS : FREQUENCY_BITS + RANGE_BITS + 1])
