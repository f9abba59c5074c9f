"""Proofs about stream words: how they are asked for, and the queues in which they wait."""

from amaranth.hdl import Mux, Signal, Value
from amaranth.lib import data
from bursts import legal_burst
from harness import Harness, Watched, implies

from weightstream.spec.machine import Machine
from weightstream_hw.decode.streams import StreamFetch
from weightstream_hw.decode.word_queue import WordQueue
from weightstream_hw.decode.words import burst_beats, words_a_beat


class Queue(Harness):
    """A word queue hands out what arrived: all, once, in order; a marker stays until `prime`.

    The writer leaves one place free, and says of each word whether the marker comes next. Nothing is popped
    before the first `prime`, nor in the clock behind any, and neither `pop` nor `prime` go on to what has not
    arrived.
    """

    def __init__(self):
        self.machine = Machine(lanes=2, queue_words=256)
        super().__init__(WordQueue(self.machine))
        self.choose = self.free(1, "choose")

    def rules(self, m):
        """Watch any word, from its arrival until the next one is shown."""
        dut = self.dut
        entry = data.StructLayout({"data": 16, "last": 1, "final": 1})
        latch = data.View(entry, self.read_data(0, "cells"))
        arriving = self.past(dut.words.valid)
        arrived = self.past(dut.words)

        # Words that arrived and were not shown yet; all but one that arrives are in memory.
        level, stored, leaves = Signal(9), Signal(9), Signal()
        fresh = Signal(init=1)
        m.d.sync += [level.eq(level + dut.words.valid - leaves), fresh.eq(fresh & ~leaves)]
        m.d.comb += [stored.eq(level - arriving), leaves.eq(dut.prime | (dut.pop & ~latch.last))]
        self.assume(
            m,
            implies(dut.words.valid, level < self.machine.queue_words - 1),
            implies(dut.prime, stored != 0),
            implies(dut.pop, ~fresh, latch.last | (stored != 0), ~self.past(dut.prime)),
        )

        enters = Signal(entry)
        m.d.comb += [
            enters.data.eq(dut.words.data),
            enters.last.eq(dut.words.last),
            enters.final.eq(dut.words.final),
        ]
        watched = Watched(m, self.choose, dut.words.valid, leaves, level, enters)
        shown, seen = Signal(), Signal(entry)
        with m.If(leaves):
            m.d.sync += [shown.eq(watched.next), seen.eq(watched.entry)]
        waits = self.past(shown & seen.last & ~dut.prime)
        self.claim(
            m,
            implies(shown, dut.word == seen.data, latch.last == seen.last),
            implies(self.started & self.past(shown), dut.at_end == self.past(seen.last)),
            implies(waits, shown, dut.taken == self.past(dut.taken), dut.word == self.past(dut.word)),
            implies(self.started, dut.taken == (self.past(dut.taken) + self.past(leaves))[:8]),
            dut.fresh == fresh,
            level < self.machine.queue_words,
        )
        self._promises(m, stored, leaves, latch, fresh, arriving & data.View(dut.words.shape(), arrived).last)
        self._markers(m, stored, latch, fresh, watched)
        self.reach(m, waits & seen.last & dut.pop & (level == 2))
        self.reach(m, watched.next & dut.prime & latch.last & ~fresh & (watched.entry[16] == 0))

        # What leads from one clock to the next: memory holds what came.
        read, written = self.inner("read"), self.inner("written")
        place = Signal(8)
        m.d.comb += place.eq(read + watched.ahead)
        word = Value.cast(self.word(m, place, "cells"))
        in_memory = watched.ahead < stored
        self.claim(
            m,
            Value.cast(self.inner("arriving"))[0] == arriving,
            implies(arriving, Value.cast(self.inner("arriving")) == arrived),
            written == (read + stored)[:9],
            stored <= level,
            implies(watched.active, watched.ahead < level),
            implies(watched.active & in_memory, word == watched.entry),
            implies(watched.active & ~in_memory, arriving, arrived[1:] == watched.entry),
            implies(self.started, dut.at_end == self.past(latch.last | fresh)),
            implies(fresh, ~shown),
        )

    def _markers(self, m, stored, latch, fresh, watched):
        """Claim that what the queue knows about the latch is true, because what words say is."""
        dut = self.dut
        # Of the newest word: the marker comes next.
        newest = Signal(data.StructLayout({"known": 1, "final": 1}))
        with m.If(dut.words.valid):
            m.d.sync += [newest.known.eq(~dut.words.last), newest.final.eq(dut.words.final)]
        self.assume(m, implies(dut.words.valid & newest.known, dut.words.last == newest.final))

        def says(before, entry):
            return implies(~before.last, before.final == entry.last)

        entry = latch.shape()
        read, written = self.inner("read"), self.inner("written")
        arriving = data.View(dut.words.shape(), self.inner("arriving"))

        def at(place, name):
            address = Signal(8, name=f"{name}_place")
            m.d.comb += address.eq(place)
            return data.View(entry, Value.cast(self.word(m, address, "cells")))

        following, newest_stored = at(read, "following"), at(written - 1, "newest")
        before = at(read + watched.ahead - 1, "before")
        seen = data.View(entry, watched.entry)
        first = fresh & (watched.ahead == 0)
        self.claim(
            m,
            implies(~fresh, latch == at(read - 1, "latched")),
            implies(arriving.valid, newest.known == ~arriving.last, newest.final == arriving.final),
            implies(
                ~arriving.valid & ~(fresh & (stored == 0)),
                newest.known == ~newest_stored.last,
                newest.final == newest_stored.final,
            ),
            implies(~arriving.valid & fresh & (stored == 0), ~newest.known),
            implies(arriving.valid & ~(fresh & (stored == 0)), says(newest_stored, arriving)),
            implies(watched.active & (watched.ahead < stored) & ~first, says(before, seen)),
        )
        # It was claimed of any word in memory, so it is true of the next one.
        follows = implies((stored != 0) & ~fresh, says(latch, following))
        self.assume(m, implies(self.started, self.past(follows)))
        self.claim(m, implies(~fresh & ~self.past(dut.prime), self.inner("at_marker") == latch.last))

    def _promises(self, m, stored, leaves, latch, fresh, marker_arrives):
        """Claim that `ok` and `ready` mean what they say, two clocks late at most."""
        dut, slots = self.dut, self.machine.slots
        # Words up to the newest marker in memory; 0: there is none.
        newest = Signal(9)
        with m.If(marker_arrives):
            m.d.sync += newest.eq(stored + 1 - leaves)
        with m.Elif(leaves & (newest != 0)):
            m.d.sync += newest.eq(newest - 1)
        enough = self.past((stored > 6 * slots) | (newest != 0))
        at_marker = self.past(latch.last | fresh)
        before = self.past(at_marker)
        primed = self.past(self.past(dut.prime))
        self.claim(
            m,
            implies(dut.ok, enough | at_marker | before),
            implies(dut.ready & ~primed, enough, before | ~self.past(self.started)),
            implies(self.past((stored >= 8 * slots) | (newest != 0)), dut.ok),
            implies(self.past((stored >= 8 * slots) | (newest != 0)) & before, dut.ready),
        )
        self.reach(m, dut.ready & ~dut.fresh)

        behind, complete = self.inner("behind"), self.inner("complete")
        place = Signal(8)
        m.d.comb += place.eq(behind - 1)
        marker = self.word(m, place, "cells")
        self.claim(
            m,
            newest <= stored,
            implies(newest != 0, complete, behind == (dut.taken + newest)[:8], marker.last),
            implies(complete & (newest == 0), behind == dut.taken, latch.last),
            # It is reached in one clock only.
            implies(self.past(complete & (newest == 0) & ~marker_arrives), ~complete),
        )


class Fetch(Harness):
    """Bursts of stream words keep the rules of AXI, whatever the lane table says, and wait to be taken."""

    def __init__(self, bus_bits):
        self.machine = Machine(lanes=2, bus_bits=bus_bits, queue_words=256)
        super().__init__(StreamFetch(self.machine))

    def rules(self, m):
        """Look at each burst, and at what the distributor is told about it."""
        dut, machine, request = self.dut, self.machine, self.dut.request
        longest, count = burst_beats(machine), words_a_beat(machine)
        self.assume(
            m,
            self.held_stream(dut.command),
            self.held_stream(dut.table),
            # Words begin at even addresses.
            implies(dut.command.valid, ~dut.command.p.image[0]),
            implies(dut.table.valid, ~dut.table.payload[0]),
        )
        # What the request will say, from when its burst was measured until it is taken.
        measured = self.state("room") | self.state("ask")
        take, words = self.inner("take"), Signal(16)
        end, beats = Signal.like(dut.tag.end), Signal.like(request.p.beats)
        m.d.comb += [
            end.eq(Mux(take == 0, 0, self.inner("address") % count + take)),
            beats.eq(Mux(take == 0, 0, (end - 1) // count)),
            words.eq((beats + 1) * count),
        ]
        self.claim(
            m,
            self.held(request.valid, request.ready, request.payload, dut.tag),
            dut.tag_valid == (request.valid & request.ready),
            implies(request.valid, measured),
            implies(self.state("ask"), dut.tag.end == end, request.p.beats == beats),
            implies(measured, *legal_burst(m, machine, request.p.address, beats, longest)),
            # What is wanted is in the beats that are asked for, and no beat comes in vain.
            implies(measured & (end != 0), dut.tag.skip < end, end <= words, end > words - count),
            implies(measured & (end == 0), beats == 0, dut.tag.marker),
            implies(request.valid, self.state("ask")),
        )
        self.reach(m, request.valid & (request.p.beats == longest - 1) & (dut.tag.skip != 0))
        self.reach(m, request.valid & (request.p.beats == 1) & ~dut.tag.marker)
