"""From the activation memory to the patch buffers."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from ..control.descriptor import descriptor_ports
from ..control.groups import copies_of, ones
from ..delay import delayed
from .pool import WORD_BYTES, Pool, pool_read
from .positions import POSITION_FIELDS, PositionTable

#: Halves of a patch buffer: one is filled while the other one is read.
HALVES = 2


def patch_write(machine: Machine) -> data.StructLayout:
    """Return the layout of a write to patch buffers: of which groups, column and half, entry, its bytes."""
    return data.StructLayout(
        {
            "valid": 1,
            "groups": machine.groups,
            "column": range(max(machine.columns, 2)),
            "half": 1,
            "entry": range(machine.patch_words),
            "data": 8 * WORD_BYTES,
        }
    )


class ColumnFetch(wiring.Component):
    """Bring the columns of a layer into the patch buffers, chunk by chunk, ahead of the lanes.

    ::

        for pass: fill the position table
            for tile (once if hold):
                for chunk of the part: wait for a half of the patch buffers
                    for word of the chunk:
                        for position: half[word * r * s + slot] = pool[address + 8 * word], 0 behind the item

    A chunk is `chunk_words` words, the last one of a part may be shorter.

    Timing
    ------
    Latency: `latency` clocks from the first read of a chunk to its first patch write.
    Throughput: a word a clock, and a clock between chunks; a pass takes `cycles`.
    Stall: before a chunk, until a half is free. A pass may be offered at any time; it is begun when the last
    read of the pass before was made, its first chunk goes to the other half. `Core` offers a pass when its
    rounds begin, not before: what it reads, the layer before has written by then.

    Parameters
    ----------
    machine : Machine
        Groups of lanes, slots, columns, sizes of the memories.

    Attributes
    ----------
    input_base, input_pitch, input_bytes, part_bytes, clone_log2, split_log2, split_groups, row_groups
        From the descriptor, static: see `PositionTable`.
    tiles, part_words, chunk_words, hold
        From the descriptor, static.
    batch : In(16)
        Items there are.
    pass_start : In(stream)
        See `PositionTable`.
    read : Out(pool_read)
        To the pool, served at once.
    data : In(64)
        Its answer, `Pool.latency` clocks later.
    patch : Out(patch_write)
        To the patch buffers.
    word_filled : Out(1)
        With the last write of a word: that of the last position.
    filled : Out(1)
        With the last write of a chunk.
    released : In(1)
        Pulse: the half that was filled first, of those in use, is free again.
    """

    #: Clocks from the choice of a position to its patch write: table, address, pool, mask.
    latency = 2 + Pool.latency + 1

    def __init__(self, machine: Machine):
        self.machine = machine
        self._table = PositionTable(machine)
        super().__init__(
            descriptor_ports(*POSITION_FIELDS, "tiles", "part_words", "chunk_words", "hold")
            | {
                "batch": In(16),
                "pass_start": In(stream.Signature(17)),
                "read": Out(pool_read(machine)),
                "data": In(8 * WORD_BYTES),
                "patch": Out(patch_write(machine)),
                "word_filled": Out(1),
                "filled": Out(1),
                "released": In(1),
            }
        )

    def cycles(self, positions: int, part_words: int, chunk_words: int, tiles: int = 1) -> int:
        """Return the clocks from the one in which `pass_start` is taken to the last patch write."""
        chunks = -(-part_words // chunk_words)
        return self._table.cycles(positions) + tiles * (positions * part_words + chunks) + self.latency - 1

    def elaborate(self, platform) -> Module:
        """Return the circuit."""
        m = Module()
        m.submodules.table = table = self._table
        m.d.comb += [getattr(table, name).eq(getattr(self, name)) for name in POSITION_FIELDS]
        m.d.comb += [
            table.batch.eq(self.batch),
            table.pass_start.valid.eq(self.pass_start.valid),
            table.pass_start.payload.eq(self.pass_start.payload),
            self.pass_start.ready.eq(table.pass_start.ready),
        ]
        self._pipeline(m, *self._loops(m))
        return m

    def _loops(self, m: Module):
        """Add the loops; return what they say about the read that is made in this clock.

        Words are counted twice, down to the end of the chunk and of the part. Whether a counter has come to
        its end is found out when it changes, so that the loops only look at registers.
        """
        table = self._table
        running, half = Signal(), Signal()
        free = Signal(range(HALVES + 1), init=HALVES)
        take = Signal()
        m.d.sync += free.eq(free - take + self.released)

        end_position = Signal()
        m.d.comb += end_position.eq(table.index == table.last)

        # Loops over the lines and taps of a kernel would stand between this loop and that over the chunks.
        offset = Signal(self.machine.pool_address_bits, reset_less=True)
        entry = Signal(self.machine.patch_words.bit_length() - 1, reset_less=True)
        mask = ones(self.machine, self.clone_log2 + self.split_log2, m)

        chunk_left, chunk_end = self._counter(self.chunk_words)
        part_left, part_end = self._counter(self.part_words)
        tiles_left, tiles_end = self._counter(self.tiles)
        word, chunk = Signal(), Signal()
        m.d.comb += [word.eq(running & end_position), chunk.eq(word & (chunk_end | part_end))]

        def load(left, end, start):
            return [left.eq(start), end.eq(start == 1)]

        def step(left, end):
            return [left.eq(left - 1), end.eq(left == 2)]

        with m.If(running):
            m.d.sync += table.index.eq(table.index + 1)
            with m.If(end_position):
                m.d.sync += [
                    table.index.eq(0),
                    offset.eq(offset + WORD_BYTES),
                    entry.eq((entry | mask) + 1),
                    *step(chunk_left, chunk_end),
                    *step(part_left, part_end),
                ]
            with m.If(chunk):
                m.d.sync += [
                    running.eq(0),
                    half.eq(~half),
                    entry.eq(0),
                    *load(chunk_left, chunk_end, self.chunk_words),
                ]
                with m.If(part_end):
                    m.d.sync += [
                        offset.eq(0),
                        *load(part_left, part_end, self.part_words),
                        *step(tiles_left, tiles_end),
                    ]
                    m.d.comb += table.release.eq(tiles_end | self.hold)
        with m.Elif(~table.ready):
            m.d.sync += [
                table.index.eq(0),
                offset.eq(0),
                entry.eq(0),
                *load(chunk_left, chunk_end, self.chunk_words),
                *load(part_left, part_end, self.part_words),
                *load(tiles_left, tiles_end, self.tiles),
            ]
        with m.Elif(free != 0):
            m.d.comb += take.eq(1)
            m.d.sync += running.eq(1)
        return running, word, chunk, half, offset, entry

    @staticmethod
    def _counter(start) -> tuple[Signal, Signal]:
        name = start.name
        return (
            Signal(len(start), name=f"{name}_left", reset_less=True),
            Signal(name=f"{name}_end", reset_less=True),
        )

    def _pipeline(self, m: Module, running, word, chunk, half, offset, entry) -> None:
        """Add what follows the loops: address, pool, mask, write."""
        _, copies = copies_of(self.machine, self.row_groups, m)

        # 1: the position, and beside it the word.
        position = self._table.position
        offset_1 = delayed(m, offset, 1, "offset")
        entry_1, half_1 = delayed(m, entry, 1, "entry"), delayed(m, half, 1, "half")

        # 2: the read, and the bytes left for it.
        left = Signal(position.left.shape(), reset_less=True)
        m.d.sync += [
            self.read.address.eq(position.address + offset_1),
            left.eq(Mux(position.valid, position.left - offset_1, 0)),
        ]
        m.d.comb += self.read.valid.eq(delayed(m, running, 2, "running", reset_less=False))
        write_2 = Signal.like(self.patch, name="write_2", reset_less=True)
        m.d.sync += [
            write_2.groups.eq(Cat(position.copy == copy for copy in copies)),
            write_2.column.eq(position.column),
            write_2.half.eq(half_1),
            write_2.entry.eq(entry_1 | position.slot),
        ]

        # 3: which bytes are the item's.
        mask = Signal(WORD_BYTES, reset_less=True)
        some, word_full = Signal(), Signal()
        m.d.comb += [some.eq(~left[-1]), word_full.eq(left[3:-1].any())]
        m.d.sync += mask.eq(Cat(some & (word_full | (left[:3] > byte)) for byte in range(WORD_BYTES)))

        # Beside the pool, then the write.
        beside = Pool.latency
        mask = delayed(m, mask, beside - 1, "mask")
        where = Cat(write_2.groups, write_2.column, write_2.half, write_2.entry)
        m.d.sync += [
            self.patch.data.eq(self.data & Cat(bit.replicate(8) for bit in mask)),
            Cat(self.patch.groups, self.patch.column, self.patch.half, self.patch.entry).eq(
                delayed(m, where, beside, "where")
            ),
        ]
        m.d.comb += [
            self.patch.valid.eq(delayed(m, self.read.valid, beside + 1, "valid", reset_less=False)),
            self.word_filled.eq(delayed(m, word, self.latency, "word", reset_less=False)),
            self.filled.eq(delayed(m, chunk, self.latency, "chunk", reset_less=False)),
        ]
