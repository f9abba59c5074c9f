"""What the lanes are told: rounds, spread over the stages of the decoder's ring."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import MAX_CONTEXT_BITS
from weightstream.spec.machine import Machine

from ..compute.control import MAC_CONTROL
from ..control.round import ROUND, RoundKind, symbol_latency

#: Stage of a slot's trip round the ring at which its symbol is known.
SYMBOL_STAGE = 5

#: What all lanes are told. A field is registered in the lane, and used for the slot that is then at the stage
#: given here.
LANE_CONTROL = data.StructLayout(
    {
        # Stage -1. The slot decodes a symbol: in all lanes; in lanes at whose edge the tile ends.
        "symbol": 1,
        "symbol_edge": 1,
        # Stage 3: the slot.
        "slot": 4,
        # Stage 4. The slot starts a row, or takes a word: in all lanes; in lanes at the edge.
        "start": 1,
        "start_edge": 1,
        # The window is pushed back; the stream moves on by a bit more than is shifted.
        "push": 1,
        "carry": 1,
        # The stream's pointer is reset.
        "clear": 1,
        # It is the first part of a row, in lanes that hold first parts.
        "keyed": 1,
        # The second neighbour of the next position: whether there is one, and where.
        "back": 1,
        "back_column": 4,
        # Stage 5. Where the slot's key is.
        "key_bank": 1,
        "key_slot": 4,
        # The next position: class of its column, whether a symbol stands before it, whether that one is
        # the second neighbour, too.
        "next_field": MAX_CONTEXT_BITS,
        "previous": 1,
        "adjacent": 1,
        # The symbol that is known now is kept for later ones.
        "keep": 1,
        "column": 4,
        # Stage 9. The word that the slot takes is not for its clones any more.
        "last_clone": 1,
        # The queue moves on to the next segment.
        "prime": 1,
    }
)


class RingControl(wiring.Component):
    """Tell each stage of the ring what the slot that is there does.

    A round is taken up by one slot after another, and goes along with each: what is used at a later stage is
    told later.

    Timing
    ------
    Latency: from slot 0 of a round to its symbol at the lanes, and to `mac`: `symbol_latency(machine)`.
    Throughput: a round every `slots` clocks.
    Stall: none; a round in which nothing happens is of kind IDLE.

    Parameters
    ----------
    machine : Machine
        What is built.

    Attributes
    ----------
    round : In(ROUND)
        The round, held during its `slots` clocks.
    slot : In(log2(slots))
        Counts all the time; 0 in the first clock of a round.
    edge : In(lanes)
        Lanes that have a row in slot group ``round.full``; held with the round.
    distance : In(5)
        How far back the second neighbour stands. This and the next two are constant during a layer.
    clone_log2, split_log2 : In(3)
        log2 of r, clones in slots, and of s, parts in slots.
    lanes : Out(LANE_CONTROL)
        For all lanes.
    lane_edge : Out(lanes)
        `edge`, delayed as `lanes` is.
    mac : Out(MAC_CONTROL)
        For the multiply-accumulate units, in the clock in which the slot's symbol leaves the lanes.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "round": In(ROUND),
                "slot": In((machine.slots - 1).bit_length()),
                "edge": In(machine.lanes),
                "distance": In(5),
                "clone_log2": In(3),
                "split_log2": In(3),
                "lanes": Out(LANE_CONTROL),
                "lane_edge": Out(machine.lanes),
                "mac": Out(MAC_CONTROL),
            }
        )

    def elaborate(self, platform):
        m = Module()
        slots = self.machine.slots
        latency = symbol_latency(self.machine)

        # A round that is held for `slots` clocks is delayed by a register that takes it over once a round.
        # Such registers follow one another, at most `slots` clocks apart.
        rounds = [(0, self.round)]

        def later(clocks):
            """Return the round, so many clocks later."""
            while rounds[-1][0] < clocks:
                before, value = rounds[-1]
                after = min(before + slots, clocks)
                held = Signal(ROUND, name=f"round_{after}")
                with m.If(self.slot == (after - 1) % slots):
                    m.d.sync += held.eq(value)
                rounds.append((after, held))
            return rounds[-1][1]

        def slot_later(clocks):
            return (self.slot - clocks)[: len(self.slot)]

        def group(slot):
            """Return the slot group; part and clone are the bits below it."""
            return slot >> (self.clone_log2 + self.split_log2)[:3]

        def is_kind(round_, *kinds):
            result = round_.kind == kinds[0]
            for kind in kinds[1:]:
                result |= round_.kind == kind
            return result

        def of_stage(stage):
            """Return round and slot in the clock before the one in which `lanes` is told about a stage."""
            # One register here, one in the lane.
            clocks = latency - SYMBOL_STAGE + stage - 2
            return later(clocks), slot_later(clocks)

        lanes = self.lanes
        now, slot = of_stage(-1)
        symbol = is_kind(now, RoundKind.SYMBOL)
        m.d.sync += [
            lanes.symbol.eq(symbol & (group(slot) < now.full)),
            lanes.symbol_edge.eq(symbol & (group(slot) == now.full)),
        ]
        # It changes only where a tile begins, so that the same is right at stage 4.
        self._delay_edge(m, latency - SYMBOL_STAGE - 2)

        m.d.sync += lanes.slot.eq(slot_later(latency - SYMBOL_STAGE + 3 - 2))

        now, slot = of_stage(4)
        start = is_kind(now, RoundKind.START, RoundKind.FILL)
        push = is_kind(now, RoundKind.START) & ~now.first
        part = (slot >> self.clone_log2)[: len(slot)] & ((1 << self.split_log2) - 1)[: len(slot)]
        m.d.sync += [
            lanes.start.eq(start & (group(slot) < now.full)),
            lanes.start_edge.eq(start & (group(slot) == now.full)),
            lanes.push.eq(push),
            lanes.carry.eq(push | is_kind(now, RoundKind.FILL)),
            lanes.clear.eq(is_kind(now, RoundKind.CLEAR)),
            lanes.keyed.eq(is_kind(now, RoundKind.START) & (part == 0)),
            lanes.back.eq(now.next_back & (self.distance != 1)),
            lanes.back_column.eq(now.next_column - self.distance),
        ]

        now, slot = of_stage(5)
        m.d.sync += [
            lanes.key_bank.eq(now.bank),
            lanes.key_slot.eq(group(slot)),
            lanes.next_field.eq(now.next_field),
            lanes.previous.eq(now.next_previous),
            lanes.adjacent.eq(now.next_previous & (self.distance == 1)),
            lanes.keep.eq(is_kind(now, RoundKind.SYMBOL)),
            lanes.column.eq(now.column),
        ]

        now, slot = later(latency - 1), slot_later(latency - 1)
        m.d.sync += [
            self.mac.symbol.eq(is_kind(now, RoundKind.SYMBOL)),
            self.mac.capture.eq(now.capture),
            self.mac.slot.eq(slot),
            self.mac.palette.eq(now.palette),
            self.mac.parity.eq(now.parity),
        ]

        now, slot = of_stage(9)
        clone = Cat(bit | (self.clone_log2 <= i) for i, bit in enumerate(slot))
        m.d.sync += [
            lanes.last_clone.eq(clone.all()),
            # Once, when the words of the round before are taken.
            lanes.prime.eq(is_kind(now, RoundKind.CLEAR) & now.prime & (slot == 0)),
        ]
        return m

    def _delay_edge(self, m, clocks):
        slots = self.machine.slots
        value, delay = self.edge, 0
        while delay < clocks:
            delay = min(delay + slots, clocks)
            held = Signal(len(self.edge), name=f"edge_{delay}")
            with m.If(self.slot == (delay - 1) % slots):
                m.d.sync += held.eq(value)
            value = held
        m.d.comb += self.lane_edge.eq(value)
