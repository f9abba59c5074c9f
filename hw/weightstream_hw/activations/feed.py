"""From the patch buffers to the lanes: a column a round."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from ..compute.products import CENTRE_GROUP
from ..control.descriptor import descriptor_ports
from ..control.groups import ones
from ..control.round import symbol_latency
from .fetch import HALVES, patch_write
from .pool import WORD_BYTES


class Feed(wiring.Component):
    """Patch buffers of all groups and columns, and the walk of the committed columns through them.

    A column is `group` bytes of each position. In slot i of its round, lanes of group g take for column b::

        x[g][b] = byte of half[word * r * s + i % (r * s)] of the patch buffer [g][b]

    The product centre takes ``centre_x[b] = bytes of half[word]`` of the patch buffer [0][b] once a round. A
    half is released when its last column was really read, two rounds behind its commit if lanes multiply.

    Timing
    ------
    Latency: from `commit` in slot 0, `latency` clocks to x of slot 0, which is symbol_latency(machine), so
    that x meets the symbols of the round; `product_latency` clocks to `centre_start`. From `commit` or
    `word_filled`, 2 clocks to `ready`. Up to three rounds from the last `commit` or `end_pass` to `released`:
    until then the fields of the layer must stay.
    Throughput: a column a round, through the ends of chunks and tiles.
    Stall: `ready` is 0 while the word of the next column is not filled. Rounds without `commit` change
    nothing.

    Parameters
    ----------
    machine : Machine
        Groups of lanes, slots, columns, kinds of products, size of a patch buffer.

    Attributes
    ----------
    product_tables, signed_input, group_log2, clone_log2, split_log2, chunk_words, hold
        From the descriptor, static.
    slot : In
        Clock of the round.
    ready : Out(1)
        The next column may be committed; right in slot 2 and later.
    commit : In(1)
        With slot 0: this round's symbols meet the next column.
    advance : In(1)
        With `commit`: for the last time; otherwise the next `commit` is for the same column.
    end_tile : In(1)
        With `commit` and `advance`: it is the last column of the part.
    end_pass : In(1)
        With slot 0 of any round from the last `commit` of a pass on, before the first one of the next: what
        was held is not needed any more.
    patch : In(patch_write)
        What to write.
    word_filled, filled : In(1)
        With the last write of a word, and of the last word of a half.
    released : Out(1)
        Pulse: the oldest half in use is free again.
    x : Out(signed(9)), array of groups x columns
        Activations for lanes that multiply; only there if the machine has such.
    centre_start : Out(1)
        `centre_x` holds the column of a committed round; both are only there if there are product tables.
    centre_x : Out(8), array of columns x 4
        Bytes of the column; those behind its `group` bytes are of no meaning.
    """

    #: Clocks from `commit` to `centre_start`: column, address, buffer, its register, bytes.
    product_latency = 5
    #: Clocks from the column's address to its bytes: address, buffer, its register, bytes.
    _read_latency = 4

    def __init__(self, machine: Machine):
        self.machine = machine
        #: Clocks from `commit` to x of slot 0.
        self.latency = symbol_latency(machine)
        assert self.latency == 2 * machine.slots + self._read_latency
        ports = descriptor_ports(
            "product_tables", "signed_input", "group_log2", "clone_log2", "split_log2", "chunk_words", "hold"
        ) | {
            "slot": In(range(machine.slots)),
            "ready": Out(1),
            "commit": In(1),
            "advance": In(1),
            "end_tile": In(1),
            "end_pass": In(1),
            "patch": In(patch_write(machine)),
            "word_filled": In(1),
            "filled": In(1),
            "released": Out(1),
        }
        if machine.multipliers:
            ports["x"] = Out(signed(9)).array(machine.groups, machine.columns)
        if machine.group:
            ports["centre_start"] = Out(1)
            ports["centre_x"] = Out(8).array(machine.columns, CENTRE_GROUP)
        super().__init__(ports)

    def elaborate(self, platform) -> Module:
        """Return the circuit.

        The walk is done when a column is committed. What it found, the *token* of the round, goes from
        register to register, one a round, until the slots of that round meet their symbols; the product
        centre takes it from the first.
        """
        m = Module()
        mask = ones(self.machine, self.clone_log2 + self.split_log2, m)
        last_slot = Signal()
        m.d.comb += last_slot.eq(self.slot == self.machine.slots - 1)

        committed = self._walk(m, mask)
        token = committed
        if self.machine.multipliers:
            for rounds in range(2):
                later = Signal.like(token, name=f"token_{rounds}", reset_less=False)
                with m.If(last_slot):
                    m.d.sync += later.eq(token)
                token = later
            if self.machine.group:
                chosen = Signal.like(token, name="token")
                m.d.comb += chosen.eq(Mux(self.product_tables, committed.as_value(), token.as_value()))
                token = chosen
        m.d.comb += self.released.eq(last_slot & token.release)

        entry = Signal(token.entry.shape(), reset_less=True)
        half = Signal(reset_less=True)
        byte = token.byte
        m.d.sync += [entry.eq(token.entry | (self.slot & mask)), half.eq(token.half)]
        for clock in range(self._read_latency - 1):
            delayed = Signal(3, name=f"byte_{clock}", reset_less=True)
            m.d.sync += delayed.eq(byte)
            byte = delayed

        words = self._buffers(m, Cat(entry, half))
        if self.machine.multipliers:
            for group, columns in enumerate(words):
                for column, word in enumerate(columns):
                    x = word.word_select(byte, 8)
                    m.d.sync += self.x[group][column].eq(Cat(x, x[7] & self.signed_input).as_signed())
        if self.machine.group:
            start = Signal(self.product_latency - 1)
            m.d.sync += start.eq(Cat((self.slot == 1) & committed.valid, start))
            m.d.comb += self.centre_start.eq(start[-1])
            for column, word in enumerate(words[0]):
                for i in range(CENTRE_GROUP):
                    # A column of 1, 2 or 4 bytes begins at a multiple of that.
                    m.d.sync += self.centre_x[column][i].eq(word.word_select(byte | i, 8))
        return m

    def _walk(self, m: Module, mask: Signal):
        """Add the walk through the committed columns; return the token of the round, valid from slot 1 on."""
        token = Signal(
            data.StructLayout(
                {"valid": 1, "release": 1, "half": 1, "entry": range(self.machine.patch_words), "byte": 3}
            )
        )
        entry, byte, half = Signal.like(token.entry), Signal(3), Signal()
        # Number of the word, from 1 on. It rests for a round, so that its end may be found a clock late.
        word = Signal(range(self.machine.patch_words + 1), init=1)
        word_end = Signal(reset_less=True)
        m.d.sync += word_end.eq(word == self.chunk_words)
        filled = Signal(range(HALVES + 1))

        group = Signal(3)
        byte_end, leave = Signal(), Signal()
        m.d.comb += [
            group.eq(Const(1) << self.group_log2),
            byte_end.eq((byte | (group - 1)[:3]) == WORD_BYTES - 1),
            leave.eq(
                Mux(
                    self.hold,
                    self.end_pass,
                    self.commit & self.advance & (self.end_tile | (byte_end & word_end)),
                )
            ),
        ]
        with m.If(self.slot == 0):
            m.d.sync += [
                token.valid.eq(self.commit),
                token.release.eq(leave),
                token.half.eq(half),
                token.entry.eq(entry),
                token.byte.eq(byte),
            ]
        with m.If(self.commit & self.advance):
            m.d.sync += byte.eq(byte + group)
            with m.If(byte_end):
                m.d.sync += [entry.eq((entry | mask) + 1), word.eq(word + 1)]
            with m.If(leave | self.end_tile):
                m.d.sync += [byte.eq(0), entry.eq(0), word.eq(1)]
        with m.If(leave):
            m.d.sync += half.eq(~half)

        # If there is no half that is filled, the next column is in the one that is being filled.
        arrived = Signal.like(word, init=0)
        m.d.sync += [
            filled.eq(filled + self.filled - leave),
            arrived.eq(Mux(self.filled, 0, arrived + self.word_filled)),
            self.ready.eq((filled != 0) | (arrived >= word)),
        ]
        return token

    def _buffers(self, m: Module, address) -> list[list[Signal]]:
        """Add the patch buffers; return what stands at an address, for each group and column, 2 clocks later.

        Groups without multipliers all take the same product tables: one of them has a buffer.
        """
        words = []
        for group in range(self.machine.groups if self.machine.multipliers else 1):
            write = Signal.like(self.patch, name=f"write{group}", reset_less=True)
            m.d.sync += write.eq(self.patch)
            words.append([])
            for column in range(self.machine.columns):
                m.submodules[f"patch{group}_{column}"] = cells = memory.Memory(
                    shape=8 * WORD_BYTES,
                    depth=HALVES * self.machine.patch_words,
                    init=[],
                    attrs={"ram_style": "block"},
                )
                into, out = cells.write_port(), cells.read_port()
                word = Signal(8 * WORD_BYTES, name=f"word{group}_{column}", reset_less=True)
                m.d.comb += [
                    into.addr.eq(Cat(write.entry, write.half)),
                    into.data.eq(write.data),
                    into.en.eq(write.valid & write.groups[group] & (write.column == column)),
                    out.addr.eq(address),
                ]
                m.d.sync += word.eq(out.data)
                words[-1].append(word)
        return words
