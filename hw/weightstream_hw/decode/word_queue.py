"""The words of one lane, in the order in which its slots take them."""

# Ref: Giesen, "Interleaved entropy coders", 2014
# Id: arXiv:1402.3392
# Differs: 16-bit words taken in slot order after each symbol; past its end a queue reads as zeros

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import WORD_BITS
from weightstream.spec.machine import Machine

#: A word that arrives. `last`: it is the marker behind the words of a segment; its data are 0. `final`: it is
#: the last one of these words, the marker comes next.
WORD_WRITE = data.StructLayout({"valid": 1, "data": WORD_BITS, "last": 1, "final": 1})

_ENTRY = data.StructLayout({"data": WORD_BITS, "last": 1, "final": 1})
#: The queue is `ok` from so many rounds' worth of words on, in units of 2 * slots words.
_ENOUGH = 4


class WordQueue(wiring.Component):
    """Hand out the words of a lane, one at a time.

    A segment is what one pass takes: its stored words, and behind them a marker, a word of zeros. The output
    latch of a block memory holds the next word. While it holds a marker the queue does not advance: past its
    end a segment reads as zeros. `prime` loads the first word of the next segment.

    After a reset the latch counts as a marker: the first segment, too, begins with `prime`; but then nothing
    may be popped before.

    Timing
    ------
    Latency: a word that arrives is in memory 2 clocks later; `ok` and `ready` follow what is in memory and in
        the latch by at most 2 clocks.
    Throughput: 1 word in and 1 out a clock.
    Stall: none; the writer leaves room for what it sends, and a round begins only if the queue is `ok`.

    Parameters
    ----------
    machine : Machine
        What is built; of the ``machine.queue_words`` places, at most all but one may be taken.

    Attributes
    ----------
    words : In(WORD_WRITE)
        Words as they arrive.
    pop : In(1)
        Go on to the next word of the segment. Not in the clock behind `prime`.
    prime : In(1)
        Go on to the next segment. Its first word, or its marker, must have arrived.
    word : Out(16)
        The next word.
    taken : Out(log2(queue_words))
        Words that left the memory so far, markers included.
    fresh : Out(1)
        No segment has begun since the reset.
    at_end : Out(1)
        The latch holds a marker, 1 clock later.
    ok : Out(1)
        No word of the segment will be missing for a while: the memory holds more than 6 * slots words, or its
        end. With 8 * slots words it is surely `ok`.
    ready : Out(1)
        `prime` may be given: this segment is at its end, and of the next one there are as many words.

    Golden: weightstream.golden.decode.word_queue
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        super().__init__(
            {
                "words": In(WORD_WRITE),
                "pop": In(1),
                "prime": In(1),
                "word": Out(WORD_BITS),
                "taken": Out((machine.queue_words - 1).bit_length()),
                "fresh": Out(1, init=1),
                "at_end": Out(1, init=1),
                "ready": Out(1),
                "ok": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        address_bits = len(self.taken)
        cells = memory.Memory(
            shape=_ENTRY, depth=self.machine.queue_words, init=[], attrs={"ram_style": "block"}
        )
        m.submodules.cells = cells
        put, get = cells.write_port(), cells.read_port()

        # One bit more than an address, so that full and empty differ.
        written = Signal(address_bits + 1)
        read = Signal(address_bits + 1)
        arriving = Signal(WORD_WRITE)
        m.d.sync += arriving.eq(self.words)
        with m.If(arriving.valid):
            m.d.sync += written.eq(written + 1)
        m.d.comb += [
            put.en.eq(arriving.valid),
            put.addr.eq(written),
            put.data.data.eq(arriving.data),
            put.data.last.eq(arriving.last),
            put.data.final.eq(arriving.final),
        ]

        # Whether the latch holds a marker; one clock late behind `prime`. The latch is slow, there must not
        # be much behind it: whether a pop brings a marker, the word before has said.
        at_marker = Signal()
        popped, advance = Signal(), Signal()
        m.d.sync += at_marker.eq(Mux(popped, get.data.final, get.data.last))
        m.d.comb += [
            popped.eq(self.pop & ~at_marker),
            advance.eq(popped | self.prime),
            get.en.eq(advance),
            get.addr.eq(read),
            self.word.eq(get.data.data),
            self.taken.eq(read),
        ]
        with m.If(advance):
            m.d.sync += [read.eq(read + 1), self.fresh.eq(0)]

        # The place behind the last marker that arrived: until it is reached, no word is missing.
        behind = Signal(address_bits, reset_less=True)
        complete = Signal()
        with m.If(self.taken == behind):
            m.d.sync += complete.eq(0)
        with m.If(arriving.valid & arriving.last):
            m.d.sync += [behind.eq(written + 1), complete.eq(1)]

        unit = (2 * self.machine.slots).bit_length() - 1
        words = Signal(address_bits + 1 - unit)
        enough = Signal()
        m.d.comb += [
            words.eq(written[unit:] - read[unit:]),
            enough.eq((words >= _ENOUGH) | complete),
        ]
        # `complete` is as late as this register.
        m.d.sync += [
            self.at_end.eq(get.data.last | self.fresh),
            self.ok.eq(enough | self.at_end),
            self.ready.eq(enough & self.at_end),
        ]
        return m
