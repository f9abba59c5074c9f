"""When the sums of a tile are drained."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from .round import symbol_latency


class DrainControl(wiring.Component):
    """Start the drains once the captured sums and the records of their rows are there.

    Timing
    ------
    Latency: ``settle + 2`` clocks from `captured` to `start`, more if records are late.
    Throughput: one tile at a time.
    Stall: none; `ready` says when the next tile may be captured.

    Parameters
    ----------
    machine : Machine
        Slots.

    Attributes
    ----------
    captured, row, item : In
        A round captures sums: first row of their tile, first batch item of the pass.
    records_ready, records_bank : In(1)
        The records of the tile are in place, and where.
    busy : In(1)
        A drain works.
    start, start_row, start_bank, start_item : Out
        Begin, with the job of the drains.
    tile_done : Out(1)
        The tile is drained; its records may be overwritten.
    ready : Out(1)
        Nothing is under way.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        #: Clocks from the round that captures until the last slot's sum is in the shadow copy.
        self.settle = symbol_latency(machine) + machine.slots + 8
        super().__init__(
            {
                "captured": In(1),
                "row": In(21),
                "item": In(17),
                "records_ready": In(1),
                "records_bank": In(1),
                "busy": In(1),
                "start": Out(1),
                "start_row": Out(21),
                "start_bank": Out(1),
                "start_item": Out(17),
                "tile_done": Out(1),
                "ready": Out(1, init=1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        wait = Signal(range(self.settle + 1))
        m.d.sync += [self.start.eq(0), self.tile_done.eq(0)]
        with m.FSM():
            with m.State("rest"):
                with m.If(self.captured):
                    m.d.sync += [
                        self.ready.eq(0),
                        self.start_row.eq(self.row),
                        self.start_item.eq(self.item),
                        wait.eq(self.settle),
                    ]
                    m.next = "settle"
            with m.State("settle"):
                with m.If(wait != 0):
                    m.d.sync += wait.eq(wait - 1)
                with m.Elif(self.records_ready):
                    m.d.sync += [self.start.eq(1), self.start_bank.eq(self.records_bank), wait.eq(2)]
                    m.next = "drain"
            with m.State("drain"):
                # The drains answer `start` with `busy` one clock later.
                with m.If(wait != 0):
                    m.d.sync += wait.eq(wait - 1)
                with m.Elif(~self.busy):
                    m.d.sync += [self.tile_done.eq(1), self.ready.eq(1)]
                    m.next = "rest"
        return m
