"""From a sum to a small output by comparison with thresholds.

Golden: weightstream.golden.compute.thresholds
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from .mac import SUM_BITS
from .records import THRESHOLD_WORDS
from .requantise import LIMIT_BITS

#: Thresholds that are compared in a clock: a word of a record.
PAIR = data.ArrayLayout(signed(SUM_BITS), 2)


class ThresholdUnit(wiring.Component):
    """Compute ``zero point + step * (number of thresholds that the sum has reached)``.

    Timing
    ------
    Latency: `latency` clocks from the clock in which a sum is taken to its value.
    Throughput: one value in as many clocks as its thresholds have words, at least one; see `cycles`.
    Stall: a sum waits until its last word is read.

    Parameters
    ----------
    machine : Machine
        Must have `thresholds`.

    Attributes
    ----------
    start : In(stream of signed(32))
        Sums. One is taken with the last word of its record, so that its row may select the record meanwhile.
    index : Out(3)
        The word of the record to read for the sum at `start`.
    word : In(64)
        That word, one clock later: two thresholds, the lower half first. It may come straight from a memory.
    threshold_count : In(4)
        Thresholds a row; constant during a layer, like what follows.
    step : In(signed(2))
        What a threshold adds.
    zero_point : In(signed(11))
        Result below all thresholds.
    value_valid : Out(1)
        A value is there.
    value : Out(8)
        The low bits of the result.

    Raises
    ------
    ValueError
        The machine has no thresholds.
    """

    #: Clocks from the clock in which a sum is taken to its value.
    latency = 4

    def __init__(self, machine: Machine):
        if not machine.thresholds:
            raise ValueError("machine must have thresholds")
        super().__init__(
            {
                "start": In(stream.Signature(signed(SUM_BITS))),
                "index": Out(range(THRESHOLD_WORDS)),
                "word": In(PAIR.size),
                "threshold_count": In(4),
                "step": In(signed(2)),
                "zero_point": In(signed(LIMIT_BITS)),
                "value_valid": Out(1),
                "value": Out(8),
            }
        )

    def cycles(self, sums: int, threshold_count: int) -> int:
        """Return the clocks from the first word of some sums, without gaps, to the last value, inclusive."""
        return sums * max(1, -(-threshold_count // 2)) + self.latency

    def elaborate(self, platform) -> Module:
        """Return the circuit: a walk over words, and a pipeline of read, compare and add."""
        m = Module()
        some = self.threshold_count != 0
        last = self.index == Mux(some, (self.threshold_count - 1)[1:4], 0)
        m.d.comb += self.start.ready.eq(last)
        with m.If(self.start.valid):
            m.d.sync += self.index.eq(Mux(last, 0, self.index + 1))

        # Beside the word, and one clock later. An odd count leaves out the second threshold of the last word.
        first, sums, counted = [], [], []
        for clock in range(2):
            first.append(Signal(name=f"first_{clock}", reset_less=True))
            sums.append(Signal(signed(SUM_BITS), name=f"sum_{clock}", reset_less=True))
            counted.append(Signal(2, name=f"counted_{clock}", reset_less=True))
        word = Signal(PAIR, reset_less=True)
        m.d.sync += [
            first[0].eq(self.index == 0),
            sums[0].eq(self.start.payload),
            counted[0].eq(Cat(some, some & ~(last & self.threshold_count[0]))),
            first[1].eq(first[0]),
            sums[1].eq(sums[0]),
            counted[1].eq(counted[0]),
            word.as_value().eq(self.word),
        ]

        begin = Signal(reset_less=True)
        reached = Signal(2, reset_less=True)
        value = Signal(8, reset_less=True)
        m.d.sync += [
            begin.eq(first[1]),
            reached.eq(Cat(sums[1] >= word[i] for i in range(2)) & counted[1]),
            value.eq(
                Mux(begin, self.zero_point, value)
                + Mux(reached[0], self.step, 0)
                + Mux(reached[1], self.step, 0)
            ),
        ]
        m.d.comb += self.value.eq(value)

        done = self.start.valid & last
        for clock in range(self.latency):
            later = Signal(name=f"done_{clock}")
            m.d.sync += later.eq(done)
            done = later
        m.d.comb += self.value_valid.eq(done)
        return m
