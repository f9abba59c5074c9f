"""The parameter `dsp`: what there is, every block that multiplies takes; other values are refused."""

import gc
import warnings

import pytest
from amaranth.hdl import UnusedElaboratable

from weightstream.spec.machine import PRESETS
from weightstream_hw.boards.description import BOARDS
from weightstream_hw.compute.drain import GroupDrain
from weightstream_hw.compute.mac import Mac
from weightstream_hw.compute.products import ProductCentre
from weightstream_hw.compute.requantise import Requantiser
from weightstream_hw.decode.lane import Lane
from weightstream_hw.decode.search import SearchStep
from weightstream_hw.multipliers import MULTIPLIERS
from weightstream_hw.report import multipliers_of
from weightstream_hw.synthesis import TARGETS

TINY = PRESETS["tiny"]
BLOCKS = {
    "search": SearchStep,
    "lane": lambda dsp: Lane(TINY, dsp=dsp),
    "mac": lambda dsp: Mac(TINY, dsp=dsp),
    "requantiser": lambda dsp: Requantiser(TINY, dsp=dsp),
    "products": lambda dsp: ProductCentre(TINY, dsp=dsp),
    "drain": lambda dsp: GroupDrain(TINY, dsp=dsp),
}
EACH = pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS.keys())


@pytest.fixture(autouse=True)
def unused():
    """Let blocks go that were made and not built, with those that they had made before they were refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        yield
        gc.collect()


@EACH
@pytest.mark.parametrize("dsp", MULTIPLIERS)
def test_every_block_takes_what_there_is(make, dsp):
    make(dsp)


@EACH
@pytest.mark.parametrize("dsp", ["ice40", "", None])
def test_anything_else_is_refused(make, dsp):
    with pytest.raises(ValueError, match=rf"^dsp must be one of 'generic', 'xc7', 'ecp5', not {dsp!r}$"):
        make(dsp)


def test_targets_and_boards_name_what_there_is():
    assert [multipliers_of(target) for target in TARGETS] == list(TARGETS)
    assert {board.processor.dsp for board in BOARDS.values()} <= set(MULTIPLIERS)
