"""Which groups of lanes hold which rows."""

from amaranth import Module, Signal
from amaranth.hdl import Value

from weightstream.spec.machine import Machine


def row_groups_of(machine: Machine, row_groups: Value, m: Module) -> list[Signal]:
    """Return each group's number among those that hold different rows: ``group % row_groups``.

    The numbers are right 1 clock behind `row_groups`, a divisor of the machine's groups.
    """
    shape = range(max(machine.groups, 2))
    numbers = [Signal(shape, name=f"row_group_of{group}", reset_less=True) for group in range(machine.groups)]
    with m.Switch(row_groups):
        for count in range(1, machine.groups + 1):
            if machine.groups % count == 0:
                with m.Case(count):
                    m.d.sync += [number.eq(group % count) for group, number in enumerate(numbers)]
    return numbers
