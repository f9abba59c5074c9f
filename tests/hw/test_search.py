# amaranth: UnusedElaboratable=no
"""A search step that instantiates a family's multipliers does what the one of plain operators does."""

import random

import pytest

from family_cells import MODELS, mult18x18d
from twins import compare
from weightstream.spec.coder import FREQUENCY_BITS, RANGE_BITS
from weightstream_hw.decode.search import SearchStep
from weightstream_hw.multipliers import MULTIPLIERS
from weightstream_hw.tools import ToolError

CLOCKS = 600


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


def compare_steps(directory, dsp, cells):
    steps = SearchStep(), SearchStep(dsp)
    compare(directory, steps, stimuli(), cells=cells, settled=3)


@pytest.mark.parametrize("dsp", MODELS)
def test_instances_do_what_operators_do(tmp_path, dsp):
    compare_steps(tmp_path, dsp, MODELS[dsp]())


def test_a_difference_is_found(tmp_path):
    model = mult18x18d()
    assert model.count("a_wide * b_wide;") == 1
    with pytest.raises(ToolError, match="assert"):
        compare_steps(tmp_path, "ecp5", model.replace("a_wide * b_wide;", "a_wide * b_wide ^ 1 << 14;"))


def test_families_that_instantiate_have_models():
    assert MODELS.keys() == MULTIPLIERS.keys() - {"generic"}
