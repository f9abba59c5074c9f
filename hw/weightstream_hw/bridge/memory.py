"""Memory of an accelerator in block RAM: an AXI slave with a side entrance."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine
from weightstream.spec.serial import MEMORY_BASE, WORD_BYTES

from ..bus.axi import OKAY, PAGE_BYTES, AxiRead, AxiWrite

#: Response to an address that there is no memory at.
DECERR = 3


class BlockMemory(wiring.Component):
    """Answer an accelerator's bursts from block RAM; a second user reads and writes single words.

    The memory has one port for reading and one for writing. On each, the second user goes first: it asks
    rarely. What is read at an address in the clock in which it is written is undefined.

    Timing
    ------
    Latency: 3 clocks from the address of a burst to its first beat; 1 clock from the last beat of a burst to
    its response. The second user: 1 clock to the answer, more while beats wait to be taken.
    Throughput: a beat a clock; 1 clock is lost between bursts, 1 for each word of the second user.
    Stall: a burst that is read waits with its beats; one burst in each direction is under way.

    Parameters
    ----------
    machine : Machine
        Whose memory it is; its bus has 64 bits.
    size : int
        Bytes, a multiple of 4096.

    Attributes
    ----------
    reads : In(AxiRead)
        Bursts of whole words, of ascending addresses. Beats outside of the memory are answered with DECERR.
    writes : In(AxiWrite)
        The same; strobes are kept, and nothing is written outside of the memory.
    request : In(stream)
        The second user: number of a word, counted from the start of the memory; `data`, if it is a `write`.
    answer : Out(64)
        What it read.
    answered : Out(1)
        It is there, for one clock.
    """

    def __init__(self, machine: Machine, size: int):
        if machine.bus_bits != 8 * WORD_BYTES:
            raise ValueError(f"bus_bits must be {8 * WORD_BYTES}, not {machine.bus_bits}")
        if size < PAGE_BYTES or size % PAGE_BYTES:
            raise ValueError(f"size must be a multiple of {PAGE_BYTES}, not {size}")
        if MEMORY_BASE + size > 1 << machine.address_bits:
            raise ValueError(f"size must leave the memory below 2^{machine.address_bits}, not be {size}")
        self.machine = machine
        self.size = size
        self.words = size // WORD_BYTES
        #: What the second user asks for.
        self.asked = data.StructLayout({"write": 1, "word": range(self.words), "data": 64})
        super().__init__(
            {
                "reads": In(AxiRead(machine.address_bits, machine.bus_bits)),
                "writes": In(AxiWrite(machine.address_bits, machine.bus_bits)),
                "request": In(stream.Signature(self.asked)),
                "answer": Out(64),
                "answered": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        # A memory a byte: each is as wide as a block RAM that is written byte by byte.
        readers, writers = [], []
        for byte in range(WORD_BYTES):
            m.submodules[f"byte_{byte}"] = memory = Memory(shape=8, depth=self.words, init=[])
            readers.append(memory.read_port())
            writers.append(memory.write_port())
        self._read(m, readers)
        self._write(m, writers)
        m.d.comb += self.request.ready.eq(
            Mux(self.request.p.write, self.request.valid, self._read_free & self.request.valid)
        )
        return m

    def _word(self, address):
        """Return the number of the word at an address; below the memory it is far beyond its end."""
        return (address[3:] - MEMORY_BASE // WORD_BYTES)[: self.machine.address_bits - 3]

    def _read(self, m: Module, ports) -> None:
        bus = self.reads
        # A word is looked up (1), is there (2), is offered (3); all move on together.
        self._read_free = moves = Signal()
        active = Signal()
        word = Signal(self.machine.address_bits - 3, reset_less=True)
        left = Signal(8, reset_less=True)
        other, beat = Signal(), Signal()
        found = data.StructLayout({"other": 1, "beat": 1, "last": 1, "outside": 1})
        second = Signal(found)
        m.d.comb += [
            moves.eq(~bus.rvalid | bus.rready),
            other.eq(moves & self.request.valid & ~self.request.p.write),
            beat.eq(moves & active & ~other),
            bus.arready.eq(~active),
            self.answer.eq(Cat(port.data for port in ports)),
            self.answered.eq(moves & second.other),
        ]
        for port in ports:
            m.d.comb += [
                port.addr.eq(Mux(other, self.request.p.word, word)),
                port.en.eq(other | beat),
            ]
        with m.If(~active):
            m.d.sync += [active.eq(bus.arvalid), word.eq(self._word(bus.araddr)), left.eq(bus.arlen)]
        with m.Elif(beat):
            m.d.sync += [active.eq(left != 0), word.eq(word + 1), left.eq(left - 1)]
        with m.If(moves):
            m.d.sync += [
                second.other.eq(other),
                second.beat.eq(beat),
                second.last.eq(left == 0),
                second.outside.eq(word >= self.words),
                bus.rvalid.eq(second.beat),
                bus.rdata.eq(self.answer),
                bus.rlast.eq(second.last),
                bus.rresp.eq(Mux(second.outside, DECERR, OKAY)),
            ]

    def _write(self, m: Module, ports) -> None:
        bus = self.writes
        active = Signal()
        outside = Signal()
        word = Signal(self.machine.address_bits - 3, reset_less=True)
        other, beat = Signal(), Signal()
        m.d.comb += [
            other.eq(self.request.valid & self.request.p.write),
            bus.awready.eq(~active & ~bus.bvalid),
            bus.wready.eq(active & ~other),
            beat.eq(bus.wready & bus.wvalid),
        ]
        for byte, port in enumerate(ports):
            m.d.comb += [
                port.addr.eq(Mux(other, self.request.p.word, word)),
                port.data.eq(Mux(other, self.request.p.data, bus.wdata).word_select(byte, 8)),
                port.en.eq(other | (beat & (word < self.words) & bus.wstrb[byte])),
            ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(~active):
            with m.If(bus.awvalid & bus.awready):
                m.d.sync += [active.eq(1), outside.eq(0), word.eq(self._word(bus.awaddr))]
        with m.Elif(beat):
            missed = outside | (word >= self.words)
            m.d.sync += [word.eq(word + 1), outside.eq(missed)]
            with m.If(bus.wlast):
                m.d.sync += [active.eq(0), bus.bvalid.eq(1), bus.bresp.eq(Mux(missed, DECERR, OKAY))]
