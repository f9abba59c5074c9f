"""Two banks that tiles use in turn: one is filled while the other one is in use."""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Module, Signal, Value


class TileBanks(NamedTuple):
    """What is known of two banks: a 1-bit signal each."""

    #: A bank is free to be filled; which one.
    free: Value
    filling: Signal
    #: The oldest tile that was not taken is complete; which bank it is in.
    ready: Value
    bank: Signal


def tile_banks(m: Module, *, complete: Value, written: Value, taken: Value, freed: Value) -> TileBanks:
    """Keep account of two banks, from bank 0 on after reset, and on from pass to pass and layer to layer.

    Parameters
    ----------
    m : Module
        Where to put it.
    complete, written, taken, freed : Value
        Pulses, each once a tile, in this order, some of them perhaps in the same clock: all that belongs to
        the tile was found; it is in memory; it is begun with; its bank may be overwritten.
    """
    #: Banks with a tile that is not done with; with one that is in memory, and not taken.
    held, stored = Signal(range(3)), Signal(range(3))
    filling, bank = Signal(), Signal()
    m.d.sync += [
        held.eq(held + complete - freed),
        stored.eq(stored + written - taken),
        filling.eq(filling ^ complete),
        bank.eq(bank ^ taken),
    ]
    return TileBanks(free=~held[1], filling=filling, ready=stored != 0, bank=bank)
