"""The context of the next symbol of each slot."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import (
    MAX_CONTEXT_BITS,
    MAX_DISTANCE,
    MAX_NEIGHBOUR_BITS,
    MAX_ROW_BITS,
    SYMBOL_BITS,
    SYMBOLS,
)
from weightstream.spec.machine import Machine

from ..control.config_write import CONFIG_WRITE
from .ring import LANE_CONTROL
from .slot_delay import delayed, lut_memory

#: What a symbol means as a neighbour: the fields of its classes as the one before, as the second neighbour.
NEIGHBOUR = data.StructLayout({"previous": 2 * MAX_NEIGHBOUR_BITS, "back": MAX_NEIGHBOUR_BITS})


class Neighbours(wiring.Component):
    """Form contexts: fields of the row's class, the column's class, and two neighbours' classes.

    All fields come at their places, so that a context is what they are together. A slot keeps its last symbol
    through rounds that decode none, and the classes of its last 16 symbols as second neighbours.

    Timing
    ------
    Latency: none from the symbol to its context, stages as in `Lane`.
    Throughput: 1 a clock.
    Stall: none.

    Attributes
    ----------
    config : In(CONFIG_WRITE)
        `neighbour`: from address 16 on, the fields of symbol ``address - 16`` as a neighbour, laid out as
        `NEIGHBOUR`; those below 16, of a missing neighbour, are taken to be 0. Registered already.
    slots : In for stages 3 to 10
        The slot that is there.
    control : In(LANE_CONTROL)
        What is used at stages 4 and 5, registered already.
    decoded : In(1)
        Stage 5: the slot has decoded a symbol.
    symbol : In(4)
        Stage 5: which one.
    row_field : In(4)
        Stage 5: field of the row's class.
    context : Out(12)
        Stage 5: context of the next symbol.

    Golden: weightstream.golden.decode.contexts
    """

    def __init__(self, machine: Machine):
        bits = (machine.slots - 1).bit_length()
        super().__init__(
            {
                "config": In(CONFIG_WRITE),
                "slots": In(data.ArrayLayout(bits, 11)),
                "control": In(LANE_CONTROL),
                "decoded": In(1),
                "symbol": In(SYMBOL_BITS),
                "row_field": In(MAX_ROW_BITS),
                "context": Out(MAX_CONTEXT_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        here, coming = self.slots[5], self.slots[4]
        slots = 1 << len(here)

        # A slot that decodes none keeps its symbol. It is read at stage 4.
        cells = lut_memory(m, "symbols", SYMBOL_BITS, slots)
        put, get = cells.write_port(), cells.read_port(domain="comb")
        symbol = Signal(SYMBOL_BITS)
        m.d.comb += [
            symbol.eq(Mux(self.decoded, self.symbol, delayed(m, get.data, 1))),
            put.addr.eq(here),
            put.data.eq(symbol),
            put.en.eq(1),
            get.addr.eq(coming),
        ]

        # Only what symbols mean where they are neighbours; else it is 0.
        cells = lut_memory(m, "neighbours", NEIGHBOUR, SYMBOLS)
        put, get = cells.write_port(), cells.read_port(domain="comb")
        neighbour = Signal(NEIGHBOUR)
        m.d.comb += [
            put.addr.eq(self.config.address),
            put.data.eq(self.config.data),
            put.en.eq(self.config.neighbour & self.config.address[SYMBOL_BITS]),
            get.addr.eq(symbol),
            neighbour.eq(get.data),
        ]

        cells = lut_memory(m, "history", MAX_NEIGHBOUR_BITS, MAX_DISTANCE * slots)
        put, get = cells.write_port(), cells.read_port(domain="comb")
        back = Signal(MAX_NEIGHBOUR_BITS, reset_less=True)
        m.d.comb += [
            put.addr.eq(Cat(here, self.control.column)),
            put.data.eq(neighbour.back),
            put.en.eq(self.control.keep),
            get.addr.eq(Cat(coming, self.control.back_column)),
        ]
        m.d.sync += back.eq(Mux(self.control.back, get.data, 0))

        previous = Mux(self.control.previous, neighbour.previous, 0)
        # The symbol itself is the second neighbour, too, if the distance is 1.
        adjacent = Mux(self.control.adjacent, neighbour.back, 0)
        m.d.comb += self.context.eq(
            self.row_field << (MAX_CONTEXT_BITS - MAX_ROW_BITS)
            | self.control.next_field
            | previous
            | back
            | adjacent
        )
        return m
