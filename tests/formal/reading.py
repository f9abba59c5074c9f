"""Proofs about the read master and its readers."""

from amaranth.hdl import Cat, Signal
from amaranth.lib import data
from bursts import RangeModel, legal_burst, splitter_follows
from harness import Harness, Watched, implies, queue_holds

from weightstream.spec.machine import Machine
from weightstream_hw.bus.axi import OKAY, OUTSTANDING
from weightstream_hw.bus.bursts import burst
from weightstream_hw.bus.read_master import ReadMaster
from weightstream_hw.bus.reader import LinearReader


class Reads(Harness):
    """The read master keeps the rules of AXI, and each client gets its beats: all, once, in order."""

    CLIENTS = 4

    def __init__(self, bus_bits):
        self.machine = Machine(bus_bits=bus_bits)
        super().__init__(ReadMaster(self.machine, self.CLIENTS))
        self.choose = self.free(1, "choose")

    def rules(self, m):
        """Watch any burst, from the request to its last beat."""
        dut, machine = self.dut, self.machine
        bus = dut.bus
        longest = machine.burst_beats
        for request in dut.requests:
            legal = legal_burst(m, machine, request.p.address, request.p.beats, longest)
            self.assume(m, self.held_stream(request), implies(request.valid, *legal))

        # ---- addresses ---------------------------------------------------------------------------
        takes = Cat(request.valid & request.ready for request in dut.requests)
        asked = Signal(data.StructLayout({"client": 2, "address": machine.address_bits, "beats": 8}))
        for client, request in enumerate(dut.requests):
            self.claim(m, implies(takes[client], ~takes[:client].any(), ~dut.flush))
            for earlier in list(dut.requests)[:client]:
                self.claim(m, implies(takes[client], ~earlier.valid))
            with m.If(takes[client]):
                m.d.comb += [
                    asked.client.eq(client),
                    asked.address.eq(request.p.address),
                    asked.beats.eq(request.p.beats),
                ]
        before = data.View(asked.shape(), self.past(asked))
        taken = self.past(takes.any())
        sent = bus.arvalid & bus.arready
        left_over = self.past(bus.arvalid & ~bus.arready)
        self.claim(
            m,
            self.held(bus.arvalid, bus.arready, bus.araddr, bus.arlen, bus.arsize, bus.arburst),
            implies(bus.arvalid, *legal_burst(m, machine, bus.araddr, bus.arlen, longest)),
            implies(bus.arvalid, 1 << bus.arsize == machine.bus_bytes, bus.arburst == 1),
            implies(taken, bus.arvalid, bus.araddr == before.address, bus.arlen == before.beats),
            implies(self.started, bus.arvalid == (taken | left_over)),
            ~(taken & left_over),
        )
        asks = Cat(request.valid for request in dut.requests).any() & ~dut.flush

        # ---- beats -------------------------------------------------------------------------------
        # Memory answers bursts whose address it took, in order, with as many beats as they have.
        arrives = bus.rvalid & bus.rready
        level = Signal(8)
        unsent = Signal(8)
        m.d.sync += level.eq(level + takes.any() - (arrives & bus.rlast))
        m.d.comb += unsent.eq(level - bus.arvalid)
        # Nothing waits for ever.
        self.claim(m, implies(asks & ~bus.arvalid & (level < OUTSTANDING), takes.any()))
        self.assume(m, implies(bus.rvalid, unsent != 0))
        watched = Watched(m, self.choose, takes.any(), arrives & bus.rlast, level, asked)
        watched_burst = data.View(asked.shape(), watched.entry)
        got = Signal(8)
        with m.If(watched.next & arrives):
            m.d.sync += got.eq(got + 1)
        with m.If(~watched.active):
            m.d.sync += got.eq(0)
        self.assume(m, implies(watched.next & bus.rvalid, bus.rlast == (got == watched_burst.beats)))

        ours = self.past(watched.next & arrives)
        flushed = self.past(dut.flush)
        was = data.View(asked.shape(), self.past(watched.entry))
        failed = self.past(bus.rresp != OKAY)
        self.claim(
            m,
            bus.rready,
            implies(ours & ~flushed, dut.beat_valid == 1 << was.client),
            implies(flushed, ~dut.beat_valid.any()),
            implies(ours, dut.error == failed, dut.error_address == was.address),
            (dut.beat_valid & dut.beat_valid - 1) == 0,
        )
        with m.If(self.started):
            delivered = self.past(arrives & ~dut.flush)
            self.claim(
                m,
                dut.beat_valid.any() == delivered,
                implies(delivered, dut.beat.data == self.past(bus.rdata)),
                implies(delivered, dut.beat.last == self.past(bus.rlast)),
                implies(dut.error, self.past(arrives) & failed),
            )
        self.claim(m, dut.idle == ((level == 0) & ~bus.arvalid & ~dut.beat_valid.any()))
        self.reach(m, ours & dut.beat.last & (was.client == 1) & (was.beats == 2) & sent)
        self.reach(m, level == 5)

        # What leads from one clock to the next: the queue of bursts is what was asked for.
        entry = Cat(watched_burst.client, watched_burst.address)
        self.claim(
            m,
            queue_holds(self, m, watched, entry, "order") == level,
            self.inner("full") == (level == OUTSTANDING),
            implies(
                watched.active,
                watched_burst.client < self.CLIENTS,
                got <= watched_burst.beats,
                watched.next | (got == 0),
            ),
            implies(bus.arvalid, level != 0),
        )


class Reader(Harness):
    """A reader never gets a beat that it has no room for, and puts out all words of its beats in order."""

    DEPTH = 8

    def __init__(self, bus_bits):
        self.machine = Machine(bus_bits=bus_bits)
        super().__init__(LinearReader(self.machine, self.DEPTH))
        self.choose_beat = self.free(1, "choose_beat")
        self.choose_burst = self.free(1, "choose_burst")

    def rules(self, m):
        """Watch any burst until its last beat has come, and any beat until its words were taken."""
        dut, request, words = self.dut, self.dut.request, self.dut.words
        bus_bits = self.machine.bus_bits
        burst_now = data.View(burst(self.machine), self.inner("splitter", "bursts__payload"))
        offered = self.inner("splitter", "bursts__valid")
        self.assume(m, self.held_stream(dut.command))

        # ---- requests ----------------------------------------------------------------------------
        self.assume(m, implies(dut.command.valid, dut.command.p.address[:4] == 0))
        taken = request.valid & request.ready
        beats = Signal(9)
        m.d.comb += beats.eq(request.p.beats + 1)
        model = RangeModel(m, self.machine, dut.command, beats, taken)
        legal = legal_burst(m, self.machine, request.p.address, request.p.beats, self.DEPTH // 2)
        self.claim(
            m,
            self.held_stream(request),
            implies(request.valid, model.active, request.p.address == model.following, *legal),
            implies(request.valid, offered, beats <= model.left),
            implies(offered, request.p.beats == burst_now.beats),
            self.inner("bursts__ready") == taken,
        )
        splitter_follows(self, m, model, beats, "splitter")

        # ---- beats -------------------------------------------------------------------------------
        # The master brings the beats of the bursts that it took, in order.
        due = Signal(8)
        bursts_due = Signal(8)
        ends = dut.beat_valid & dut.beat.last
        with m.If(taken):
            m.d.sync += due.eq(due + request.p.beats + 1 - dut.beat_valid)
        with m.Else():
            m.d.sync += due.eq(due - dut.beat_valid)
        m.d.sync += bursts_due.eq(bursts_due + taken - ends)
        self.assume(m, implies(dut.beat_valid, due != 0, bursts_due != 0))
        self.assume(m, implies(dut.beat_valid & (due == bursts_due), dut.beat.last))
        self.assume(m, implies(dut.beat_valid & (due != 1) & (bursts_due == 1), ~dut.beat.last))

        level = self.inner("queue", "level")
        shown = self.inner("queue", "r_rdy")
        beat_bits = bus_bits + (bus_bits == 128)
        enters = self.inner("w_data", width=beat_bits)
        if bus_bits == 128:
            reads = shown & words.ready & (self.inner("upper") | self.inner("queue", "r_data")[128])
        else:
            reads = shown & self.inner("r_en")
        room = self.inner("room")
        self.claim(
            m,
            implies(dut.beat_valid, self.inner("queue", "w_rdy")),
            room + level + due == self.DEPTH,
            bursts_due <= due,
            # Nothing waits for ever.
            implies(self.past(offered & ~taken & (room > burst_now.beats)), self.inner("fits")),
            implies(self.inner("fits"), request.valid),
            implies(self.inner("fits"), offered, room > burst_now.beats),
        )

        # ---- words -------------------------------------------------------------------------------
        kept = Watched(m, self.choose_beat, dut.beat_valid, reads, level, enters)
        self.claim(m, self.held_stream(words))
        beat_data = kept.entry[:bus_bits]
        gives = words.valid & words.ready
        self.claim(m, shown == (level != 0))
        second = Signal()
        if bus_bits == 64:
            self.claim(m, words.valid == shown)
            self.claim(m, reads == gives, implies(kept.next & words.valid, words.payload == beat_data))
        elif bus_bits == 128:
            only = kept.entry[128]
            with m.If(gives):
                m.d.sync += second.eq(~second & ~reads)
            self.claim(
                m,
                words.valid == shown,
                implies(reads, gives),
                self.inner("upper") == second,
                implies(second, level != 0),
                implies(kept.next & gives, reads == (second | only)),
                implies(kept.next & words.valid, words.payload == beat_data.word_select(second, 64)),
            )
            self._halves(m, taken, ends, burst_now, bursts_due)
        else:
            low = Signal(32)
            with m.If(kept.next & reads & ~second):
                m.d.sync += low.eq(beat_data)
            with m.If(reads):
                m.d.sync += second.eq(~second)
            follows = Signal()
            with m.If(reads):
                m.d.sync += follows.eq(kept.next & ~second)
            self.claim(
                m,
                gives == (reads & second),
                words.valid == (shown & second),
                implies(self.past(shown & ~second), second),
                self.inner("half") == second,
                implies(kept.next & words.valid, words.payload[32:] == beat_data),
                implies(follows & words.valid, words.payload[:32] == low),
                implies(follows, second, self.inner("low") == low),
            )
        self.reach(m, kept.next & gives & (self.past(level) == 3))
        self.reach(m, room == 0)

        # What leads from one clock to the next: the queue holds what came.
        self.claim(m, queue_holds(self, m, kept, kept.entry, "queue") == level)

    def _halves(self, m, taken, ends, burst_now, bursts_due):
        """Claim that just the last beat of a burst is half a beat, if the burst says so."""
        ending = Watched(m, self.choose_burst, taken, ends, bursts_due, burst_now.half)
        marked = self.inner("w_data", width=129)[128]
        self.claim(
            m,
            queue_holds(self, m, ending, ending.entry, "halves") == bursts_due,
            implies(self.dut.beat_valid & ~self.dut.beat.last, ~marked),
            implies(ends & ending.next, marked == ending.entry),
            bursts_due <= self.DEPTH,
        )
