"""The configuration of a layer: tables, maps and parameters, word by word."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.image import (
    CONFIG_ADDRESS_LSB,
    CONFIG_COARSE,
    CONFIG_COLUMN_FIELD,
    CONFIG_COLUMNS,
    CONFIG_CONTEXTS,
    CONFIG_FINE,
    CONFIG_KEY_CLASS,
    CONFIG_KIND_LSB,
    CONFIG_NEIGHBOUR,
    CONFIG_NONE,
    CONFIG_PALETTE,
    CONTEXTS_A_WORD,
)

from .config_write import CONFIG_WRITE

#: A configuration word, as `weightstream.spec.image.config_word` packs it.
CONFIG_WORD = data.StructLayout(
    {
        "data": CONFIG_ADDRESS_LSB,
        "address": CONFIG_KIND_LSB - CONFIG_ADDRESS_LSB,
        "kind": 64 - CONFIG_KIND_LSB,
    }
)

#: What is enabled by words of which kind.
_ENABLES = {
    CONFIG_COARSE: "coarse",
    CONFIG_FINE: "fine",
    CONFIG_CONTEXTS: "context",
    CONFIG_NEIGHBOUR: "neighbour",
    CONFIG_COLUMNS: "columns",
    CONFIG_COLUMN_FIELD: "column_field",
    CONFIG_PALETTE: "palette",
    CONFIG_KEY_CLASS: "key_class",
}

#: Bits of a table number in a word of contexts.
_TABLE_BITS = CONFIG_ADDRESS_LSB // CONTEXTS_A_WORD


class ConfigurationLoader(wiring.Component):
    """Turn configuration words into writes.

    A word is one write; a word of contexts is eight, of the table numbers of eight contexts from its address
    on, one a clock. Words of kind 0 do nothing.

    Timing
    ------
    Latency: 1 clock from a word to its (first) write.
    Throughput: a write a clock.
    Stall: waits for words; writes cannot be held back.

    Errors
    ------
    A word of an unknown kind is skipped, and `error` is set for one clock.

    Attributes
    ----------
    start : In(1)
        Begin; looked at while `busy` is 0.
    count : In(20)
        Words to read; looked at with `start`.
    words : In(stream)
        The program: exactly `count` words are taken.
    write : Out(CONFIG_WRITE)
        The write of this clock, if any.
    busy : Out(1)
        Words are expected.
    done : Out(1)
        For one clock, with the last write; without words, in the clock after `start`.
    error : Out(1)
        For one clock: there was a word of an unknown kind.
    """

    #: Clocks from a word to its write.
    latency = 1

    def __init__(self):
        super().__init__(
            {
                "start": In(1),
                "count": In(20),
                "words": In(stream.Signature(64)),
                "write": Out(CONFIG_WRITE),
                "busy": Out(1),
                "done": Out(1),
                "error": Out(1),
            }
        )

    def cycles(self, kinds: list[int]) -> int:
        """Return the clocks from `start` to `done`, if words of these kinds are there at once."""
        return 1 + sum(CONTEXTS_A_WORD if kind == CONFIG_CONTEXTS else 1 for kind in kinds)

    def elaborate(self, platform):
        m = Module()
        word = data.View(CONFIG_WORD, self.words.payload)
        left = Signal(20)
        # Which of the contexts of a word is written; the word waits until the last one is.
        index = Signal(range(CONTEXTS_A_WORD))
        contexts = Signal()
        m.d.comb += [
            contexts.eq(word.kind == CONFIG_CONTEXTS),
            self.words.ready.eq(self.busy & (~contexts | (index == CONTEXTS_A_WORD - 1))),
        ]

        address = Signal(CONFIG_WRITE["address"].shape, reset_less=True)
        value = Signal(CONFIG_WRITE["data"].shape, reset_less=True)
        enables = {name: Signal(name=name) for name in _ENABLES.values()}
        m.d.comb += [
            *(self.write[name].eq(enable) for name, enable in enables.items()),
            self.write.address.eq(address),
            self.write.data.eq(value),
        ]
        m.d.sync += [enable.eq(0) for enable in enables.values()]
        m.d.sync += [self.done.eq(0), self.error.eq(0)]
        with m.If(self.busy & self.words.valid):
            with m.Switch(word.kind):
                for kind, name in _ENABLES.items():
                    with m.Case(kind):
                        m.d.sync += enables[name].eq(1)
                with m.Case(CONFIG_NONE):
                    pass
                with m.Default():
                    m.d.sync += self.error.eq(1)
            m.d.sync += [address.eq(word.address), value.eq(word.data)]
            with m.If(contexts):
                m.d.sync += [
                    index.eq(index + 1),
                    address.eq(word.address + index),
                    value.eq(word.data.word_select(index, _TABLE_BITS)),
                ]
            with m.If(self.words.ready):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    m.d.sync += [self.busy.eq(0), self.done.eq(1)]
        with m.If(self.start & ~self.busy):
            m.d.sync += [
                left.eq(self.count),
                self.busy.eq(self.count != 0),
                self.done.eq(self.count == 0),
            ]
        return m
