"""Which addresses the columns of a pass are read from."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from ..control.descriptor import descriptor_ports
from ..control.groups import copies_of, ones

#: What the table depends on.
POSITION_FIELDS = (
    "input_base",
    "input_pitch",
    "input_bytes",
    "part_bytes",
    "clone_log2",
    "split_log2",
    "split_groups",
    "row_groups",
)

#: Entries up to which the table takes LUTs, not block memory.
DISTRIBUTED_ENTRIES = 128


def position_layout(machine: Machine) -> data.StructLayout:
    """Return the layout of a position.

    address, left
        Byte address of the part's first byte; bytes from there to the end of the item.
    valid
        Whether there is such an item in the batch.
    copy, slot, column
        Whom it is for: copy of the layer's groups of lanes, ring slots modulo r * s, column.
    """
    return data.StructLayout(
        {
            "address": machine.pool_address_bits,
            "left": signed(machine.pool_address_bits + 2),
            "valid": 1,
            "copy": range(max(machine.groups, 2)),
            "slot": range(machine.slots),
            "column": range(max(machine.columns, 2)),
        }
    )


class PositionTable(wiring.Component):
    """The positions of a pass: which part of which batch item is for which groups, slots and columns.

    Copy f, slot ``part * r + clone`` and column b take::

        item    = first + (f * r + clone) * B + b       f = 0 if groups of lanes are parts
        address = input_base + item * input_pitch + (part + f * s) * part_bytes      part if they are clones

    Timing
    ------
    Latency: ``cycles(positions)`` clocks from `pass_start` until `ready`.
    Throughput: a position a clock.
    Stall: `pass_start` waits until `release`.

    Parameters
    ----------
    machine : Machine
        Groups of lanes, slots, columns, size of the activation memory.

    Attributes
    ----------
    input_base, input_pitch, input_bytes, part_bytes, clone_log2, split_log2, split_groups, row_groups
        From the descriptor, static.
    batch : In(16)
        Items there are.
    pass_start : In(stream)
        The first item of a pass. Passes are in order: each begins with the item behind the last one of the
        pass before, the first one with item 0.
    ready : Out(1)
        The table is complete; `last` is the index of the last position.
    release : In(1)
        Pulse: the table is not needed any more.
    index : In
        Position to look up.
    position : Out(position_layout)
        That position, 1 clock later.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        #: The most positions of a pass.
        self.depth = machine.groups * machine.slots * machine.columns
        index = range(max(self.depth, 2))
        super().__init__(
            descriptor_ports(*POSITION_FIELDS)
            | {
                "batch": In(16),
                "pass_start": In(stream.Signature(17)),
                "ready": Out(1),
                "last": Out(index),
                "release": In(1),
                "index": In(index),
                "position": Out(position_layout(machine)),
            }
        )

    def cycles(self, positions: int) -> int:
        """Return the clocks from the one in which `pass_start` is taken to the first one with `ready`."""
        return positions + 2

    def elaborate(self, platform) -> Module:
        """Return the circuit.

        A *run* is what has one part: its items follow each other, through columns, clones and, unless groups
        of lanes are parts, copies. So an address only ever grows by the pitch, or goes back to the start of
        the run and on by a part.
        """
        m = Module()
        m.submodules.table = table = memory.Memory(
            shape=position_layout(self.machine),
            depth=self.depth,
            init=[],
            attrs={"ram_style": "distributed" if self.depth <= DISTRIBUTED_ENTRIES else "block"},
        )
        into, out = table.write_port(), table.read_port()
        m.d.comb += [out.addr.eq(self.index), self.position.eq(out.data)]

        last_copy, _ = copies_of(self.machine, self.row_groups, m)
        clone_mask = ones(self.machine, self.clone_log2, m)
        slot_mask = ones(self.machine, self.clone_log2 + self.split_log2, m)

        # Where the stepper stands, where its run began, where the next pass begins.
        at = Signal(position_layout(self.machine), reset_less=True)
        item = Signal(17, reset_less=True)
        run = Signal(
            data.StructLayout({"address": at.address.shape(), "left": at.left.shape(), "item": 17}),
            reset_less=True,
        )
        next_pass = Signal.like(at.address, reset_less=True)
        first_run = Signal(reset_less=True)
        filling = Signal()
        index = Signal.like(self.last, reset_less=True)

        entry = Signal.like(at)
        write = Signal()
        m.d.comb += [entry.eq(at), entry.valid.eq(item < self.batch)]
        m.d.sync += [into.addr.eq(index), into.data.eq(entry), write.eq(filling)]
        m.d.comb += into.en.eq(write)

        column_end, clone_end, part_end = Signal(), Signal(), Signal()
        copy_end, run_end, end = Signal(), Signal(), Signal()
        m.d.comb += [
            column_end.eq(at.column == self.machine.columns - 1),
            clone_end.eq((at.slot & clone_mask) == clone_mask),
            part_end.eq(at.slot == slot_mask),
            copy_end.eq(at.copy == last_copy),
            run_end.eq(column_end & clone_end & (self.split_groups | copy_end)),
            end.eq(column_end & part_end & copy_end),
        ]
        behind, behind_part = Signal.like(at.address), Signal.like(at.address)
        left_behind = Signal.like(at.left)
        m.d.comb += [
            behind.eq(at.address + self.input_pitch),
            behind_part.eq(run.address + self.part_bytes),
            left_behind.eq(run.left - self.part_bytes),
        ]

        m.d.comb += self.pass_start.ready.eq(~filling & ~self.ready & ~write)
        with m.If(self.pass_start.valid & self.pass_start.ready):
            start = Mux(self.pass_start.payload == 0, self.input_base, next_pass)
            m.d.sync += [
                filling.eq(1),
                first_run.eq(1),
                index.eq(0),
                at.address.eq(start),
                at.left.eq(self.input_bytes),
                at.copy.eq(0),
                at.slot.eq(0),
                at.column.eq(0),
                item.eq(self.pass_start.payload),
                run.address.eq(start),
                run.left.eq(self.input_bytes),
                run.item.eq(self.pass_start.payload),
            ]
        with m.If(filling):
            m.d.sync += [
                index.eq(index + 1),
                self.last.eq(index),
                at.column.eq(at.column + 1),
                at.address.eq(behind),
                item.eq(item + 1),
            ]
            with m.If(column_end):
                m.d.sync += [at.column.eq(0), at.slot.eq(at.slot + 1)]
                with m.If(clone_end):
                    m.d.sync += [at.copy.eq(at.copy + 1), at.slot.eq(at.slot & ~clone_mask)]
            with m.If(run_end):
                m.d.sync += [
                    first_run.eq(0),
                    at.slot.eq((at.slot + 1) & slot_mask),
                    at.copy.eq(Mux(self.split_groups, at.copy + part_end, 0)),
                    at.address.eq(behind_part),
                    at.left.eq(left_behind),
                    item.eq(run.item),
                    run.address.eq(behind_part),
                    run.left.eq(left_behind),
                ]
            # What counts is what is behind the last one of the run.
            with m.If(first_run):
                m.d.sync += next_pass.eq(behind)
            with m.If(end):
                m.d.sync += filling.eq(0)
        # The last entry is written in the clock behind the last step.
        with m.If(write & ~filling):
            m.d.sync += self.ready.eq(1)
        with m.If(self.release):
            m.d.sync += self.ready.eq(0)
        return m
