"""Proofs about the streams that movers and the program's reader drive."""

from amaranth.hdl import Mux, Signal
from harness import Harness, implies

from weightstream.spec.machine import Machine
from weightstream_hw.control.movers import InputMover, OutputMover
from weightstream_hw.control.program import ProgramReader


def static(harness, m, *values):
    """Assume that inputs never change."""
    harness.assume(m, *(implies(harness.started, value == harness.past(value)) for value in values))


def one_at_a_time(harness, m):
    """Assume that a mover is not started while it moves; claim that it stays within its buffer."""
    dut = harness.dut
    static(harness, m, dut.address, dut.size, dut.base, dut.batch, dut.item_words)
    busy, rests, ended = Signal(), harness.state("rest", "walk"), dut.done | dut.error
    with m.If(dut.start):
        m.d.sync += busy.eq(1)
    with m.Elif(ended):
        m.d.sync += busy.eq(0)
    harness.assume(m, implies(dut.start, ~busy))
    words, left = harness.inner("walk", "words", width=25), harness.inner("walk", "left", width=24)
    harness.claim(
        m,
        implies(~rests, busy, ~ended),
        implies(ended, rests),
        ~(dut.done & dut.error),
        implies(dut.command.valid, dut.command.p.words <= dut.size >> 3),
        implies(dut.command.valid, dut.command.p.address == dut.address),
        implies(harness.state("ask", "walk"), harness.inner("walk", "beyond") == (words > bound(dut.size))),
        harness.inner("walk", "active") == (harness.state("move", "walk") & (left != 0)),
    )
    harness.reach(m, dut.error)


def bound(size):
    """Return the most words that may be moved: those of the buffer, and that a command counts."""
    return Mux((size >> 3) < (1 << 24), size >> 3, (1 << 24) - 1)


class Inputs(Harness):
    """The mover of inputs neither withdraws nor changes what it offers."""

    def __init__(self):
        super().__init__(InputMover(Machine()))

    def rules(self, m):
        """Look at commands and words."""
        dut = self.dut
        self.assume(m, self.held_stream(dut.words))
        one_at_a_time(self, m)
        moves = self.state("move", "walk")
        # Words that are due; each is written once, to the address behind the one before.
        due = Signal(24)
        wrote = dut.write.valid & dut.write.ready
        with m.If(dut.command.valid & dut.command.ready):
            m.d.sync += due.eq(dut.command.p.words)
        with m.Elif(wrote):
            m.d.sync += due.eq(due - 1)
        place = Signal(24)
        m.d.comb += place.eq((dut.base >> 3) + dut.command.p.words - due)
        self.claim(
            m,
            self.held_stream(dut.command),
            self.held_stream(dut.write),
            wrote == (dut.words.valid & dut.words.ready),
            implies(wrote, due != 0, dut.write.p.data == dut.words.payload),
            implies(wrote, dut.write.p.address == place[: len(dut.write.p.address)]),
            implies(dut.done, due == 0),
            implies(moves, self.inner("walk", "left", width=24) == due),
            implies(moves, dut.write.p.address == place[: len(dut.write.p.address)]),
            implies(~moves, due == 0),
        )
        self.reach(m, dut.done & self.past(self.past(wrote)) & (dut.command.p.words == 2))


class Outputs(Harness):
    """The mover of outputs keeps what it offers, and has room for each word that it asks for."""

    DEPTH = 32

    def __init__(self):
        super().__init__(OutputMover(Machine()))

    def rules(self, m):
        """Count words: asked for, there, given."""
        dut = self.dut
        one_at_a_time(self, m)
        asked = dut.read_valid & dut.read_ready
        given = dut.words.valid & dut.words.ready
        # Words that memory still answers, and words that the master still waits for.
        due, wanted = Signal(8), Signal(24)
        m.d.sync += due.eq(due + asked - dut.read_data_valid)
        with m.If(dut.command.valid & dut.command.ready):
            m.d.sync += wanted.eq(dut.command.p.words)
        with m.Elif(given):
            m.d.sync += wanted.eq(wanted - 1)
        moves = self.state("move", "walk")
        self.assume(
            m,
            implies(dut.read_data_valid, due != 0),
            implies(dut.written, moves, wanted == 0),
        )
        stored, shown = self.inner("fifo", "inner_level"), dut.words.valid
        left = self.inner("walk", "left", width=24)
        self.claim(
            m,
            self.held_stream(dut.command),
            self.held_stream(dut.words),
            self.held(dut.read_valid, dut.read_ready, dut.read_address),
            implies(dut.read_data_valid, self.inner("fifo", "w_rdy")),
            implies(given, wanted != 0),
            implies(dut.done, wanted == 0),
            # What leads from one clock to the next: each place has its word, or is kept for it.
            self.inner("room") + due + stored + shown == self.DEPTH,
            wanted == Mux(moves, left + due + stored + shown, 0),
            implies(~moves, due == 0, stored == 0, ~shown),
        )
        self.reach(m, dut.done & self.past(self.past(given)))
        self.reach(m, (due == 3) & shown)


class Program(Harness):
    """The program's reader neither withdraws nor changes what it offers.

    But for one stream: while the configuration is read, the words behind it are offered, too; they are
    withdrawn when it is done, and are the next operation's.
    """

    def __init__(self):
        super().__init__(ProgramReader(Machine()))

    def rules(self, m):
        """Look at all streams, and at the handshake of layers."""
        dut, d = self.dut, self.dut.descriptor
        self.assume(m, self.held_stream(dut.words))
        static(self, m, dut.image, dut.batch)
        config = dut.config_words
        idle = self.state("rest") | self.state("failed")
        stalled = self.past(config.valid & ~config.ready & ~dut.config_done)
        self.claim(
            m,
            *(
                self.held_stream(commands)
                for commands in (dut.command, dut.lanes_command, dut.keys_command, dut.records_command)
            ),
            # Without items, nothing is read.
            implies(~idle, dut.batch != 0),
            implies(idle, ~dut.command.valid, ~dut.words.ready),
            self.held_stream(dut.lane_table),
            self.held(dut.layer_valid, dut.layer_ready, d.op, d.stored_lanes, dut.operation),
            implies(stalled, config.valid, config.payload == self.past(config.payload)),
            # A word goes to one of them, or is taken here.
            implies(config.valid, ~dut.lane_table.valid),
            implies(config.valid | dut.lane_table.valid, dut.words.valid),
            implies(config.valid & dut.words.ready, config.ready),
            implies(dut.lane_table.valid & dut.words.ready, dut.lane_table.ready),
        )
        self.reach(m, dut.command.valid & (dut.command.p.words == 5) & (dut.command.p.address[:4] == 8))
