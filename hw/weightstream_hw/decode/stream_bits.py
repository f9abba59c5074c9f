"""The stream bits of each slot: words that stay where they were put, and a pointer into them."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import WORD_BITS
from weightstream.spec.machine import RING_STAGES, Machine

from .normalise import AHEAD_BITS
from .search import choose
from .slot_delay import delayed, longer_trip, lut_memory, slot_delay

#: Pointer of a slot: bits of the first word that are used up; which of the two words is the first; whether
#: the offset is in the word before those.
POINTER = data.StructLayout({"offset": 4, "first": 1, "over": 1})


class StreamBits(wiring.Component):
    """Keep the next 15 bits of each slot's stream at hand, and ask for words when they are needed.

    A slot has two words. Bits are never moved in them: what is shifted out of the window moves an offset, and
    when that passes the end of a word, the word is replaced by one of the queue. The 15 bits behind the
    window go round with the slot; of them, those that were shifted out are replaced by what is at the offset.

    When the window's 15 bits are pushed back, they become those behind it, and the offset moves back by 15.
    It may fall into the word before, which is not there any more; then no word is taken until it is past
    that. Of what it points to, nothing is looked at that lies before the place where it was.

    Timing
    ------
    Stages are those of `Lane`.
    Latency: `shift`, `ahead` at stage 8 to `next_ahead` at stage 5 of the next round.
    Throughput: 1 slot a clock.
    Stall: none; there must be a word when `pop` comes.

    Attributes
    ----------
    slots : In(4) for stages 3 to 10
        The slot that is there.
    shift : In(4), ahead : In(15)
        Stage 8: bits shifted out, and what is left of the 15 bits.
    push, carry, clear : In(1)
        Stage 8: the window was pushed back; one bit more than `shift`; start of a stream.
    pop : Out(1)
        Stage 9: the slot takes a word.
    word : In(16)
        Stage 9: the word.
    over : Out(1)
        Stage 8: more than two words of bits are left.
    next_ahead : Out(15)
        Stage 5 of the next round.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        bits = (machine.slots - 1).bit_length()
        super().__init__(
            {
                "slots": In(data.ArrayLayout(bits, 11)),
                "shift": In(4),
                "ahead": In(AHEAD_BITS),
                "push": In(1),
                "carry": In(1),
                "clear": In(1),
                "pop": Out(1),
                "word": In(WORD_BITS),
                "over": Out(1),
                "next_ahead": Out(AHEAD_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        slot = [self.slots[i] for i in range(11)]
        longer = self.machine.slots - RING_STAGES

        # Stage 8. offset += shift; past the end of the first word, the other one is the first.
        pointer = Signal(POINTER)
        moved = Signal(5)
        used_up = moved[4]
        m.d.comb += [
            moved.eq(pointer.offset + self.shift + self.carry),
            self.over.eq(pointer.over),
        ]
        # offset - 15 is offset + 1 in the word before.
        after = Signal(POINTER)
        m.d.sync += [
            after.offset.eq(moved),
            after.first.eq(pointer.first ^ used_up ^ self.push),
            after.over.eq(~used_up & (pointer.over | self.push)),
            self.pop.eq(used_up & ~pointer.over & ~self.push),
        ]
        with m.If(self.clear):
            m.d.sync += [after.eq(0), self.pop.eq(0)]
        m.d.comb += pointer.eq(slot_delay(m, "pointer", after, slot[9], slot[7]))

        # Stage 9: the word that was used up is replaced.
        shift = Signal(4, reset_less=True)
        m.d.sync += shift.eq(self.shift)
        place = longer_trip(m, "place", Cat(after.offset, after.first, shift), slot, longer)
        # Stage 10: both words, the first one in front.
        offset, first, shift = place[:4], place[4], place[5:]
        words = []
        for name, which in (("first", first), ("second", ~first)):
            cells = lut_memory(m, f"{name}_words", WORD_BITS, 2 * self.machine.slots)
            put, get = cells.write_port(), cells.read_port(domain="comb")
            index = Signal(name=f"{name}_index", reset_less=True)
            m.d.sync += index.eq(which)
            m.d.comb += [
                put.addr.eq(Cat(~after.first, slot[9])),
                put.data.eq(self.word),
                put.en.eq(self.pop),
                get.addr.eq(Cat(index, (slot[10] + longer)[: len(slot[10])])),
            ]
            words.append(get.data)
        both = Cat(words[1], words[0])
        # 15 bits from the offset on: first by nibbles, then by bits.
        by_nibbles = Signal(AHEAD_BITS + 3, reset_less=True)
        fresh = Signal(AHEAD_BITS, reset_less=True)
        offset = delayed(m, offset, 1)
        m.d.sync += by_nibbles.eq(
            choose(offset[2:], [both[32 - 4 * i - len(by_nibbles) : 32 - 4 * i] for i in range(4)])
        )
        offset = delayed(m, offset, 1)
        m.d.sync += fresh.eq(choose(offset[:2], [by_nibbles[3 - i : 3 - i + AHEAD_BITS] for i in range(4)]))
        # Stage 12: of the 15 bits, those that were shifted out are replaced.
        shift = delayed(m, shift, 3)
        if longer:
            kept = slot_delay(m, "kept", self.ahead, slot[8], slot[3])
        else:
            # So short a delay takes fewer LUTs in registers.
            kept = delayed(m, self.ahead, 4)
        next_ahead = Signal(AHEAD_BITS, reset_less=True)
        m.d.sync += next_ahead.eq(Cat(Mux(shift > i, fresh[i], kept[i]) for i in range(AHEAD_BITS)))
        m.d.comb += self.next_ahead.eq(next_ahead)
        return m
