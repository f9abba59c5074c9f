"""Keys and classes of rows, a tile ahead of the lanes.

Golden: weightstream.golden.decode.keys
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import MAX_KEY_BITS
from weightstream.spec.image import KEY_CLASS_FIELDS, KEYS_CLASSES, KEYS_NONE, KEYS_RICE
from weightstream.spec.machine import Machine

from ..control.banks import TileBanks, tile_banks
from ..control.config_write import CONFIG_WRITE
from ..control.round import symbol_latency
from ..control.rows import RowWalk
from .bit_window import VIEW_BITS, BitWindow

#: A row class: its rows, k, the Rice parameter, the lift, its field in a context.
KEY_CLASS = data.StructLayout(dict(KEY_CLASS_FIELDS))
CLASS_BITS = 4
CLASSES = 1 << CLASS_BITS


def key_write(machine: Machine) -> data.StructLayout:
    """Return the layout of a write to the key memories of lanes.

    The lane `lane` of each group that holds row group `row_group` listens: `bank` is the tile's, `slot` its
    group of slots; `key`, its `bits` k and the row class's `field` are stored.
    """
    return data.StructLayout(
        {
            "enable": 1,
            "bank": 1,
            "row_group": range(machine.groups),
            "lane": range(machine.group_lanes),
            "slot": 4,
            "key": MAX_KEY_BITS,
            "bits": 4,
            "field": 4,
        }
    )


def leading_ones(bits: Value) -> tuple[Value, Value]:
    """Return whether all bits are ones, and how many of the first ones are; if all are, one less."""
    if len(bits) == 1:
        return bits, Value.cast(0)[:0]
    half = len(bits) // 2
    (all_low, low), (all_high, high) = leading_ones(bits[:half]), leading_ones(bits[half:])
    return all_low & all_high, Cat(Mux(all_high, low, high), all_high)


class RiceKeyDecoder(wiring.Component):
    """Decode the keys of rows and deal them to the lanes, one tile ahead.

    With mode 1, rows come class after class, and keys are Rice-coded gaps: ones, a zero, `rice` bits. With
    mode 2 rows have no keys and each its class, in 4 bits; with mode 0 they have no keys, and all are of
    class 0.

    Tiles use two banks in turn, beginning with bank 0 after reset and going on from pass to pass and from
    layer to layer. A tile's bank is overwritten once the next tile runs and its own last symbols have left
    the lanes.

    Timing
    ------
    Latency: `latency` clocks from `start` to the first key, if its word is there, and it is one of the first
        class; `tile_ready` follows the last write of a tile after 1 clock.
    Throughput: a key in 2 clocks; if its code has more than 16 bits, 2 more for each 16 of its ones, and 1
        more if the rest has. A row without key in 1 clock. 2 clocks more for each class.
    Stall: between tiles, while both banks are in use; while the next word is not there.

    Errors
    ------
    `error` is set for a clock if a key leaves its k bits (which is cut to them), if classes have fewer rows
    than there are (the others get no keys), or if the section ends early (it goes on with zeros). So any
    data come to an end.

    Parameters
    ----------
    machine : Machine
        Lanes and slots.

    Attributes
    ----------
    config : In(CONFIG_WRITE)
        Row classes, while `busy` is 0.
    start : In(1)
        Begin a pass; looked at while `busy` is 0.
    rows, tile_rows, row_groups, key_mode, keys_words : In
        From the descriptor, static while `busy`; at least 1 row.
    words : In(stream)
        The section; exactly `keys_words` words are taken each pass, none with mode 0.
    write : Out(key_write)
        To the lanes.
    busy : Out(1)
        Not all rows of the pass are written, or not all words taken.
    tile_ready : Out(1)
        The keys of the next tile are complete.
    bank : Out(1)
        Where they are.
    tile_take : In(1)
        The next tile begins.
    error : Out(1)
        The keys are corrupt.
    """

    #: Clocks from `start` to the first key.
    latency = 12

    def __init__(self, machine: Machine):
        self.machine = machine
        #: Clocks from the start of a tile until the symbols of the one before have left the lanes.
        self.settle = symbol_latency(machine)
        super().__init__(
            {
                "config": In(CONFIG_WRITE),
                "start": In(1),
                "rows": In(21),
                "tile_rows": In(11),
                "row_groups": In(4),
                "key_mode": In(2),
                "keys_words": In(24),
                "words": In(stream.Signature(64)),
                "write": Out(key_write(machine)),
                "busy": Out(1),
                "tile_ready": Out(1),
                "bank": Out(1),
                "tile_take": In(1),
                "error": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = RowWalk(self.machine)
        m.submodules.window = window = BitWindow()
        m.submodules.classes = classes = memory.Memory(
            shape=KEY_CLASS, depth=CLASSES, init=[], attrs={"ram_style": "distributed"}
        )
        class_write, looked_up = classes.write_port(), classes.read_port(domain="comb")
        wiring.connect(m, wiring.flipped(self.words), window.words)
        number = Signal(range(CLASSES + 1))
        named = Signal()
        m.d.comb += [
            class_write.addr.eq(self.config.address),
            class_write.data.eq(self.config.data),
            class_write.en.eq(self.config.key_class),
            walk.rows.eq(self.rows),
            walk.tile_rows.eq(self.tile_rows),
            walk.row_groups.eq(self.row_groups),
            window.count.eq(self.keys_words),
        ]
        # It is asked for some clocks after the start.
        m.d.sync += named.eq(self.key_mode == KEYS_CLASSES)

        # ---- a row: class, ones and zero, the bits behind them -----------------------------------
        # What is said about the rows of this class; rows of it that are left; whether none had a key.
        row_class = Signal(KEY_CLASS)
        fresh, last_of_class = Signal(), Signal()
        #: Whether rows are those of classes one after another; not any more if all classes are used up.
        by_class = Signal()
        used_up = Signal()
        # The ones that the view begins with, at most 15; whether a zero follows, and all `rice` bits behind
        # it; whether ones and zero were taken before, so that it begins with those bits.
        all_ones, ones, whole, counted = Signal(), Signal(4), Signal(), Signal()
        # Ones taken before, then all of them. 2**16 and more are equally wrong.
        run, total = Signal(17), Signal(17)
        behind, rice_and_zero = Signal(range(VIEW_BITS + 1)), Signal(range(VIEW_BITS + 1))
        emit = Signal()
        complete = Signal()
        banks = self._banks(m, complete)
        view_all_ones, view_ones = leading_ones(window.view)
        m.d.comb += [
            walk.step.eq(emit),
            complete.eq(emit & walk.last_of_tile),
            # What is taken: the ones, and the bits behind them, of which the zero is one.
            behind.eq(Mux(whole, Mux(counted, row_class.rice, rice_and_zero), ~counted)),
            window.amount.eq(Mux(named, CLASS_BITS, ones + behind)),
            total.eq(Mux(run[-1], run, run + ones + all_ones)),
        ]

        m.d.sync += rice_and_zero.eq(row_class.rice + 1)

        # Whether the state is the one in which a row may end, not decoded from its number: much hangs on it.
        coded_row, uncoded_row = Signal(), Signal()

        def go(state: str):
            m.next = state
            m.d.sync += [coded_row.eq(state == "bits"), uncoded_row.eq(state == "no key")]

        def after_row(state: str):
            go(state)
            with m.If(by_class & last_of_class):
                go("look up")
            with m.If(walk.last):
                go("finish")

        uncoded = Signal()
        m.d.comb += [
            uncoded.eq(uncoded_row & banks.free & (window.nibble_ready | ~named)),
            emit.eq((coded_row & window.ready & whole) | uncoded),
            window.take.eq((coded_row & window.ready) | (uncoded & named)),
        ]
        with m.FSM():
            with m.State("rest"):
                m.d.sync += [number.eq(0), by_class.eq(self.key_mode == KEYS_RICE)]
                m.d.comb += walk.start.eq(self.start)
                with m.If(self.start):
                    m.d.sync += self.busy.eq(1)
                    m.d.comb += window.start.eq(self.key_mode != KEYS_NONE)
                    go("look up")
            with m.State("look up"):
                m.d.sync += [row_class.eq(looked_up.data), number.eq(number + 1)]
                go("class")
                with m.If(by_class & number[-1]):
                    m.d.comb += used_up.eq(1)
                    m.d.sync += by_class.eq(0)
            with m.State("class"):
                m.d.sync += [fresh.eq(1), last_of_class.eq(row_class.rows == 1), run.eq(0)]
                m.d.sync += [ones.eq(0), counted.eq(1)]
                go("ones")
                with m.If(~by_class | (row_class.key_bits == 0)):
                    m.d.sync += [row_class.key_bits.eq(0), row_class.lift.eq(0)]
                    go("no key")
                with m.If(by_class & (row_class.rows == 0)):
                    go("look up")
            with m.State("no key"):
                with m.If(emit):
                    after_row("no key")
            with m.State("ones"):
                m.d.sync += [
                    all_ones.eq(view_all_ones),
                    ones.eq(view_ones),
                    counted.eq(0),
                    whole.eq((~window.view >> row_class.rice).any()),
                ]
                with m.If(banks.free & window.valid):
                    go("bits")
            # The whole code, if the view shows it; else what was counted, then the bits behind it.
            with m.State("bits"):
                with m.If(emit):
                    m.d.sync += run.eq(0)
                    after_row("ones")
                with m.Elif(window.ready):
                    m.d.sync += [run.eq(total), ones.eq(0), counted.eq(1), whole.eq(1)]
                    with m.If(all_ones):
                        go("ones")
            with m.State("finish"):
                m.d.comb += window.finish.eq(1)
                with m.If(~window.busy):
                    m.d.sync += self.busy.eq(0)
                    go("rest")
        with m.If(emit):
            m.d.sync += [
                fresh.eq(0),
                row_class.rows.eq(row_class.rows - 1),
                last_of_class.eq(row_class.rows == 2),
            ]

        # ---- what was found ---------------------------------------------------------------------
        emitted = Signal(5)
        place = [Signal(key_write(self.machine), reset_less=True, name=f"place{i}") for i in range(4)]
        bank = Signal(reset_less=True)
        seen, seen_run = Signal(VIEW_BITS, reset_less=True), Signal(17, reset_less=True)
        seen_ones, seen_counted = Signal(4, reset_less=True), Signal(reset_less=True)
        seen_first = Signal(reset_less=True)
        found = Signal(KEY_CLASS, reset_less=True)
        found_run, found_tail = Signal(17, reset_less=True), Signal(VIEW_BITS, reset_less=True)
        found_first = Signal(reset_less=True)
        m.d.sync += [
            emitted.eq(Cat(emit, emitted)),
            seen.eq(window.view),
            seen_ones.eq(ones),
            seen_counted.eq(counted),
            seen_run.eq(total),
            seen_first.eq(fresh),
            # Its class is still the same.
            found.eq(row_class),
            found_run.eq(seen_run),
            found_tail.eq((Mux(seen_counted, seen, seen << 1) << seen_ones)[:VIEW_BITS]),
            found_first.eq(seen_first),
            bank.eq(banks.filling),
            place[0].bank.eq(bank),
            place[0].row_group.eq(walk.row_group),
            place[0].lane.eq(walk.lane),
            place[0].slot.eq(walk.slot_group),
        ]

        # ---- its gap, or its class --------------------------------------------------------------
        gap = Signal(VIEW_BITS, reset_less=True)
        too_far, first, lift = (Signal(reset_less=True) for _ in range(3))
        coded = Signal()
        m.d.comb += [
            coded.eq(found.key_bits != 0),
            looked_up.addr.eq(Mux(named, found_tail[-CLASS_BITS:], number)),
        ]
        m.d.sync += [
            # gap = run << rice | the first `rice` bits behind it
            gap.eq(Mux(coded, Cat(found_tail[1:], found_run) >> ~found.rice, 0)),
            too_far.eq(coded & (found_run & ~(0xFFFF >> found.rice)).any()),
            first.eq(found_first),
            lift.eq(found.lift),
            place[1].eq(place[0]),
            place[1].bits.eq(found.key_bits),
            place[1].field.eq(Mux(named, looked_up.data.field, found.field)),
        ]

        # ---- its key ----------------------------------------------------------------------------
        change = Signal(signed(VIEW_BITS + 1), reset_less=True)
        changes_much, changes_first = Signal(reset_less=True), Signal(reset_less=True)
        # It may have too many bits, or be negative: then it is cut, and those behind it are as wrong.
        key, key_too_far = Signal(signed(VIEW_BITS + 2), reset_less=True), Signal(reset_less=True)
        own_bits = Signal(MAX_KEY_BITS)
        possible = Signal()
        write = Signal(key_write(self.machine), reset_less=True)
        enable, was_past = Signal(), Signal()
        m.d.comb += [
            own_bits.eq((1 << place[3].bits) - 1),
            possible.eq(~key_too_far & ((key.as_unsigned() & ~own_bits) == 0)),
            self.write.eq(write),
            self.write.enable.eq(enable),
        ]
        m.d.sync += [
            change.eq(gap - lift),
            changes_much.eq(too_far),
            changes_first.eq(first),
            key_too_far.eq(changes_much),
            place[2].eq(place[1]),
            place[3].eq(place[2]),
            write.eq(place[3]),
            write.key.eq(key & own_bits),
            enable.eq(emitted[-1]),
            was_past.eq(window.past),
            self.error.eq((emitted[-1] & ~possible) | used_up | (window.past & ~was_past)),
        ]
        # key = key + gap - lift
        with m.If(emitted[3]):
            m.d.sync += key.eq(Mux(changes_first, 0, key) + change)
        return m

    def _banks(self, m: Module, complete: Signal) -> TileBanks:
        """Keep account of the two banks of keys.

        A tile is in memory some clocks behind its last row; its bank is free when the next tile has run for
        as long as its own last symbols take to leave the lanes.
        """
        # The first tile that begins has none before it.
        running = Signal()
        leaving = Signal(self.settle)
        written = Signal(6)
        m.d.sync += [
            written.eq(Cat(complete, written)),
            leaving.eq(Cat(self.tile_take & running, leaving)),
            running.eq(running | self.tile_take),
        ]
        banks = tile_banks(m, complete=complete, written=written[-1], taken=self.tile_take, freed=leaving[-1])
        m.d.comb += [self.tile_ready.eq(banks.ready), self.bank.eq(banks.bank)]
        return banks
