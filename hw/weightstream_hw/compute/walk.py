"""The order in which a drain takes sums, and where their outputs go."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from ..control.descriptor import descriptor_ports

#: Fields of the descriptor that a walk depends on.
WALK_FIELDS = (
    "clone_log2",
    "split_log2",
    "split_groups",
    "row_groups",
    "rows",
    "row_lanes",
    "use_thresholds",
    "threshold_count",
    "output_base",
    "output_pitch",
)


def range_bits(count: int) -> int:
    """Return the bits of numbers below a count."""
    return (count - 1).bit_length()


class DrainWalk(wiring.Component):
    """Visit the shadow sums of a group of lanes: by slot group, clone, column, lane, part.

    A *word* is what one slot group, clone and column make up: an output of each lane, for one batch item. The
    walk leaves out items beyond the batch, and slot groups in which the group of lanes has no row::

        first item = item + (copy * r + 0) * B          copy = 0 if groups of lanes are parts
        address    = output_base + item of the word * output_pitch + row of lane 0

    Timing
    ------
    Latency: ``setup(item)`` clocks from a start to the first sum.
    Throughput: a sum a clock; a value takes a clock for each two of its thresholds at least.
    Stall: none.

    Parameters
    ----------
    machine : Machine
        Groups of lanes, slots, columns.
    group : int
        Which group.

    Attributes
    ----------
    clone_log2, split_log2, split_groups, row_groups, rows, row_lanes, use_thresholds, threshold_count,
    output_base, output_pitch
        From the descriptor, static from the clock before a start.
    batch : In(16)
        Items there are, static.
    start : In(1)
        Begin; looked at while `busy` is 0.
    row, item : In
        First row of the tile, first item of the pass, in the clock of the start.
    busy : Out(1)
        From the clock behind a start until the last sum was visited.
    valid : Out(1)
        A sum is visited.
    slot, slot_group, column, lane : Out
        Which one.
    first, last : Out(1)
        Whether it is the first, the last part of its value.
    word : Out(1)
        A word begins.
    address : Out
        Address of its first output, in units of the lanes of a group.
    last_lane : Out
        The last lane that has an output in it.
    """

    def __init__(self, machine: Machine, group: int):
        self.machine = machine
        self.group = group
        slot = range(machine.slots)
        lane = range(machine.group_lanes)
        super().__init__(
            descriptor_ports(*WALK_FIELDS)
            | {
                "batch": In(16),
                "start": In(1),
                "row": In(21),
                "item": In(17),
                "busy": Out(1),
                "valid": Out(1),
                "slot": Out(slot),
                "slot_group": Out(slot),
                "column": Out(range(machine.columns)),
                "lane": Out(lane),
                "first": Out(1),
                "last": Out(1),
                "word": Out(1),
                "address": Out(machine.pool_address_bits - range_bits(machine.group_lanes)),
                "last_lane": Out(lane),
            }
        )

    def setup(self, item: int) -> int:
        """Return the clocks from a start to the first sum; `item` is the first item of the group."""
        return 5 + item.bit_length()

    def cycles(self, *, item: int, words: int, parts: int = 1, threshold_count: int = 0) -> int:
        """Return the clocks from a start until `busy` is 0 again, if there are words."""
        value = max(parts, -(-threshold_count // 2))
        return self.setup(item) + words * self.machine.group_lanes * value

    def elaborate(self, platform) -> Module:
        """Return the circuit.

        One adder makes the addresses of slot groups: base, plus the tile's first row, plus the rows of the
        groups of lanes before this one, plus item * pitch bit by bit, then plus `row_lanes` from slot group
        to slot group. Rows and addresses count in units of the lanes of a group. What is counted down stands
        for one less, so that a borrow ends it.
        """
        m = Module()
        machine = self.machine
        unit = range_bits(machine.group_lanes)
        group_offset, item_offset, most_items, last_part, last_step = self._static(m)

        item = Signal(18, reset_less=True)
        row = Signal.like(self.row, reset_less=True)
        pitch = Signal.like(self.address, reset_less=True)
        #: Items and rows that there are behind the first ones.
        items_behind = Signal(signed(19), reset_less=True)
        rows_behind = Signal(signed(22), reset_less=True)
        #: Groups of lanes with rows from here on, items of the slot group from the word on, less 1.
        groups_left = Signal(signed(range_bits(machine.slots * machine.groups) + 2), reset_less=True)
        items_left, items = Signal.like(most_items), Signal.like(most_items, reset_less=True)

        # The address of the slot group and the groups of lanes that are left: what is added and taken away.
        origin, moved, addend = (
            Signal.like(self.address, name=name) for name in ("origin", "moved", "addend")
        )
        groups_moved = Signal.like(groups_left)
        passed = Signal(range(machine.groups + 1))
        m.d.comb += [moved.eq(origin + addend), groups_moved.eq(groups_left - passed)]

        slot_base = Signal(machine.slots.bit_length(), reset_less=True)
        slots_moved = Signal.like(slot_base)
        m.d.comb += slots_moved.eq(slot_base + (Const(1) << self.clone_log2 + self.split_log2))
        clone = Signal(range(machine.slots), reset_less=True)
        step = Signal.like(last_step)

        # From sum to sum: what ends with this one.
        walking = Signal()
        step_end, lane_end, items_end = (
            Signal(name=name, reset_less=True) for name in ("step_end", "lane_end", "items_end")
        )
        word_end, group_end, last_group, column_end = (
            Signal(name=name) for name in ("word_end", "group_end", "last_group", "column_end")
        )
        m.d.comb += [
            word_end.eq(walking & step_end & lane_end),
            column_end.eq(self.column == machine.columns - 1),
            group_end.eq(word_end & items_end),
            last_group.eq((groups_moved < 0) | slots_moved[-1]),
            addend.eq(self.row_lanes >> unit),
            passed.eq(self.row_lanes >> unit),
        ]
        with m.FSM() as state:
            with m.State("rest"):
                m.d.sync += [
                    origin.eq(self.output_base >> unit),
                    pitch.eq(self.output_pitch >> unit),
                    item.eq(self.item + item_offset),
                    row.eq(self.row),
                ]
                with m.If(self.start):
                    m.next = "rows"
            with m.State("rows"):
                m.d.comb += addend.eq(row >> unit)
                m.d.sync += [
                    origin.eq(moved),
                    # Less 1 both: a complement is the negative number less 1.
                    rows_behind.eq(self.rows + ~Cat(row, 0).as_signed()),
                    items_behind.eq(self.batch + ~Cat(item, 0).as_signed()),
                ]
                m.next = "clip"
            with m.State("clip"):
                behind = rows_behind[unit:-1]
                m.d.sync += [
                    groups_left.eq(behind),
                    items.eq(Mux(items_behind < most_items, items_behind, most_items)),
                ]
                # Beyond a tile it does not matter how many: it stays above 0.
                with m.If(behind[len(groups_left) - 1 :].any()):
                    m.d.sync += groups_left.eq((1 << len(groups_left) - 1) - 1)
                m.next = "group"
            with m.State("group"):
                m.d.comb += [addend.eq(group_offset), passed.eq(group_offset)]
                m.d.sync += [origin.eq(moved), groups_left.eq(groups_moved)]
                m.next = "items"
            with m.State("items"):
                m.d.comb += addend.eq(Mux(item[0], pitch, 0))
                m.d.sync += [
                    origin.eq(moved),
                    pitch.eq(pitch << 1),
                    item.eq(item >> 1),
                    self.address.eq(origin),
                    items_left.eq(items),
                    slot_base.eq(0),
                    clone.eq(0),
                    step.eq(0),
                    self.slot_group.eq(0),
                    self.column.eq(0),
                    self.lane.eq(0),
                    step_end.eq(last_step == 0),
                    lane_end.eq(machine.group_lanes == 1),
                    items_end.eq(items == 0),
                ]
                with m.If((groups_left < 0) | (items_behind < 0)):
                    m.next = "rest"
                with m.Elif(item == 0):
                    m.d.sync += walking.eq(1)
                    m.next = "walk"
            with m.State("walk"):
                with m.If(group_end & last_group):
                    m.d.sync += walking.eq(0)
                    m.next = "rest"

        with m.If(walking):
            m.d.sync += [step.eq(step + 1), step_end.eq(step + 1 == last_step)]
            with m.If(step_end):
                m.d.sync += [
                    step.eq(0),
                    step_end.eq(last_step == 0),
                    self.lane.eq(self.lane + 1),
                    lane_end.eq(self.lane == machine.group_lanes - 2),
                ]
        with m.If(word_end):
            m.d.sync += [
                self.lane.eq(0),
                lane_end.eq(machine.group_lanes == 1),
                self.address.eq(self.address + (self.output_pitch >> unit)),
                items_left.eq(items_left - 1),
                items_end.eq(items_left == 1),
                self.column.eq(Mux(column_end, 0, self.column + 1)),
                clone.eq(clone + column_end),
            ]
        with m.If(group_end):
            m.d.sync += [
                origin.eq(moved),
                groups_left.eq(groups_moved),
                slot_base.eq(slots_moved),
                self.address.eq(moved),
                items_left.eq(items),
                items_end.eq(items == 0),
                self.slot_group.eq(self.slot_group + 1),
                self.column.eq(0),
                clone.eq(0),
            ]
        m.d.comb += [
            self.busy.eq(~state.ongoing("rest")),
            self.valid.eq(walking & (step <= last_part)),
            self.first.eq(step == 0),
            self.last.eq(step == last_part),
            self.word.eq(walking & (step == 0) & (self.lane == 0)),
            self.slot.eq(slot_base | clone | (step << self.clone_log2)),
            # Rows of tiles and of groups of lanes are whole units.
            self.last_lane.eq(Mux(groups_left == 0, rows_behind[:unit], machine.group_lanes - 1)),
        ]
        return m

    def _static(self, m: Module) -> list[Signal]:
        """Return what follows from the descriptor, one clock behind it.

        Groups of lanes before this one in its copy, items of the copies before that; the most items of a slot
        group, the parts in slots and the clocks of a value, each less 1.
        """
        machine = self.machine
        groups = machine.groups
        row_group, copy = Signal(range(groups)), Signal(range(groups))
        with m.Switch(self.row_groups):
            for count in range(1, groups):
                if groups % count == 0:
                    with m.Case(count):
                        m.d.comb += [row_group.eq(self.group % count), copy.eq(self.group // count)]
            with m.Default():
                m.d.comb += row_group.eq(self.group)
        shapes = {
            "group_offset": range(groups),
            "item_offset": range(groups * machine.slots * machine.columns),
            "most_items": range(machine.slots * machine.columns),
            "last_part": range(machine.slots),
            "last_step": range(machine.slots),
        }
        static = [Signal(shape, name=name, reset_less=True) for name, shape in shapes.items()]
        last_part = Signal(range(machine.slots))
        compared = Signal(range(machine.slots))
        m.d.comb += last_part.eq((Const(1) << self.split_log2) - 1)
        with m.If(self.use_thresholds & (self.threshold_count != 0)):
            m.d.comb += compared.eq((self.threshold_count - 1)[1:4])
        values = (
            row_group,
            Mux(self.split_groups, 0, copy * machine.columns << self.clone_log2),
            (Const(machine.columns) << self.clone_log2) - 1,
            last_part,
            Mux(compared > last_part, compared, last_part),
        )
        m.d.sync += [signal.eq(value) for signal, value in zip(static, values, strict=True)]
        return static
