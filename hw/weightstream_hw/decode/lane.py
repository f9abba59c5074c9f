"""The decoder of one lane: slots that take turns, each with a stream of its own."""

# Ref: Basu and Varshney, "Universal and Succinct Source Coding of Deep Neural Networks", 2022
# Id: arXiv:1804.02800
# Differs: sorted order-preserving row codewords instead of a tree of counts; see docs/format.md

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import (
    FREQUENCY_BITS,
    MAX_CONTEXT_BITS,
    MAX_KEY_BITS,
    MAX_ROW_BITS,
    RANGE_BITS,
    SYMBOL_BITS,
    WINDOW_BITS,
)
from weightstream.spec.machine import RING_STAGES, Machine

from ..control.config_write import CONFIG_WRITE
from .contexts import TABLE_BITS
from .neighbours import Neighbours
from .normalise import Normaliser
from .ring import LANE_CONTROL, SYMBOL_STAGE
from .search import THRESHOLDS, SearchStep, choose
from .slot_delay import delayed, longer_trip, lut_memory
from .stream_bits import StreamBits
from .word_queue import WORD_WRITE, WordQueue

#: The key of a row: its bits, how many, and the field of the row's class in contexts.
KEY = data.StructLayout({"key": MAX_KEY_BITS, "bits": 4, "field": MAX_ROW_BITS})
#: A key for the slot group `slot` of this lane, in one of two banks.
KEY_WRITE = data.StructLayout({"enable": 1, "bank": 1, "slot": 4, **dict(KEY.members.items())})


class Lane(wiring.Component):
    """Decode a symbol a clock, of `slots` streams in turn.

    A symbol is found by two radix-4 steps: in which quarter of the alphabet, then which one. Range and window
    go round a ring; each slot is at a stage of its own. At stage 0 both are in registers, and a slot is there
    again after `slots` clocks::

        stage 0, 1   first step of the search        window - lo, window - hi, quarter
              2      thresholds of the quarter
              3, 4   second step
              5      symbol, context; R = hi - lo, V = V - lo; a row starts: V = key
              6, 7   R and V are shifted, by nibbles, by bits; number of the table, its thresholds
              8      the stream's pointer follows; with 16 slots, 8 more stages
              9      a word is taken
             10..12  bits of the stream for the next round's shift

    What a slot does in a round, it is told at each stage by `RingControl`. A slot without a symbol keeps its
    state: its search is at rest (see `SearchStep`). A row start replaces the window by the key, and shifts by
    15 - k. The start of a stream resets its pointer and then takes two words, shifting 15 bits each time.

    Timing
    ------
    Latency: `symbol_latency(machine)` from a round at `RingControl` to its symbols.
    Throughput: 1 symbol a clock.
    Stall: none; the queue must be `ok` when a round begins.

    Errors: `corrupt` is set when a row starts behind one that ends as no encoder ends it: with a window of
    more than 15 bits, or with more than two words of bits left.

    Parameters
    ----------
    machine : Machine
        What is built.
    dsp : str
        One of `weightstream_hw.multipliers.MULTIPLIERS`.

    Attributes
    ----------
    control : In(LANE_CONTROL)
        From `RingControl`.
    edge : In(1)
        This lane has a row in the slot group at which the tile ends.
    first_part : In(1)
        This lane holds first parts of rows: those that have keys. Constant during a layer.
    words : In(WORD_WRITE)
        Stream words, and the markers behind segments.
    key : In(KEY_WRITE)
        Keys of the next tile.
    config : In(CONFIG_WRITE)
        While no symbols are decoded. `coarse`: cum[4], cum[8], cum[12] of table `address`. `fine`:
        cum[4 q + 1 .. 4 q + 3] of table ``address // 4``, q = ``address % 4``. `neighbour`: see `Neighbours`.
    context : Out(12), table : In(6)
        To and from `ContextMap`.
    symbol : Out(4)
        The symbol.
    taken, ok, ready, at_end
        See `WordQueue`.
    corrupt : Out(1)
        A stream is corrupt; stays set.

    Golden: weightstream.golden.decode.lane
    """

    def __init__(self, machine: Machine, dsp: str = "generic"):
        self.machine = machine
        self._steps = SearchStep(dsp), SearchStep(dsp)
        self._queue = WordQueue(machine)
        super().__init__(
            {
                "control": In(LANE_CONTROL),
                "edge": In(1),
                "first_part": In(1),
                "words": In(WORD_WRITE),
                "key": In(KEY_WRITE),
                "config": In(CONFIG_WRITE),
                "context": Out(MAX_CONTEXT_BITS),
                "table": In(TABLE_BITS),
                "symbol": Out(SYMBOL_BITS),
                "taken": Out(len(self._queue.taken)),
                "ok": Out(1),
                "ready": Out(1),
                "at_end": Out(1),
                "corrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        longer = self.machine.slots - RING_STAGES
        slot_bits = (self.machine.slots - 1).bit_length()
        m.submodules.coarse, m.submodules.fine = coarse, fine = self._steps
        m.submodules.queue = queue = self._queue
        m.submodules.normaliser = normaliser = Normaliser()
        m.submodules.bits = bits = StreamBits(self.machine)
        m.submodules.neighbours = neighbours = Neighbours(self.machine)

        # What comes from afar is registered here.
        control = Signal(LANE_CONTROL)
        config = Signal(CONFIG_WRITE)
        edge = Signal()
        m.d.sync += [control.eq(self.control), config.eq(self.config), edge.eq(self.edge)]
        slot = {3: control.slot[:slot_bits]}
        for stage in range(4, 11):
            slot[stage] = delayed(m, slot[stage - 1], 1)
        for stage, value in slot.items():
            m.d.comb += [bits.slots[stage].eq(value), neighbours.slots[stage].eq(value)]

        # What each slot does. The slot at stage i is at rest, it decodes no symbol:
        rest = [Signal(init=1, name=f"rest_{i}") for i in range(SYMBOL_STAGE + 1)]
        m.d.sync += rest[0].eq(~(control.symbol | (control.symbol_edge & edge)))
        m.d.sync += [later.eq(now) for now, later in zip(rest[:-1], rest[1:], strict=True)]
        valid = control.start | (control.start_edge & edge)
        start, push, carry, clear, keyed = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            start.eq(valid),
            push.eq(valid & control.push),
            carry.eq(valid & control.carry),
            clear.eq(control.clear),
            keyed.eq(control.keyed & self.first_part),
        ]

        # Stages 0 to 4: the search.
        coming_range, v = Signal(RANGE_BITS), Signal(RANGE_BITS)
        r = Cat(delayed(m, coming_range[:-1], 1), Const(1, 1))
        thresholds_coarse, thresholds_fine = self._tables(m, config, coarse.quarter, slot)
        m.d.comb += [
            coarse.thresholds.eq(thresholds_coarse),
            coarse.range.eq(coming_range),
            coarse.window.eq(v),
            coarse.rest.eq(rest[0]),
        ]
        v_1 = delayed(m, v, 1)
        beyond = Signal(RANGE_BITS, reset_less=True)
        m.d.sync += beyond.eq(v - r)
        # V - lo and V - hi of the quarter, then of the symbol.
        above, below = self._bounds(m, coarse, v_1, beyond)
        quarter = delayed(m, coarse.quarter, 1)
        m.d.comb += [
            fine.thresholds.eq(thresholds_fine),
            fine.range.eq(Cat(delayed(m, r[:-1], 2), Const(1, 1))),
            fine.window.eq(delayed(m, v_1, 2)),
            fine.rest.eq(rest[3]),
        ]
        above, below = self._bounds(m, fine, delayed(m, above, 2), delayed(m, below, 2))
        m.d.comb += self.symbol.eq(Cat(delayed(m, fine.quarter, 1), delayed(m, quarter, 3)))

        # Stage 5: symbol and context.
        key = self._keys(m, control)
        m.d.comb += [
            neighbours.config.eq(config),
            neighbours.control.eq(control),
            neighbours.decoded.eq(~rest[5]),
            neighbours.symbol.eq(self.symbol),
            neighbours.row_field.eq(key.field),
            self.context.eq(neighbours.context),
        ]

        # Stage 5 to 8. R = hi - lo; V = V - lo, or the key of a row; the window may go back to the stream.
        middle_key_bits = Signal(4, reset_less=True)
        middle_start = delayed(m, start, 1, control=True)
        new_range = Signal(RANGE_BITS, reset_less=True)
        new_window = Signal(RANGE_BITS, reset_less=True)
        new_ahead = Signal(WINDOW_BITS, reset_less=True)
        m.d.sync += [
            new_range.eq(above - below),
            new_window.eq(Mux(start, Mux(keyed, key.key, 0), above)),
            new_ahead.eq(Mux(push, above, bits.next_ahead)),
            middle_key_bits.eq(Mux(keyed, key.bits, 0)),
        ]
        m.d.comb += [
            normaliser.range.eq(new_range),
            normaliser.window.eq(new_window),
            normaliser.ahead.eq(new_ahead),
            normaliser.start.eq(middle_start),
            normaliser.key_bits.eq(middle_key_bits),
        ]
        coming = longer_trip(m, "range", normaliser.next_range, slot, longer, registered=False)
        m.d.comb += [
            coming_range.eq(Cat(coming, Const(1, 1))),
            v.eq(longer_trip(m, "window", normaliser.next_window, slot, longer)),
        ]

        # Stages 8 and 9: the stream.
        m.d.comb += [
            bits.shift.eq(normaliser.shift),
            bits.ahead.eq(normaliser.next_ahead),
            bits.push.eq(delayed(m, push, 3, control=True)),
            bits.carry.eq(delayed(m, carry, 3, control=True)),
            # After a reset there may be anything in the ring.
            bits.clear.eq(delayed(m, clear, 3, control=True) | queue.fresh),
            bits.word.eq(queue.word),
            queue.words.eq(self.words),
            queue.pop.eq(bits.pop & control.last_clone),
            queue.prime.eq(control.prime),
            self.taken.eq(queue.taken),
            self.ok.eq(queue.ok),
            self.ready.eq(queue.ready),
            self.at_end.eq(queue.at_end),
        ]
        with m.If((push & above[-1]) | (bits.push & bits.over)):
            m.d.sync += self.corrupt.eq(1)
        return m

    def _bounds(self, m, step, at_zero, at_end):
        """Choose V - lo and V - hi among the differences and those of the interval that was searched."""
        below = [step.differences[i] for i in range(3)]
        lower = Signal(RANGE_BITS, reset_less=True)
        upper = Signal(RANGE_BITS, reset_less=True)
        m.d.sync += [
            lower.eq(choose(step.quarter, [at_zero, *below])),
            upper.eq(choose(step.quarter, [*below, at_end])),
        ]
        return lower, upper

    def _tables(self, m, config, quarter, slot):
        """Return the thresholds of quarters, at stage -1, and of symbols within the quarter, at stage 2."""
        # Quarters of all tables are behind the others. The way from the context map to them is long; so it is
        # the port for symbols within the quarter that writes, too. While it does all slots are at rest, where
        # the quarter is 3: its bits need only be cleared.
        rows = 4 << TABLE_BITS
        longer = self.machine.slots - RING_STAGES
        table = longer_trip(m, "table_number", self.table, slot, longer)
        thresholds = Signal(THRESHOLDS, name="thresholds_coarse"), Signal(THRESHOLDS, name="thresholds_fine")
        writes = config.coarse | config.fine
        write = delayed(m, writes, 1, control=True)
        values = delayed(m, config.data[: 3 * FREQUENCY_BITS], 1)
        cleared = delayed(m, Mux(writes, ~config.address[:2], 0)[:2], 1, control=True)
        table_fine = delayed(m, Mux(writes, config.address[2:8], delayed(m, table, 2)), 1)
        quarters = delayed(m, config.coarse, 1, control=True)
        shared = Signal(range(2 * rows))
        m.d.comb += shared.eq(Cat(quarter & ~cleared, table_fine, quarters))
        for i in range(3):
            cells = memory.Memory(shape=FREQUENCY_BITS, depth=2 * rows, init=[], attrs={"ram_style": "block"})
            m.submodules[f"thresholds_{i}"] = cells
            put, get_coarse, get_fine = cells.write_port(), cells.read_port(), cells.read_port()
            m.d.comb += [
                put.addr.eq(shared),
                put.data.eq(values.word_select(i, FREQUENCY_BITS)),
                put.en.eq(write),
                get_coarse.addr.eq(rows | table),
                get_fine.addr.eq(shared),
                thresholds[0][i].eq(get_coarse.data),
                thresholds[1][i].eq(get_fine.data),
            ]
        return thresholds

    def _keys(self, m, control):
        """Return the key of the slot at stage 5."""
        write = Signal(KEY_WRITE)
        m.d.sync += write.eq(self.key)
        slot_bits = (self.machine.slots - 1).bit_length()
        cells = lut_memory(m, "keys", KEY, 2 * self.machine.slots)
        put, get = cells.write_port(), cells.read_port(domain="comb")
        m.d.comb += [
            put.addr.eq(Cat(write.slot[:slot_bits], write.bank)),
            put.data.key.eq(write.key),
            put.data.bits.eq(write.bits),
            put.data.field.eq(write.field),
            put.en.eq(write.enable),
            get.addr.eq(Cat(control.key_slot[:slot_bits], control.key_bank)),
        ]
        return get.data
