"""Proofs about the write master."""

from amaranth.hdl import Mux, Signal
from amaranth.lib import data
from bursts import RangeModel, legal_burst, splitter_follows
from harness import Harness, Watched, implies, queue_holds

from weightstream.spec.machine import Machine
from weightstream_hw.bus.axi import OKAY
from weightstream_hw.bus.bursts import burst
from weightstream_hw.bus.write_master import WriteMaster


class Writes(Harness):
    """The write master keeps the rules of AXI; words go where their range says, all, once, in order."""

    def __init__(self, bus_bits):
        self.machine = Machine(bus_bits=bus_bits)
        super().__init__(WriteMaster(self.machine))
        self.choose = self.free(1, "choose")

    def rules(self, m):
        """Follow ranges, bursts and words."""
        dut = self.dut
        self.assume(m, self.held_stream(dut.command), self.held_stream(dut.data))
        self.assume(m, implies(dut.command.valid, dut.command.p.address[:4] == 0))
        # A flush lasts until everything is idle.
        self.assume(m, implies(self.past(dut.flush & ~dut.idle), dut.flush))

        begins = self.inner("begins")
        offered = data.View(burst(self.machine), self.inner("splitter", "bursts__payload"))
        beats = Signal(9)
        m.d.comb += beats.eq(offered.beats + 1)
        model = RangeModel(m, self.machine, dut.command, beats, begins, drop=dut.flush)
        splitter_follows(self, m, model, beats, "splitter")
        self._addresses(m, begins, model, offered)
        unfinished = self._data(m, begins, offered)
        self._answers(m, begins, model, offered, unfinished)

    def _addresses(self, m, begins, model, offered):
        """Claim that addresses are those of the ranges, in order, and held."""
        bus = self.dut.bus
        longest = self.machine.burst_beats
        begun = self.past(begins)
        left_over = self.past(bus.awvalid & ~bus.awready)
        self.claim(
            m,
            self.held(bus.awvalid, bus.awready, bus.awaddr, bus.awlen, bus.awsize, bus.awburst),
            implies(bus.awvalid, *legal_burst(m, self.machine, bus.awaddr, bus.awlen, longest)),
            implies(bus.awvalid, 1 << bus.awsize == self.machine.bus_bytes, bus.awburst == 1),
            implies(begins, model.active, ~self.dut.flush, offered.beats + 1 <= model.left),
            implies(begins, offered.address == model.following),
            implies(begun, bus.awvalid, bus.awaddr == self.past(offered.address)),
            implies(begun, bus.awlen == self.past(offered.beats)),
            implies(self.started, bus.awvalid == (begun | left_over)),
            ~(begun & left_over),
        )

    def _data(self, m, begins, offered):
        """Claim that beats are the words that were taken; return the bursts that have beats left."""
        dut, bus, bus_bits = self.dut, self.dut.bus, self.machine.bus_bits
        # The burst whose beats are on the bus, and the one behind it.
        size, behind = Signal(8), Signal(8)
        done, unfinished = Signal(8), Signal(2)
        written = bus.wvalid & bus.wready
        finished = written & bus.wlast
        m.d.sync += [
            unfinished.eq(unfinished + begins - finished),
            done.eq(Mux(finished, 0, done + written)),
        ]
        with m.If(finished):
            m.d.sync += size.eq(behind)
        with m.If(begins):
            m.d.sync += behind.eq(offered.beats)
            with m.If(unfinished == finished):
                m.d.sync += size.eq(offered.beats)

        is_open, goes, left = self.inner("is_open"), self.inner("goes"), self.inner("left", width=8)
        behind_half, half = Signal(), Signal()
        with m.If(begins):
            m.d.sync += half.eq(offered.half)
        m.d.comb += behind_half.eq(self.inner("half"))
        current = Mux(unfinished == 2, behind, size)
        formed = Mux(unfinished == 2, 0, done) + (bus.wvalid & (unfinished == 1))
        self.claim(
            m,
            self.held(bus.wvalid, bus.wready, bus.wdata, bus.wstrb, bus.wlast),
            implies(bus.wvalid, unfinished != 0, bus.wlast == (done == size)),
            unfinished <= 2,
            implies(unfinished == 2, bus.wvalid, bus.wlast, is_open),
            implies(unfinished == 0, ~is_open, done == 0),
            done <= size,
            implies((unfinished == 1) & ~is_open, bus.wvalid, bus.wlast),
            implies(is_open, left == current - formed, formed <= current, behind_half == half),
            # Nothing waits for ever.
            implies(self.past(is_open & dut.flush & (~bus.wvalid | bus.wready)), bus.wvalid),
            implies(is_open & ~dut.flush & ~bus.wvalid & dut.data.valid, goes | dut.data.ready),
        )

        # ---- words -------------------------------------------------------------------------------
        took = dut.data.valid & dut.data.ready
        word = self.past(dut.data.payload)
        formed_now, flushed = self.past(goes), self.past(dut.flush)
        self.claim(m, implies(formed_now & flushed, bus.wstrb == 0), implies(took, ~dut.flush, is_open))
        self.claim(m, implies(formed_now, bus.wvalid))
        whole = formed_now & ~flushed
        self.claim(m, implies(whole, self.past(dut.data.valid)))
        phase = Signal()
        if bus_bits == 64:
            self.claim(m, (goes & ~dut.flush) == took)
            self.claim(m, implies(whole, bus.wdata == word, bus.wstrb == 0xFF))
        elif bus_bits == 32:
            with m.If(dut.flush):
                m.d.sync += phase.eq(0)
            with m.Elif(goes):
                m.d.sync += phase.eq(~phase)
            upper = self.past(phase)
            self.claim(m, took == (goes & phase & ~dut.flush), self.inner("upper") == phase)
            self.claim(m, implies(whole, bus.wdata == word.word_select(upper, 32), bus.wstrb == 0xF))
        else:
            low = Signal(64)
            alone = half & (left == 0)
            with m.If(dut.flush):
                m.d.sync += phase.eq(0)
            with m.Elif(took):
                m.d.sync += [phase.eq(~phase & ~goes), low.eq(dut.data.payload)]
            single = self.past(alone)
            self.claim(
                m,
                implies(goes & ~dut.flush, took, phase | alone),
                implies(took, goes == (phase | alone)),
                self.inner("held") == phase,
                implies(phase, is_open, ~alone, self.inner("low") == low),
                implies(whole & single, bus.wdata[:64] == word, bus.wstrb == 0x00FF),
                implies(whole & ~single, bus.wdata[64:] == word, bus.wstrb == 0xFFFF),
                implies(whole & ~single, bus.wdata[:64] == self.past(low)),
            )
        self.reach(m, finished & (size == 1) & bus.wstrb.any() & (unfinished == 2))
        self.reach(m, bus.wvalid & ~bus.wstrb.any() & self.past(dut.flush))
        return unfinished

    def _answers(self, m, begins, model, offered, unfinished):
        """Claim that errors name their burst, and that idle and done wait for every answer."""
        dut, bus = self.dut, self.dut.bus
        level = Signal(8)
        complete = Signal(8)
        answered = bus.bvalid & bus.bready
        m.d.sync += level.eq(level + begins - answered)
        newest = Mux(bus.awvalid & (unfinished == 0), 1, unfinished)
        m.d.comb += complete.eq(level - newest)
        self.assume(m, implies(bus.bvalid, complete != 0))
        watched = Watched(m, self.choose, begins, answered, level, offered.address)
        failed = self.past(answered & (bus.bresp != OKAY))
        self.claim(
            m,
            bus.bready,
            implies(self.started, dut.error == failed),
            implies(self.past(watched.next & answered), dut.error_address == self.past(watched.entry)),
            dut.idle == (~model.active & (level == 0)),
            implies(dut.done, dut.idle, ~dut.flush),
            implies(dut.done, self.past(~dut.idle)),
            implies(self.past(~dut.idle & ~dut.flush) & dut.idle & ~dut.flush, dut.done),
            queue_holds(self, m, watched, watched.entry, "order") == level,
            newest <= level,
            # Nothing waits for ever.
            implies(
                self.inner("splitter", "bursts__valid") & ~dut.flush & (level == 0) & ~bus.awvalid, begins
            ),
            implies(self.past(~dut.idle & ~dut.flush), ~self.inner("was_idle")),
            implies(self.started, self.inner("was_idle") == self.past(dut.idle | dut.flush)),
        )
        self.reach(m, dut.done & self.past(answered))
