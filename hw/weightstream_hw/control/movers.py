"""Inputs into the activation memory, outputs out of it."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from ..bus.bursts import memory_range
from ..compute.output import output_word

#: Words that may be on their way from the activation memory to the bus.
_DEPTH = 32


class BatchWords(wiring.Component):
    """Count the 64-bit words of a batch: ``batch * item_words``, by addition.

    Timing
    ------
    Latency: ``batch + 2`` clocks from `start` to `done`.
    Throughput: one product at a time.
    Stall: none.

    Attributes
    ----------
    start, done : In(1), Out(1)
        Pulses.
    batch, item_words : In
        Factors, static.
    words : Out(24)
        Product, from `done` on.
    """

    def __init__(self):
        super().__init__(
            {"start": In(1), "batch": In(16), "item_words": In(18), "words": Out(24), "done": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        left = Signal(16)
        run = Signal()
        m.d.sync += self.done.eq(0)
        with m.If(self.start):
            m.d.sync += [left.eq(self.batch), self.words.eq(0), run.eq(1)]
        with m.Elif(run & (left != 0)):
            m.d.sync += [left.eq(left - 1), self.words.eq(self.words + self.item_words)]
        with m.Elif(run):
            m.d.sync += [run.eq(0), self.done.eq(1)]
        return m


class InputMover(wiring.Component):
    """Copy the inputs of a batch from memory to the start of the activation memory's input tensor.

    Timing
    ------
    Latency: ``batch + 3`` clocks, then a burst.
    Throughput: an 8-byte word a clock.
    Stall: when the write port is taken.

    Parameters
    ----------
    machine : Machine
        Width of addresses.

    Attributes
    ----------
    start, done : In(1), Out(1)
        Pulses.
    address, base, batch, item_words : In
        Where the inputs are, where they go (byte addresses), items, 64-bit words an item; static.
    command, words : Out, In(stream)
        Of a reader.
    write : Out(stream of output_word)
        To the activation memory.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "start": In(1),
                "address": In(machine.address_bits),
                "base": In(24),
                "batch": In(16),
                "item_words": In(18),
                "command": Out(stream.Signature(memory_range(machine))),
                "words": In(stream.Signature(64)),
                "write": Out(stream.Signature(output_word(machine))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.count = count = BatchWords()
        left = Signal(24)
        m.d.comb += [
            count.start.eq(self.start),
            count.batch.eq(self.batch),
            count.item_words.eq(self.item_words),
            self.command.payload.address.eq(self.address),
            self.command.payload.words.eq(count.words),
            self.command.payload.repeats.eq(0),
            self.write.payload.data.eq(self.words.payload),
            self.write.payload.mask.eq(0xFF),
        ]
        m.d.sync += self.done.eq(0)
        with m.FSM():
            with m.State("rest"):
                with m.If(count.done):
                    m.d.sync += [left.eq(count.words), self.write.payload.address.eq(self.base >> 3)]
                    m.next = "ask"
            with m.State("ask"):
                m.d.comb += self.command.valid.eq(left != 0)
                with m.If(self.command.ready | (left == 0)):
                    m.next = "move"
            with m.State("move"):
                m.d.comb += [
                    self.write.valid.eq(self.words.valid & (left != 0)),
                    self.words.ready.eq(self.write.ready & (left != 0)),
                ]
                with m.If(left == 0):
                    m.d.sync += self.done.eq(1)
                    m.next = "rest"
                with m.Elif(self.words.valid & self.write.ready):
                    m.d.sync += [
                        left.eq(left - 1),
                        self.write.payload.address.eq(self.write.payload.address + 1),
                    ]
        return m


class OutputMover(wiring.Component):
    """Copy the outputs of a batch from the activation memory to memory.

    Timing
    ------
    Latency: ``batch + 4`` clocks, then the read latency of the activation memory.
    Throughput: an 8-byte word a clock, while columns leave the read port free.
    Stall: at most `_DEPTH` words are read ahead of the bus.

    Parameters
    ----------
    machine : Machine
        Width of addresses.

    Attributes
    ----------
    start, done : In(1), Out(1)
        Pulses; done when memory has acknowledged all writes.
    address, base, batch, item_words : In
        Where the outputs go, where they are (byte addresses), items, 64-bit words an item; static.
    read_valid, read_ready, read_address : Out(1), In(1), Out
        Ask the activation memory for a word.
    read_data_valid, read_data : In
        Its answers, in order.
    command, words : Out(stream)
        Of the write master.
    written : In(1)
        Pulse of the write master: the command is done.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "start": In(1),
                "address": In(machine.address_bits),
                "base": In(24),
                "batch": In(16),
                "item_words": In(18),
                "read_valid": Out(1),
                "read_ready": In(1),
                "read_address": Out(machine.pool_address_bits),
                "read_data_valid": In(1),
                "read_data": In(64),
                "command": Out(stream.Signature(memory_range(machine))),
                "words": Out(stream.Signature(64)),
                "written": In(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.count = count = BatchWords()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=64, depth=_DEPTH)
        left = Signal(24)
        room = Signal(range(_DEPTH + 1), init=_DEPTH)
        asked, given = Signal(), Signal()
        m.d.comb += [
            count.start.eq(self.start),
            count.batch.eq(self.batch),
            count.item_words.eq(self.item_words),
            self.command.payload.address.eq(self.address),
            self.command.payload.words.eq(count.words),
            self.command.payload.repeats.eq(0),
            fifo.w_data.eq(self.read_data),
            fifo.w_en.eq(self.read_data_valid),
            self.words.payload.eq(fifo.r_data),
            self.words.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.words.ready),
            asked.eq(self.read_valid & self.read_ready),
            given.eq(fifo.r_rdy & fifo.r_en),
        ]
        # Room is reserved before a word is asked for: the memory's answers cannot be held back.
        with m.If(asked & ~given):
            m.d.sync += room.eq(room - 1)
        with m.Elif(given & ~asked):
            m.d.sync += room.eq(room + 1)
        m.d.sync += self.done.eq(0)
        with m.FSM():
            with m.State("rest"):
                with m.If(count.done):
                    m.d.sync += [left.eq(count.words), self.read_address.eq(self.base)]
                    m.next = "ask"
            with m.State("ask"):
                m.d.comb += self.command.valid.eq(left != 0)
                with m.If(left == 0):
                    m.d.sync += self.done.eq(1)
                    m.next = "rest"
                with m.Elif(self.command.ready):
                    m.next = "move"
            with m.State("move"):
                m.d.comb += self.read_valid.eq((left != 0) & (room != 0))
                with m.If(asked):
                    m.d.sync += [left.eq(left - 1), self.read_address.eq(self.read_address + 8)]
                with m.If(self.written):
                    m.d.sync += self.done.eq(1)
                    m.next = "rest"
        return m
