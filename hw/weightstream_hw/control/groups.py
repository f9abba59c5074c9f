"""Which groups of lanes, and which slots, share what."""

from amaranth import Const, Module, Signal
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


def copies_of(machine: Machine, row_groups: Value, m: Module) -> tuple[Signal, list[Signal]]:
    """Add what says how the groups of lanes copy each other.

    Parameters
    ----------
    machine : Machine
        Groups of lanes.
    row_groups : Value
        Groups that hold different rows, a divisor of the machine's groups; static.
    m : Module
        Where to put it.

    Returns
    -------
    last : Signal
        Number of the last copy.
    copies : list of Signal
        For each group, which copy it belongs to. Both are right 1 clock behind `row_groups`.
    """
    shape = range(max(machine.groups, 2))
    last = Signal(shape, name="last_copy", reset_less=True)
    copies = [Signal(shape, name=f"copy_of{group}", reset_less=True) for group in range(machine.groups)]
    with m.Switch(row_groups):
        for count in range(1, machine.groups + 1):
            if machine.groups % count == 0:
                with m.Case(count):
                    m.d.sync += last.eq(machine.groups // count - 1)
                    m.d.sync += [copy.eq(group // count) for group, copy in enumerate(copies)]
        with m.Default():
            m.d.sync += last.eq(0)
            m.d.sync += [copy.eq(0) for copy in copies]
    return last, copies


def ones(machine: Machine, bits: Value, m: Module) -> Signal:
    """Return a slot number whose lowest bits are 1, right 1 clock behind their static number."""
    mask = Signal(range(machine.slots), reset_less=True)
    m.d.sync += mask.eq((Const(1) << bits) - 1)
    return mask
