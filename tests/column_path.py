"""From the activation memory to the lanes: layers, and the blocks between, connected."""

from dataclasses import dataclass, field

import numpy as np
from amaranth import Cat, Elaboratable, Module, ResetInserter, Signal

from weightstream.spec.machine import Machine
from weightstream_hw.activations.feed import Feed
from weightstream_hw.activations.fetch import ColumnFetch
from weightstream_hw.activations.pool import Pool


@dataclass(frozen=True)
class Layer:
    """A layer as the activation path sees it; r, s, m and t as in the layout of streams."""

    machine: Machine
    columns: int
    batch: int
    r: int = 1
    s: int = 1
    m: int = 1
    t: int = 1
    group: int = 1
    passes: int = 1
    tiles: int = 2
    products: bool = False
    signed: bool = False
    hold: bool = False
    chunk_words: int = 0
    part_bytes: int = field(init=False)

    def __post_init__(self):
        groups = -(-self.columns // self.group)
        object.__setattr__(self, "part_bytes", self.group * -(-groups // (self.s * self.t)))

    @property
    def positions(self) -> int:
        return self.r * self.m * self.machine.columns

    @property
    def pitch(self) -> int:
        return -(-self.columns // 8) * 8 + 8

    @property
    def descriptor(self) -> dict[str, int]:
        chunk = self.chunk_words or self.machine.patch_words // (self.r * self.s)
        assert not self.hold or -(-self.part_bytes // 8) <= chunk
        return {
            "product_tables": self.products,
            "signed_input": self.signed,
            "group_log2": self.group.bit_length() - 1,
            "hold": self.hold,
            "clone_log2": self.r.bit_length() - 1,
            "split_log2": self.s.bit_length() - 1,
            "split_groups": self.t > 1,
            "row_groups": self.machine.groups // (self.m * self.t),
            "tiles": self.tiles,
            "input_base": 40,
            "input_pitch": self.pitch,
            "input_bytes": self.columns,
            "part_bytes": self.part_bytes,
            "part_words": -(-self.part_bytes // 8),
            "chunk_words": chunk,
        }

    def memory(self, rng) -> np.ndarray:
        """Return random bytes for the whole pool: what is no input must not matter."""
        assert 40 + self.batch * self.pitch <= self.machine.pool_bytes
        return rng.integers(0, 256, self.machine.pool_bytes)

    def byte(self, memory, item: int, part: int, at: int) -> int:
        """Return byte number `at` of a part of an item."""
        k = part * self.part_bytes + at
        return int(memory[40 + item * self.pitch + k]) if item < self.batch and k < self.columns else 0

    def column(self, memory, first: int, group: int, column: int, slot: int, at: int) -> int:
        """Return the byte that slot `slot` of a lane in group `group` needs."""
        copy = group // (self.machine.groups // (self.m * self.t))
        part, clone = divmod(slot % (self.r * self.s), self.r)
        if self.t > 1:
            part, copy = part + copy * self.s, 0
        return self.byte(memory, first + (copy * self.r + clone) * self.machine.columns + column, part, at)


class Path(Elaboratable):
    """Pool, fetch and feed, connected."""

    def __init__(self, machine: Machine):
        self.pool, self.fetch, self.feed = Pool(machine), ColumnFetch(machine), Feed(machine)
        self.reset = Signal()
        self.machine = machine
        self.x = Signal(9 * machine.groups * machine.columns)
        self.centre = Signal(32 * machine.columns)

    def elaborate(self, platform):
        m = Module()
        m.submodules.pool = self.pool
        m.submodules.fetch = ResetInserter(self.reset)(self.fetch)
        m.submodules.feed = ResetInserter(self.reset)(self.feed)
        m.d.comb += [
            self.pool.fetch.eq(self.fetch.read),
            self.fetch.data.eq(self.pool.data),
            self.feed.patch.eq(self.fetch.patch),
            self.feed.word_filled.eq(self.fetch.word_filled),
            self.feed.filled.eq(self.fetch.filled),
            self.fetch.released.eq(self.feed.released),
        ]
        if self.machine.multipliers:
            m.d.comb += self.x.eq(Cat(Cat(*group) for group in self.feed.x))
        if self.machine.group:
            m.d.comb += self.centre.eq(Cat(Cat(*column) for column in self.feed.centre_x))
        return m

    def set_layer(self, ctx, layer: Layer):
        for name, value in layer.descriptor.items():
            for block in (self.fetch, self.feed):
                if hasattr(block, name):
                    ctx.set(getattr(block, name), int(value))
        ctx.set(self.fetch.batch, layer.batch)

    async def fill_pool(self, ctx, memory):
        for word in range(len(memory) // 8):
            value = int.from_bytes(bytes(memory[8 * word : 8 * word + 8].tolist()), "little")
            ctx.set(self.pool.write, {"valid": 1, "address": word, "data": value, "mask": 255})
            await ctx.tick()
        ctx.set(self.pool.write.valid, 0)
        await ctx.tick()
