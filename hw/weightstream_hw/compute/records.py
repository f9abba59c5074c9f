"""Row records on their way into the drains: a tile ahead of them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.image import RECORD, THRESHOLD_RECORD
from weightstream.spec.machine import Machine

from ..control.banks import tile_banks
from ..control.rows import RowWalk

#: Words of 64 bits that a row has: a requantising record is one word.
assert RECORD.size == 8
THRESHOLD_WORDS = THRESHOLD_RECORD.size // 8


def record_write(machine: Machine) -> data.StructLayout:
    """Return the layout of a write to the record memories of drains.

    The drains of row group `row_group` listen: `bank` is the parity of the tile, `address` is
    slot group * group_lanes + lane within the group, `index` the word of the record.
    """
    return data.StructLayout(
        {
            "enable": 1,
            "bank": 1,
            "row_group": range(machine.groups),
            "address": range(machine.slots * machine.group_lanes),
            "index": range(THRESHOLD_WORDS),
            "data": 64,
        }
    )


class RecordLoader(wiring.Component):
    """Deal the records of rows to the drains, one tile ahead.

    Tiles use two banks in turn, beginning with bank 0 after reset and going on from pass to pass and from
    layer to layer: the records of the next pass are loaded while the last tile of the pass before is drained.

    Timing
    ------
    Latency: 1 clock from a word to its write; `ready` follows the last write of a tile after 1 clock.
    Throughput: a word a clock.
    Stall: between tiles, while both banks hold records that are not done with.

    Parameters
    ----------
    machine : Machine
        Lanes and slots.

    Attributes
    ----------
    start : In(1)
        Begin a pass; looked at while `busy` is 0.
    rows, tile_rows, row_groups, use_thresholds : In
        From the descriptor, static while `busy`; at least 1 row.
    words : In(stream)
        Records, in the order of rows; exactly those of the rows are taken.
    write : Out(record_write)
        To the drains.
    busy : Out(1)
        Not all rows of the pass are written.
    ready : Out(1)
        The records of the oldest tile that is not done with are complete.
    bank : Out(1)
        Where they are.
    tile_done : In(1)
        That tile is drained: its bank is free.
    """

    #: Clocks from a word to its write.
    latency = 1

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "start": In(1),
                "rows": In(21),
                "tile_rows": In(11),
                "row_groups": In(4),
                "use_thresholds": In(1),
                "words": In(stream.Signature(64)),
                "write": Out(record_write(machine)),
                "busy": Out(1),
                "ready": Out(1),
                "bank": Out(1),
                "tile_done": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = RowWalk(self.machine)
        begin, taken, complete = Signal(), Signal(), Signal()
        index = Signal(range(THRESHOLD_WORDS))
        written = Signal()
        banks = tile_banks(m, complete=complete, written=written, taken=self.tile_done, freed=self.tile_done)
        m.d.comb += [
            walk.rows.eq(self.rows),
            walk.tile_rows.eq(self.tile_rows),
            walk.row_groups.eq(self.row_groups),
            begin.eq(self.start & ~self.busy),
            walk.start.eq(begin),
            self.words.ready.eq(self.busy & banks.free),
            taken.eq(self.words.valid & self.words.ready),
            walk.step.eq(taken & (~self.use_thresholds | (index == THRESHOLD_WORDS - 1))),
            complete.eq(walk.step & walk.last_of_tile),
            self.ready.eq(banks.ready),
            self.bank.eq(banks.bank),
        ]
        write = Signal(record_write(self.machine), reset_less=True)
        enable = Signal()
        m.d.comb += [
            self.write.eq(write),
            self.write.enable.eq(enable),
            self.write.row_group.eq(walk.row_group),
            self.write.address.eq(Cat(walk.lane, walk.slot_group)),
        ]
        m.d.sync += [
            enable.eq(taken),
            write.bank.eq(banks.filling),
            write.index.eq(index),
            write.data.eq(self.words.payload),
            written.eq(complete),
        ]
        with m.If(begin):
            m.d.sync += [self.busy.eq(1), index.eq(0)]
        with m.Elif(taken):
            m.d.sync += index.eq(index + self.use_thresholds)
            with m.If(walk.step & walk.last):
                m.d.sync += self.busy.eq(0)
        return m
