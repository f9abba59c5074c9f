"""Inputs into the activation memory, outputs out of it."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import POOL_WORD, Machine

from ..bus.bursts import WORDS_BITS, memory_range
from ..compute.output import output_word

_WORD_LSB = (POOL_WORD - 1).bit_length()
#: Words that may be on their way from the activation memory to the bus.
_DEPTH = 32


def _job_ports(machine: Machine) -> dict:
    """Return what all movers are told: `start`, and what is static from then on."""
    return {
        "start": In(1),
        "address": In(machine.address_bits),
        "size": In(32),
        "base": In(24),
        "batch": In(16),
        "item_words": In(18),
        "command": Out(stream.Signature(memory_range(machine))),
        "done": Out(1),
        "error": Out(1),
    }


class BatchWalk(wiring.Component):
    """Count the words of a batch, ask for them if the buffer holds them, then walk through their places.

    ::

        words = batch * item_words, by addition; at most size / 8

    Timing
    ------
    Latency: ``batch + 2`` clocks from `start` to `command`; without words `done`, with too many `error` comes
    1 clock later.
    Throughput: a step a clock.
    Stall: until the command is taken.

    Parameters
    ----------
    machine : Machine
        Width of addresses.

    Attributes
    ----------
    start, done, error : In(1), Out(1)
        Pulses: begin; the words were moved; there are more than the buffer holds, and no command.
    address, size, base, batch, item_words : In
        Byte address and bytes of the buffer, byte address in the activation memory, items, 64-bit words an
        item; static.
    command : Out(stream)
        The range in memory.
    active : Out(1)
        A word is left.
    place : Out
        Its number in the activation memory.
    step : In(1)
        Go on to the next word.
    finish : In(1)
        Nothing is left to wait for; looked at while words are moved.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        place = machine.pool_address_bits - _WORD_LSB
        super().__init__(
            _job_ports(machine) | {"active": Out(1), "place": Out(place), "step": In(1), "finish": In(1)}
        )

    def elaborate(self, platform):
        m = Module()
        items = Signal(16)
        # One bit more than a command counts: it stays set, and is more than any buffer may hold.
        words = Signal(WORDS_BITS + 1)
        left = Signal(WORDS_BITS)
        beyond = Signal()
        m.d.comb += [
            self.command.payload.address.eq(self.address),
            self.command.payload.words.eq(words),
            self.command.payload.repeats.eq(0),
        ]
        m.d.sync += [
            self.done.eq(0),
            self.error.eq(0),
            beyond.eq(words[-1] | (words > self.size[_WORD_LSB:])),
        ]
        with m.FSM():
            with m.State("rest"):
                m.d.sync += [items.eq(self.batch), words.eq(0)]
                with m.If(self.start):
                    m.next = "count"
            with m.State("count"):
                with m.If((items == 0) | words[-1]):
                    m.next = "ask"
                with m.Else():
                    m.d.sync += [items.eq(items - 1), words.eq(words + self.item_words)]
            with m.State("ask"):
                m.d.sync += [left.eq(words), self.place.eq(self.base[_WORD_LSB:])]
                with m.If(beyond):
                    m.d.sync += self.error.eq(1)
                    m.next = "rest"
                with m.Elif(words == 0):
                    m.d.sync += self.done.eq(1)
                    m.next = "rest"
                with m.Else():
                    m.d.comb += self.command.valid.eq(1)
                    with m.If(self.command.ready):
                        m.d.sync += self.active.eq(1)
                        m.next = "move"
            with m.State("move"):
                with m.If(self.step):
                    m.d.sync += [left.eq(left - 1), self.place.eq(self.place + 1), self.active.eq(left != 1)]
                with m.If(self.finish):
                    m.d.sync += self.done.eq(1)
                    m.next = "rest"
        return m

    def connect(self, m: Module, mover: wiring.Component) -> None:
        """Connect the ports that all movers have."""
        for name, member in _job_ports(self.machine).items():
            own, outer = getattr(self, name), getattr(mover, name)
            if name == "command":
                wiring.connect(m, own, wiring.flipped(outer))
            else:
                m.d.comb += own.eq(outer) if member.flow == In else outer.eq(own)


class InputMover(wiring.Component):
    """Copy the inputs of a batch from memory to the start of the activation memory's input tensor.

    Timing
    ------
    Latency: ``batch + 2`` clocks, then a burst.
    Throughput: an 8-byte word a clock.
    Stall: when the write port is taken.

    Parameters
    ----------
    machine : Machine
        Width of addresses.

    Attributes
    ----------
    start, done, error, address, size, base, batch, item_words, command
        See `BatchWalk`; the command is that of a reader.
    words : In(stream)
        Of the reader.
    write : Out(stream of output_word)
        To the activation memory.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            _job_ports(machine)
            | {"words": In(stream.Signature(64)), "write": Out(stream.Signature(output_word(machine)))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = BatchWalk(self.machine)
        walk.connect(m, self)
        m.d.comb += [
            self.write.payload.address.eq(walk.place),
            self.write.payload.data.eq(self.words.payload),
            self.write.payload.mask.eq(0xFF),
            self.write.valid.eq(walk.active & self.words.valid),
            self.words.ready.eq(walk.active & self.write.ready),
            walk.step.eq(self.words.valid & self.words.ready),
            walk.finish.eq(~walk.active),
        ]
        return m


class OutputMover(wiring.Component):
    """Copy the outputs of a batch from the activation memory to memory.

    Timing
    ------
    Latency: ``batch + 2`` clocks to the command, 1 more to the first read of the activation memory.
    Throughput: an 8-byte word a clock, while columns leave the read port free.
    Stall: at most `_DEPTH` words are read ahead of the bus.

    Parameters
    ----------
    machine : Machine
        Width of addresses.

    Attributes
    ----------
    start, done, error, address, size, base, batch, item_words, command
        See `BatchWalk`; the command is that of the write master, `done` comes when memory has acknowledged
        all writes.
    read_valid, read_ready, read_address : Out(1), In(1), Out
        Ask the activation memory for a word.
    read_data_valid, read_data : In
        Its answers, in order.
    words : Out(stream)
        Of the write master.
    written : In(1)
        Pulse of the write master: the command is done.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            _job_ports(machine)
            | {
                "read_valid": Out(1),
                "read_ready": In(1),
                "read_address": Out(machine.pool_address_bits),
                "read_data_valid": In(1),
                "read_data": In(64),
                "words": Out(stream.Signature(64)),
                "written": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = BatchWalk(self.machine)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=64, depth=_DEPTH)
        walk.connect(m, self)
        room = Signal(range(_DEPTH + 1), init=_DEPTH)
        given = Signal()
        m.d.comb += [
            self.read_valid.eq(walk.active & (room != 0)),
            self.read_address.eq(walk.place << _WORD_LSB),
            walk.step.eq(self.read_valid & self.read_ready),
            walk.finish.eq(self.written),
            fifo.w_data.eq(self.read_data),
            fifo.w_en.eq(self.read_data_valid),
            self.words.payload.eq(fifo.r_data),
            self.words.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.words.ready),
            given.eq(fifo.r_rdy & fifo.r_en),
        ]
        # Room is reserved before a word is asked for: the memory's answers cannot be held back.
        with m.If(walk.step & ~given):
            m.d.sync += room.eq(room - 1)
        with m.Elif(given & ~walk.step):
            m.d.sync += room.eq(room + 1)
        return m
