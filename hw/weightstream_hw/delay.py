"""Values some clocks later."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value


def delayed(m: Module, value: Value, clocks: int, name: str, *, reset_less: bool = True) -> Value:
    """Return a value that many clocks later.

    Parameters
    ----------
    m : Module
        Where to put the registers.
    value : Value
        What is delayed.
    clocks : int
        Registers in a row.
    name : str
        Of the registers, each with its number.
    reset_less : bool
        Whether a reset leaves them.
    """
    for clock in range(clocks):
        later = Signal.like(value, name=f"{name}_{clock}", reset_less=reset_less)
        m.d.sync += later.eq(value)
        value = later
    return value
