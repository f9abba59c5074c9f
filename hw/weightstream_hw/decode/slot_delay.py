"""Delays of values that go round with the slots: small memories with an entry for each slot."""

from __future__ import annotations

from amaranth.hdl import Signal, Value
from amaranth.lib import memory

#: Small memories that are read without a clock.
LUT_MEMORY = {"ram_style": "distributed"}
#: Delays that stay registers: of those there are plenty, of LUTs that shift there are not.
REGISTERS = {"shreg_extract": "no"}


def lut_memory(m, name, width, depth):
    """Add a memory in LUTs and return it."""
    cells = memory.Memory(shape=width, depth=depth, init=[], attrs=LUT_MEMORY)
    m.submodules[name] = cells
    return cells


def delayed(m, value, clocks, *, control=False):
    """Return `value` behind so many registers, which are reset only if it is a `control` signal."""
    for _ in range(clocks):
        later = Signal.like(value, reset_less=not control, attrs=REGISTERS)
        m.d.sync += later.eq(value)
        value = later
    return value


def slot_memory(m, name, value, write, read):
    """Return `value` as it was when `write` was what `read` is now.

    Both are counters of slots that run all the time; so this is a delay by a constant number of clocks: by as
    many as they count, if they are the same.
    """
    value = Value.cast(value)
    cells = lut_memory(m, name, len(value), 1 << len(write))
    put, get = cells.write_port(), cells.read_port(domain="comb")
    m.d.comb += [put.addr.eq(write), put.data.eq(value), put.en.eq(1), get.addr.eq(read)]
    return get.data


def slot_delay(m, name, value, write, read):
    """Do what `slot_memory` does, one clock later."""
    result = Signal.like(Value.cast(value), name=name, reset_less=True)
    m.d.sync += result.eq(slot_memory(m, name, value, write, read))
    return result


def longer_trip(m, name, value, slots, clocks, *, registered=True):
    """Return `value` delayed by the 0 or 8 clocks that a trip round the ring takes longer than its stages.

    Parameters
    ----------
    slots : list of Signal
        The slot at each stage; of any two stages that follow one another, the earlier one is ahead by 1.
    registered : bool
        Whether the result, if delayed, comes from a register: else it comes from a memory in LUTs.
    """
    if not clocks:
        return value
    assert clocks == 8
    if registered:
        return slot_delay(m, name, value, slots[4][:3], slots[3][:3])
    return slot_memory(m, name, value, slots[3][:3], slots[3][:3])
