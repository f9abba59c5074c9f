"""Which column comes next, and what its class adds to the context."""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import MAX_CONTEXT_BITS, MAX_DISTANCE
from weightstream.spec.image import COLUMNS_A_WORD
from weightstream.spec.machine import Machine

from .config_write import CONFIG_WRITE

#: A position of a part: number, group of weights within the period of the map, pass.
POSITION = data.StructLayout({"number": 24, "group": 17, "palette": 2})

#: What a round is told about a position.
NEIGHBOURHOOD = data.StructLayout({"field": MAX_CONTEXT_BITS, "column": 4, "previous": 1, "back": 1})


class ColumnWalk(wiring.Component):
    """Walk through the positions of a part, over and over, and look up the class of each column.

    `here` is the position that is decoded next, `ahead` the one behind it; behind the last position of a part
    comes the first one.

    Timing
    ------
    Latency: what is said about `ahead` is right 5 clocks after `step` or `restart`, about `here` in the next
    clock.
    Throughput: a step every 5 clocks or more; a round has at least 8.
    Stall: none.

    Parameters
    ----------
    machine : Machine
        Entries of the map.

    Attributes
    ----------
    config : In(CONFIG_WRITE)
        Classes of columns; their fields, at the address ``16 * pass + class``.
    part_symbols, passes, column_period, distance
        From the descriptor, static.
    restart : In(1)
        Go to position 0; `here` is right after 12 clocks.
    step : In(1)
        Go on by one position.
    palette : Out(2)
        Pass of `here`.
    column : Out(4)
        Position of `here`, modulo 16.
    last_pass, last : Out(1)
        Whether `here` is the last pass of its group; the last position of its part.
    here, ahead : Out(NEIGHBOURHOOD)
        What contexts take from the two positions.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "config": In(CONFIG_WRITE),
                "part_symbols": In(24),
                "passes": In(2),
                "column_period": In(17),
                "distance": In(5),
                "restart": In(1),
                "step": In(1),
                "palette": Out(2),
                "column": Out(4),
                "last_pass": Out(1),
                "last": Out(1),
                "here": Out(NEIGHBOURHOOD),
                "ahead": Out(NEIGHBOURHOOD),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self.machine
        m.submodules.classes = classes = memory.Memory(
            shape=4 * COLUMNS_A_WORD, depth=machine.column_classes // COLUMNS_A_WORD, init=[]
        )
        m.submodules.fields = fields = memory.Memory(
            shape=MAX_CONTEXT_BITS, depth=64, init=[], attrs={"ram_style": "distributed"}
        )
        class_write, class_read = classes.write_port(), classes.read_port()
        field_write, field_read = fields.write_port(), fields.read_port(domain="comb")
        m.d.comb += [
            class_write.addr.eq(self.config.address),
            class_write.data.eq(self.config.data),
            class_write.en.eq(self.config.columns),
            field_write.addr.eq(self.config.address),
            field_write.data.eq(self.config.data),
            field_write.en.eq(self.config.column_field),
        ]

        here, ahead = Signal(POSITION), Signal(POSITION)
        following = Signal(POSITION)
        # Compared one clock after the position changes: nothing asks for it earlier.
        last_pass, last_group, last_number = Signal(), Signal(), Signal()
        m.d.sync += [
            last_pass.eq(ahead.palette == self.passes),
            last_group.eq(ahead.group == self.column_period - 1),
            last_number.eq(ahead.number == self.part_symbols - 1),
            following.number.eq(ahead.number + 1),
            following.group.eq(ahead.group),
            following.palette.eq(ahead.palette + 1),
        ]
        # Restart: position 0 becomes `ahead`, some clocks later `here`.
        settle = Signal(4)
        with m.If(settle != 0):
            m.d.sync += settle.eq(settle - 1)
        move = Signal()
        m.d.comb += move.eq(self.step | (settle == 1))
        with m.If(self.restart):
            m.d.sync += [ahead.eq(0), settle.eq(8)]
        with m.Elif(move):
            m.d.sync += ahead.eq(following)
            with m.If(last_pass):
                m.d.sync += [ahead.palette.eq(0), ahead.group.eq(following.group + 1)]
                with m.If(last_group):
                    m.d.sync += ahead.group.eq(0)
            with m.If(last_number):
                m.d.sync += ahead.eq(0)
            m.d.sync += [
                here.eq(ahead),
                self.here.eq(self.ahead),
                self.last_pass.eq(last_pass),
                self.last.eq(last_number),
            ]

        # Look up the class of `ahead`: memory, its register, one of its classes, field.
        looked_up, number = Signal(4 * COLUMNS_A_WORD), Signal(4)
        within = (COLUMNS_A_WORD - 1).bit_length()
        m.d.comb += class_read.addr.eq(ahead.group >> within)
        m.d.sync += [
            looked_up.eq(class_read.data),
            number.eq(looked_up.word_select(ahead.group[:within], 4)),
        ]
        m.d.comb += field_read.addr.eq(Cat(number, ahead.palette))
        m.d.sync += [
            self.ahead.field.eq(field_read.data),
            self.ahead.column.eq(ahead.number),
            self.ahead.previous.eq(ahead.number != 0),
            self.ahead.back.eq(
                (ahead.number >> MAX_DISTANCE.bit_length()).any() | (ahead.number[:5] >= self.distance)
            ),
        ]
        m.d.comb += [self.palette.eq(here.palette), self.column.eq(here.number)]
        return m
