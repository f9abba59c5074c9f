"""Where rows stand in a tile: lane by lane, group of lanes by group of lanes, slot group by slot group."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine


class RowWalk(wiring.Component):
    """Walk through the rows of a matrix, tile after tile.

    Counting comes first, places follow: so what leads to `step` ends at the counters.

    Timing
    ------
    Latency: `last` and `last_of_tile` are there in the clock after `start` or `step`; the place of a row is
        there in the clock after the `step` that leaves it.
    Throughput: a row a clock.
    Stall: none.

    Parameters
    ----------
    machine : Machine
        Lanes and slots.

    Attributes
    ----------
    rows, tile_rows, row_groups : In
        From the descriptor, static; at least 1 each.
    start : In(1)
        Go to the first row.
    step : In(1)
        Go to the next row.
    lane, row_group, slot_group : Out
        Lane within its group, group of lanes among those that hold different rows, group of slots: a clock
        later than `last`.
    last, last_of_tile : Out(1)
        It is the last row of the matrix; of its tile.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "rows": In(21),
                "tile_rows": In(11),
                "row_groups": In(4),
                "start": In(1),
                "step": In(1),
                "lane": Out(range(machine.group_lanes)),
                "row_group": Out(range(machine.groups)),
                "slot_group": Out(range(machine.slots)),
                "last": Out(1),
                "last_of_tile": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Rows left, this one included; of the matrix and of the tile. That one is left is found out a row
        # before.
        left = Signal(21)
        tile_left = Signal(11)
        tile_last = Signal()
        first_of_tile = Signal()
        stepped, starts_tile = Signal(), Signal()
        m.d.comb += [
            self.last_of_tile.eq(self.last | tile_last),
            first_of_tile.eq(self.start | (self.step & self.last_of_tile)),
        ]
        m.d.sync += [stepped.eq(self.step), starts_tile.eq(first_of_tile)]
        with m.If(self.step):
            m.d.sync += [
                left.eq(left - 1),
                tile_left.eq(tile_left - 1),
                self.last.eq(left == 2),
                tile_last.eq(tile_left == 2),
            ]
        with m.If(self.start):
            m.d.sync += [left.eq(self.rows), self.last.eq(self.rows == 1)]
        with m.If(first_of_tile):
            m.d.sync += [tile_left.eq(self.tile_rows), tile_last.eq(self.tile_rows == 1)]

        with m.If(stepped):
            m.d.sync += self.lane.eq(self.lane + 1)
            with m.If(self.lane == self.machine.group_lanes - 1):
                last_group = self.row_group == self.row_groups - 1
                m.d.sync += [
                    self.lane.eq(0),
                    self.row_group.eq(Mux(last_group, 0, self.row_group + 1)),
                    self.slot_group.eq(self.slot_group + last_group),
                ]
        with m.If(starts_tile):
            m.d.sync += [self.lane.eq(0), self.row_group.eq(0), self.slot_group.eq(0)]
        return m
