"""Requests of the serial line: checked, done, answered."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec import serial
from weightstream.spec.registers import ADDRESS_BITS
from weightstream.spec.serial import BLOCK_BYTES, MEMORY_BASE, REGISTER_BYTES, WORD_BYTES, Command, Status

from ..bus.axi import OKAY, AxiLite
from .memory import BlockMemory
from .requests import RequestReader


class Engine(wiring.Component):
    """Do what frames ask for, one at a time: docs/serial.md has the rules.

    Timing
    ------
    Latency: 5 clocks from the flag of a request to its answer, if that needs nothing else. A register takes
    what its bus takes; memory 17 clocks for each word that is written, 3 for each one that is read.
    Throughput: one request at a time. What comes before its answer is taken is lost, up to a flag.
    Stall: an answer waits while its bytes are not taken.

    Parameters
    ----------
    memory : BlockMemory
        What is served.
    clock_hz : int
        The clock, for `IDENTIFY`.

    Attributes
    ----------
    byte : In(8)
        A byte of the line.
    byte_valid : In(1)
        There is one.
    answer : Out(stream)
        Bodies of answers, for a `FrameWriter`.
    registers : Out(AxiLite)
        The accelerator's registers.
    words : Out(stream)
        For `BlockMemory.request`; what is read comes by `words_answer` and `words_answered`.
    interrupt : In(1)
        The interrupt line, for the flags of answers.
    """

    #: Clocks from the flag of a request to its answer; clocks more for each word that is written.
    latency, word_clocks = 5, 17

    def __init__(self, memory: BlockMemory, clock_hz: int):
        self._size = memory.size
        self._clock_hz = clock_hz
        super().__init__(
            {
                "byte": In(8),
                "byte_valid": In(1),
                "answer": Out(stream.Signature(data.StructLayout({"byte": 8, "last": 1}))),
                "registers": Out(AxiLite(ADDRESS_BITS)),
                "words": Out(stream.Signature(memory.asked)),
                "words_answer": In(64),
                "words_answered": In(1),
                "interrupt": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        m.submodules.requests = requests = RequestReader()
        request = requests.header
        # What the request before was, and what became of it; a register that it read is still in `value`.
        before = Signal(data.StructLayout({"known": 1, "sequence": 8, "status": 8}))
        value = Signal(32)
        status = Signal(8)
        # The next word of memory; bytes of a payload that are done; the word that is taken from one or sent.
        offset = Signal(32)
        done = Signal(range(BLOCK_BYTES + 1))
        word = Signal(64)
        left = Signal(range(WORD_BYTES + 1))
        is_register, is_write, reads = Signal(), Signal(), Signal()
        m.d.comb += [
            requests.byte.eq(self.byte),
            requests.byte_valid.eq(self.byte_valid),
            requests.index.eq(done),
            is_register.eq(request.command.matches(Command.READ_REGISTER, Command.WRITE_REGISTER)),
            is_write.eq(request.command.matches(Command.WRITE_REGISTER, Command.WRITE_MEMORY)),
            reads.eq(~is_write & (request.length != 0) & (status == Status.OK)),
            self.words.p.word.eq(offset[3:]),
            self.words.p.data.eq(word),
            self.answer.p.byte.eq(word[:8]),
            self.answer.p.last.eq((left == 1) & (~reads | (done == request.length))),
        ]
        ended, response = self._access_register(m, request.address, is_write, word[32:])

        with m.FSM() as fsm:
            with m.State("wait"):
                m.d.sync += [offset.eq(request.address - MEMORY_BASE), done.eq(0)]
                with m.If(requests.valid):
                    m.next = "check"
            with m.State("check"):
                m.d.sync += status.eq(self._check(m, request, offset, requests.payload, is_write))
                m.next = "begin"
            with m.State("begin"):
                m.next = "head"
                with m.If(status == Status.OK):
                    with m.If(is_register & before.known & (before.sequence == request.sequence)):
                        m.d.sync += status.eq(before.status)
                    with m.Elif(is_write):
                        m.next = "fetch"
                    with m.Elif(is_register):
                        m.next = "register"

            # ---- writing: bytes of the payload, gathered to words --------------------------------
            with m.State("fetch"):
                m.d.sync += done.eq(done + 1)
                m.next = "take"
            with m.State("take"):
                m.d.sync += word.eq(Cat(word[8:], requests.shown))
                m.next = "fetch"
                with m.If(is_register):
                    with m.If(done == REGISTER_BYTES):
                        m.next = "register"
                with m.Elif(done[:3] == 0):
                    m.next = "store"
            with m.State("store"):
                m.d.comb += [self.words.valid.eq(1), self.words.p.write.eq(1)]
                with m.If(self.words.ready):
                    m.d.sync += offset.eq(offset + WORD_BYTES)
                    m.next = "fetch"
                    with m.If(done == request.length):
                        m.next = "head"
            with m.State("register"):
                with m.If(ended):
                    m.d.sync += status.eq(Mux(response == OKAY, Status.OK, Status.RESPONSE))
                    with m.If(~is_write):
                        m.d.sync += value.eq(self.registers.rdata)
                    m.next = "head"

            # ---- the answer: a header, then words ------------------------------------------------
            with m.State("head"):
                command = request.command | serial.ANSWERED
                m.d.sync += [
                    before.known.eq(request.command != Command.IDENTIFY),
                    before.sequence.eq(request.sequence),
                    before.status.eq(status),
                    word.eq(Cat(command, request.sequence, status, self.interrupt, Const(0, 7))),
                    left.eq(serial.REPLY.size),
                    done.eq(0),
                ]
                m.next = "send"
            with m.State("send"):
                m.d.comb += self.answer.valid.eq(1)
                with m.If(self.answer.ready):
                    m.d.sync += [word.eq(word[8:]), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "find"
                    with m.If(self.answer.p.last):
                        m.d.comb += requests.done.eq(1)
                        m.next = "leave"
            with m.State("find"):
                m.d.sync += [word.eq(value), left.eq(REGISTER_BYTES)]
                m.next = "move"
                with m.If(~is_register):
                    m.d.sync += [word.eq(self._identity(request.address)[done[3:5]]), left.eq(WORD_BYTES)]
                with m.If(request.command == Command.READ_MEMORY):
                    m.d.comb += self.words.valid.eq(1)
                    m.next = "find"
                    with m.If(self.words.ready):
                        m.next = "read"
            with m.State("read"):
                m.d.sync += word.eq(self.words_answer)
                with m.If(self.words_answered):
                    m.next = "move"
            with m.State("move"):
                m.d.sync += [done.eq(done + left), offset.eq(offset + left)]
                m.next = "send"
            with m.State("leave"):  # the reader shows the request for one clock more
                m.next = "wait"
        m.d.comb += self._in_register.eq(fsm.ongoing("register"))
        return m

    def _check(self, m: Module, request, offset, payload, is_write):
        """Return the status of a request that is not done yet; `payload`: bytes that came with it."""
        known, length, address = Signal(init=1), Signal(), Signal(init=1)
        with m.Switch(request.command):
            with m.Case(Command.IDENTIFY):
                m.d.comb += length.eq(request.length == serial.IDENTITY.size)
            with m.Case(Command.STATUS):
                m.d.comb += length.eq(request.length == 0)
            with m.Case(Command.READ_REGISTER, Command.WRITE_REGISTER):
                m.d.comb += [
                    length.eq(request.length == REGISTER_BYTES),
                    address.eq((request.address >> ADDRESS_BITS == 0) & (request.address[:2] == 0)),
                ]
            with m.Case(Command.READ_MEMORY, Command.WRITE_MEMORY):
                words = request.length[3:]
                m.d.comb += [
                    length.eq(
                        (request.length[:3] == 0) & (words != 0) & (words <= BLOCK_BYTES // WORD_BYTES)
                    ),
                    address.eq((offset[:3] == 0) & (offset + request.length <= self._size)),
                ]
            with m.Default():
                m.d.comb += known.eq(0)
        brought = payload == Mux(is_write, request.length, 0)
        return Mux(
            ~known,
            Status.COMMAND,
            Mux(~(length & brought), Status.LENGTH, Mux(~address, Status.ADDRESS, Status.OK)),
        )

    def _identity(self, address) -> Array:
        """Return the words that `IDENTIFY` answers."""
        fields = (serial.MAGIC, serial.VERSION, BLOCK_BYTES, MEMORY_BASE, self._size, self._clock_hz, 0)
        text = serial.IDENTITY.pack(*fields)
        starts = range(0, len(text), WORD_BYTES)
        words = [Const(int.from_bytes(text[at : at + WORD_BYTES], "little"), 64) for at in starts]
        return Array([*words[:-1], Cat(words[-1][:32], address)])

    def _access_register(self, m: Module, address, is_write, value):
        """Drive the register bus while `_in_register` is set; return whether the access ends, and how."""
        bus = self.registers
        self._in_register = active = Signal()
        has_address, has_data = Signal(), Signal()
        ended = Signal()
        m.d.comb += [
            bus.awaddr.eq(address),
            bus.araddr.eq(address),
            bus.wdata.eq(value),
            bus.wstrb.eq(~0),
            bus.awvalid.eq(active & is_write & ~has_address),
            bus.wvalid.eq(active & is_write & ~has_data),
            bus.arvalid.eq(active & ~is_write & ~has_address),
            bus.bready.eq(active & is_write),
            bus.rready.eq(active & ~is_write),
            ended.eq((bus.bvalid & bus.bready) | (bus.rvalid & bus.rready)),
        ]
        with m.If((bus.awvalid & bus.awready) | (bus.arvalid & bus.arready)):
            m.d.sync += has_address.eq(1)
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += has_data.eq(1)
        with m.If(ended):
            m.d.sync += [has_address.eq(0), has_data.eq(0)]
        return ended, Mux(is_write, bus.bresp, bus.rresp)
