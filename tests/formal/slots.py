"""Proofs about the decoder's ring: what is told about a slot is told when that slot is there."""

from amaranth.hdl import Const, Signal
from harness import Harness, implies

from weightstream.spec.machine import Machine
from weightstream_hw.control.round import ROUND, RoundKind, symbol_latency
from weightstream_hw.decode.ring import SYMBOL_STAGE, RingControl


class Ring(Harness):
    """What lanes and multipliers are told in a clock is of the slot that is there, and of its round."""

    SLOTS = 8

    def __init__(self):
        self.machine = Machine(lanes=2, slots=self.SLOTS)
        super().__init__(RingControl(self.machine))
        self.choose = self.free(1, "choose")

    def rules(self, m):
        """Watch any round, from its first clock until its last slot has left the ring."""
        dut, slots = self.dut, self.SLOTS
        latency = symbol_latency(self.machine)
        self.assume(
            m,
            implies(self.started, dut.slot == (self.past(dut.slot) + 1)[:3]),
            implies(
                self.started & (dut.slot != 0),
                dut.round.as_value() == self.past(dut.round),
                dut.edge == self.past(dut.edge),
            ),
            dut.clone_log2 + dut.split_log2 <= (slots - 1).bit_length(),
        )

        # Clocks since the watched round was presented first; its slot 0 had its turn then.
        active, age = Signal(), Signal(6)
        watched, edge = Signal(ROUND), Signal(len(dut.edge))
        last = self._stage(9) + slots
        with m.If(~active & self.choose & (dut.slot == 0)):
            m.d.sync += [active.eq(1), age.eq(1), watched.eq(dut.round), edge.eq(dut.edge)]
        with m.Elif(active):
            m.d.sync += [age.eq(age + 1), active.eq(age != last)]

        def there(clocks):
            """Return whether slots of the round are where they are so many clocks behind its beginning."""
            return active & (age >= clocks) & (age < clocks + slots)

        def slot(clocks):
            return (dut.slot - clocks)[:3]

        clone, split = self.past(dut.clone_log2), self.past(dut.split_log2)
        distance = self.past(dut.distance)

        def group(clocks):
            return slot(clocks) >> (clone + split)

        def part(clocks):
            return (slot(clocks) >> clone) & ((Const(1, 4) << split) - 1)[:3]

        lanes, mac = dut.lanes, dut.mac
        # Always, whatever the rounds are.
        self.claim(
            m,
            implies(self.started, mac.slot == slot(latency)),
            implies(self.started, lanes.slot == slot(self._stage(3))),
        )
        kind = watched.kind
        is_symbol, is_start = kind == RoundKind.SYMBOL, kind == RoundKind.START
        self.claim(
            m,
            implies(
                there(latency),
                mac.symbol == is_symbol,
                mac.capture == watched.capture,
                mac.palette == watched.palette,
                mac.parity == watched.parity,
            ),
        )
        at = self._stage(-1)
        self.claim(
            m,
            implies(
                there(at),
                lanes.symbol == (is_symbol & (group(at) < watched.full)),
                lanes.symbol_edge == (is_symbol & (group(at) == watched.full)),
                dut.lane_edge == edge,
            ),
        )
        at = self._stage(4)
        starts = is_start | (kind == RoundKind.FILL)
        self.claim(
            m,
            implies(
                there(at),
                lanes.start == (starts & (group(at) < watched.full)),
                lanes.start_edge == (starts & (group(at) == watched.full)),
                lanes.push == (is_start & ~watched.first),
                lanes.carry == (starts & ~(is_start & watched.first)),
                lanes.clear == (kind == RoundKind.CLEAR),
                lanes.keyed == (is_start & (part(at) == 0)),
                lanes.back == (watched.next_back & (distance != 1)),
                lanes.back_column == (watched.next_column - distance)[:4],
            ),
        )
        at = self._stage(5)
        self.claim(
            m,
            implies(
                there(at),
                lanes.key_bank == watched.bank,
                lanes.key_slot == group(at),
                lanes.next_field == watched.next_field,
                lanes.previous == watched.next_previous,
                lanes.adjacent == (watched.next_previous & (distance == 1)),
                lanes.keep == is_symbol,
                lanes.column == watched.column,
            ),
        )
        at = self._stage(9)
        clones = ((Const(1, 4) << clone) - 1)[:3]
        self.claim(
            m,
            implies(
                there(at),
                lanes.last_clone == ((slot(at) & clones) == clones),
                lanes.prime == ((kind == RoundKind.CLEAR) & watched.prime & (slot(at) == 0)),
            ),
        )
        self.reach(m, there(latency) & mac.symbol & mac.capture & (mac.slot == 3))
        self.reach(m, there(at) & lanes.prime)

        # What leads from one clock to the next: a register takes the round over once in `slots` clocks.
        self.claim(
            m,
            implies(active, dut.slot == age[:3], age >= 1, age <= last),
            implies(there(0), dut.round == watched, dut.edge == edge),
        )
        uses = [self._stage(-1), self._stage(4), self._stage(5), latency, self._stage(9)]
        for age_then in self._registers([clocks - 1 for clocks in uses]):
            held = self.inner(f"round_{age_then}")
            self.claim(m, implies(there(age_then), held == watched.as_value()))
        for age_then in self._registers([self._stage(-1)]):
            self.claim(m, implies(there(age_then), self.inner(f"edge_{age_then}") == edge))

    def _stage(self, stage):
        """Return the clocks until lanes are told about a stage: one before the slot is there."""
        return symbol_latency(self.machine) - SYMBOL_STAGE + stage - 1

    def _registers(self, wanted):
        """Return the delays of registers, none more than `slots` behind the one before."""
        delays = [0]
        for clocks in wanted:
            while delays[-1] < clocks:
                delays.append(min(delays[-1] + self.SLOTS, clocks))
        return delays[1:]
