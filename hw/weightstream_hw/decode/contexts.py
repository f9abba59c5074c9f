"""The map from contexts to numbers of tables."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import MAX_CONTEXT_BITS, MAX_TABLES

from ..control.config_write import CONFIG_WRITE

TABLE_BITS = (MAX_TABLES - 1).bit_length()


class ContextMap(wiring.Component):
    """Choose the tables of one or two lanes: a block memory has two ports.

    Timing
    ------
    Latency: 1 clock.
    Throughput: 1 context a clock and lane.
    Stall: none; the map is written while no symbols are decoded.

    Parameters
    ----------
    lanes : int
        1 or 2.

    Attributes
    ----------
    config : In(CONFIG_WRITE)
        `context`: the number of a table at `address`.
    contexts : In(12) for each lane
        Context of the next symbol.
    tables : Out(6) for each lane
        Number of its table.

    Raises
    ------
    ValueError
        `lanes` is neither 1 nor 2.

    Golden: weightstream.golden.decode.contexts
    """

    latency = 1

    def __init__(self, lanes: int = 2):
        if lanes not in (1, 2):
            raise ValueError(f"lanes must be 1 or 2, not {lanes!r}")
        self.lanes = lanes
        super().__init__(
            {
                "config": In(CONFIG_WRITE),
                "contexts": In(MAX_CONTEXT_BITS).array(lanes),
                "tables": Out(TABLE_BITS).array(lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        cells = memory.Memory(
            shape=TABLE_BITS, depth=1 << MAX_CONTEXT_BITS, init=[], attrs={"ram_style": "block"}
        )
        m.submodules.cells = cells
        write = Signal()
        address = Signal(MAX_CONTEXT_BITS, reset_less=True)
        table = Signal(TABLE_BITS, reset_less=True)
        m.d.sync += [
            write.eq(self.config.context),
            address.eq(self.config.address),
            table.eq(self.config.data),
        ]
        put = cells.write_port()
        # The first lane's port also writes. Only where it is the same signal do both take one port.
        shared = Signal(MAX_CONTEXT_BITS)
        m.d.comb += [
            shared.eq(Mux(write, address, self.contexts[0])),
            put.addr.eq(shared),
            put.data.eq(table),
            put.en.eq(write),
        ]
        for i in range(self.lanes):
            get = cells.read_port()
            m.d.comb += [
                get.addr.eq(self.contexts[i] if i else shared),
                self.tables[i].eq(get.data),
            ]
        return m
