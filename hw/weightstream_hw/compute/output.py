"""Words of outputs from all groups of lanes, on their way to the activation memory."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

WORD_BYTES = 8


def output_word(machine: Machine) -> data.StructLayout:
    """Return the layout of a word of outputs: the number of an aligned word, its bytes, which to write."""
    return data.StructLayout(
        {"address": machine.pool_address_bits - 3, "data": 8 * WORD_BYTES, "mask": WORD_BYTES}
    )


class OutputWriter(wiring.Component):
    """Let the groups of lanes take turns: no word waits longer than for one word of each other group.

    Timing
    ------
    Latency: `latency` clocks from a word to `write`.
    Throughput: a word a clock.
    Stall: words wait while `write` does.

    Parameters
    ----------
    machine : Machine
        Groups of lanes.

    Attributes
    ----------
    words : In(stream of output_word), array of groups
        From the drains.
    write : Out(stream of output_word)
        To the activation memory.
    """

    #: Clocks from a word to `write`.
    latency = 1

    def __init__(self, machine: Machine):
        self.machine = machine
        word = stream.Signature(output_word(machine))
        super().__init__({"words": In(word).array(machine.groups), "write": Out(word)})

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        groups = self.machine.groups
        last, chosen = Signal(range(groups)), Signal(range(groups))
        with m.Switch(last):
            for group in range(groups):
                with m.Case(group):
                    # The first one behind the last one counts.
                    for turn in reversed(range(1, groups + 1)):
                        other = (group + turn) % groups
                        with m.If(self.words[other].valid):
                            m.d.comb += chosen.eq(other)
        free = Signal()
        m.d.comb += free.eq(~self.write.valid | self.write.ready)
        with m.If(free):
            m.d.sync += self.write.valid.eq(0)
        for group, word in enumerate(self.words):
            with m.If(free & (chosen == group)):
                m.d.comb += word.ready.eq(1)
                m.d.sync += [self.write.valid.eq(word.valid), self.write.payload.eq(word.payload)]
                with m.If(word.valid):
                    m.d.sync += last.eq(group)
        return m
