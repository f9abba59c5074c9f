# amaranth: UnusedElaboratable=no
"""A search step that instantiates a family's multipliers does what the one of plain operators does."""

import random

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import data, memory, wiring

from family_cells import MODELS, mult18x18d
from weightstream.spec.coder import FREQUENCY_BITS, RANGE_BITS
from weightstream_hw.decode.search import THRESHOLDS, SearchStep
from weightstream_hw.multipliers import MULTIPLIERS
from weightstream_hw.synthesis import run_yosys
from weightstream_hw.tools import ToolError

CLOCKS = 600
INPUTS = data.StructLayout({"thresholds": THRESHOLDS, "range": RANGE_BITS, "window": RANGE_BITS, "rest": 1})
#: After them, registers that nothing resets hold what inputs were.
FIRST_CLOCKS = 3


class Twins(wiring.Component):
    """Two search steps that are given the same."""

    def __init__(self, dsp, inputs):
        self._steps = SearchStep(), SearchStep(dsp)
        self._inputs = inputs
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.plain, m.submodules.other = plain, other = self._steps
        m.submodules.inputs = inputs = memory.Memory(
            shape=INPUTS, depth=len(self._inputs), init=self._inputs, attrs={}
        )
        now = Signal(range(len(self._inputs)))
        read = inputs.read_port(domain="comb")
        m.d.sync += now.eq(now + 1)
        m.d.comb += read.addr.eq(now)
        before = Signal.like(read.data.range)
        m.d.sync += before.eq(read.data.range)
        for step in self._steps:
            m.d.comb += [getattr(step, name).eq(read.data[name]) for name in dict(INPUTS)]
            if not step.range_ahead:
                m.d.comb += step.range.eq(before)
        for i in range(3):
            same = plain.differences[i] == other.differences[i]
            m.d.comb += Assert((now < FIRST_CLOCKS) | same)
        m.d.comb += Assert((now < FIRST_CLOCKS) | (plain.quarter == other.quarter))
        return m


def stimuli():
    """Return inputs of each clock: random, now and then all ones or all zeros."""
    numbers = random.Random(18)

    def number(bits):
        return numbers.choice([0, (1 << bits) - 1, *(numbers.getrandbits(bits) for _ in range(8))])

    return [
        {
            "thresholds": sorted(number(FREQUENCY_BITS) for _ in range(3)),
            "range": number(RANGE_BITS),
            "window": number(RANGE_BITS),
            "rest": numbers.random() < 0.1,
        }
        for _ in range(CLOCKS)
    ]


def compare(directory, dsp, cells):
    """Run both for as many clocks as there are stimuli; Yosys fails where they differ."""
    (directory / "cells.v").write_text(cells)
    (directory / "twins.il").write_text(rtlil.convert(Twins(dsp, stimuli()), name="twins", emit_src=False))
    run_yosys(
        f"""
        read_rtlil twins.il
        read_verilog -sv cells.v
        hierarchy -check -top twins
        proc
        flatten
        opt_clean
        chformal -lower
        sim -assert -clock clk -reset rst -n {CLOCKS - 2}
        """,
        directory,
    )


@pytest.mark.parametrize("dsp", MODELS)
def test_instances_do_what_operators_do(tmp_path, dsp):
    compare(tmp_path, dsp, MODELS[dsp]())


def test_a_difference_is_found(tmp_path):
    model = mult18x18d()
    assert model.count("a_register * b_register;") == 1
    with pytest.raises(ToolError, match="assert"):
        compare(
            tmp_path, "ecp5", model.replace("a_register * b_register;", "a_register * b_register ^ 1 << 14;")
        )


def test_families_that_instantiate_have_models():
    assert MODELS.keys() == MULTIPLIERS.keys() - {"generic"}
