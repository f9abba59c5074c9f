# amaranth: UnusedElaboratable=no
"""Counters of events."""

import random

import pytest

from simulation import simulate
from weightstream_hw.bus.counters import EventCounters


@pytest.mark.parametrize("kinds", [1, 3, 4, 9, 16])
def test_counts_lag_no_more_than_stated(kinds):
    dut = EventCounters(kinds)
    numbers = random.Random(kinds)

    async def bench(ctx):
        sums, history = [0] * kinds, []
        for _ in range(300):
            events, kind = numbers.getrandbits(kinds), numbers.randrange(kinds)
            ctx.set(dut.events, events)
            ctx.set(dut.address, kind)
            history.append(list(sums))
            sums = [total + (events >> n & 1) for n, total in enumerate(sums)]
            await ctx.tick()
            least = history[max(0, len(history) - 1 - dut.lag)][kind]
            assert least <= ctx.get(dut.count) <= history[-1][kind]

    simulate(dut, bench)


def test_counters_need_kinds():
    with pytest.raises(ValueError, match=r"^kinds must be positive, not 0$"):
        EventCounters(0)
