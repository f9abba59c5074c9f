"""The sum of parts of rows that different groups of lanes hold."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from .mac import SUM_BITS


def part_sum_latency(machine: Machine) -> int:
    """Return the levels of an adder tree over the groups of lanes."""
    return (machine.groups - 1).bit_length()


class PartSum(wiring.Component):
    """Add the partial sums of all groups to those of group 0, if groups hold parts of the same rows.

    Timing
    ------
    Latency: `latency` clocks.
    Throughput: a sum a clock.
    Stall: none.

    Parameters
    ----------
    machine : Machine
        Groups of lanes.

    Attributes
    ----------
    split_groups : In(1)
        Whether there is something to add; static.
    partials : In(signed(32)), array of groups
        A partial sum of each group.
    total : Out(signed(32))
        Their sum, or that of group 0.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        #: Clocks from partial sums to their sum.
        self.latency = part_sum_latency(machine)
        super().__init__(
            {
                "split_groups": In(1),
                "partials": In(signed(SUM_BITS)).array(machine.groups),
                "total": Out(signed(SUM_BITS)),
            }
        )

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        terms = [
            partial if group == 0 else Mux(self.split_groups, partial, 0)
            for group, partial in enumerate(self.partials)
        ]
        for level in range(self.latency):
            sums = []
            for index in range(0, len(terms), 2):
                register = Signal(signed(SUM_BITS), name=f"sum{level}_{index}", reset_less=True)
                m.d.sync += register.eq(sum(terms[index + 1 : index + 2], terms[index]))
                sums.append(register)
            terms = sums
        m.d.comb += self.total.eq(terms[0])
        return m
