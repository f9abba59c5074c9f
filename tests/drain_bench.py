"""The drains of all groups of lanes with what is around them, and layers for them to drain."""

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Module, ResetInserter, Signal

from simulation import simulate
from weightstream.golden.compute.requantise import requantise
from weightstream.golden.compute.thresholds import thresholds
from weightstream.ir.network import Requantise, Thresholds
from weightstream.spec.image import RECORD, ROUNDINGS, SHIFT_LSB, THRESHOLD_RECORD
from weightstream.spec.layout import Sharing, StreamPlan
from weightstream.spec.machine import Machine
from weightstream_hw.compute.drain import GroupDrain
from weightstream_hw.compute.output import OutputWriter
from weightstream_hw.compute.parts import PartSum


@dataclass
class Layer:
    """A layer's outputs: sums as they stand in the shadow copies, and what is to become of them."""

    machine: Machine
    rows: int
    sharing: Sharing = Sharing()
    batch: int = 3
    rounding: str = "even"
    threshold_count: int | None = None
    signed: bool = False
    base: int = 64
    pitch: int = 0
    seed: int = 0

    def __post_init__(self):
        rng = self.rng = np.random.default_rng(self.seed)
        x, machine = self.sharing, self.machine
        self.plan = StreamPlan(self.rows, x.parts, machine.layout, x)
        self.row_groups = self.plan.row_lanes // machine.group_lanes
        self.positions = x.clone_slots * x.clone_groups * machine.columns
        self.pitch = self.pitch or -(-self.rows // 8) * 8 + 8
        self.sums = rng.integers(-(1 << 30), 1 << 30, (self.batch, self.rows)).astype(np.int32)
        if self.threshold_count is not None:
            values = np.sort(rng.choice(self.sums.reshape(-1), (self.rows, self.threshold_count)), axis=1)
            self.activation = Thresholds(values=values, base=-3, step=int(rng.choice([-1, 1])))
            self.outputs = thresholds(self.sums, self.activation)
        else:
            bits = rng.integers(1, 25, self.rows)
            multiplier = rng.integers(1 << bits - 1, 1 << bits).astype(np.int32)
            low, high = (-128, 127) if self.signed else (0, 255)
            self.activation = Requantise(
                bias=rng.integers(-(1 << 30), 1 << 30, self.rows).astype(np.int32),
                multiplier=multiplier,
                # Most outputs are not clipped.
                shift=np.minimum(bits + 24, 47).astype(np.uint8),
                zero_point=int(rng.integers(low, high + 1)),
                low=low + 1,
                high=high - 1,
                rounding=self.rounding,
            )
            self.outputs = requantise(self.sums, self.activation)

    def descriptor(self) -> dict[str, int]:
        x, activation = self.sharing, self.activation
        fields = {
            "clone_log2": x.clone_slots.bit_length() - 1,
            "split_log2": x.split_slots.bit_length() - 1,
            "split_groups": int(x.split_groups > 1),
            "row_groups": self.row_groups,
            "rows": self.rows,
            "row_lanes": self.plan.row_lanes,
            "use_thresholds": int(self.threshold_count is not None),
            "output_base": self.base,
            "output_pitch": self.pitch,
        }
        if self.threshold_count is not None:
            own = {"zero_point": activation.base, "step": activation.step}
            return fields | own | {"threshold_count": self.threshold_count, "low": 99, "high": -99}
        rounding = ROUNDINGS.index(self.rounding)
        own = {"zero_point": activation.zero_point, "low": activation.low, "high": activation.high}
        return fields | own | {"rounding": rounding}

    def record(self, row: int) -> list[int]:
        """Return the 64-bit words of a row's record."""
        a = self.activation
        if self.threshold_count is not None:
            values = [int(v) for v in a.values[row]] + [0] * (16 - self.threshold_count)
            packed = THRESHOLD_RECORD.pack(*values)
        else:
            packed = RECORD.pack(int(a.bias[row]), int(a.multiplier[row]) | int(a.shift[row]) << SHIFT_LSB)
        return np.frombuffer(packed, "<u8").tolist()

    def shadow(self, tile: int, item: int) -> np.ndarray:
        """Return what is in the shadow copies, (groups, lanes of a group, slots, columns)."""
        machine, x = self.machine, self.sharing
        shape = (machine.groups, machine.group_lanes, machine.slots, machine.columns)
        shadow = self.rng.integers(-(1 << 31), 1 << 31, shape)
        for u in range(min(self.plan.tile_rows, self.rows - tile * self.plan.tile_rows)):
            row = tile * self.plan.tile_rows + u
            slot_group, row_lane = divmod(u, self.plan.row_lanes)
            for position in range(min(self.positions, self.batch - item)):
                clones, column = divmod(position, machine.columns)
                copy, clone = divmod(clones, x.clone_slots)
                parts = self.rng.integers(-(1 << 31), 1 << 31, x.parts)
                parts[0] += int(self.sums[item + position, row]) - parts.sum()
                for part in range(x.parts):
                    part_group, slot_part = divmod(part, x.split_slots)
                    slot = (slot_group * x.split_slots + slot_part) * x.clone_slots + clone
                    lane = (copy + part_group) * self.plan.row_lanes + row_lane
                    group, lane = divmod(lane, machine.group_lanes)
                    shadow[group, lane, slot, column] = parts[part]
        return (shadow + (1 << 31)) % (1 << 32) - (1 << 31)

    def expected(self) -> dict[int, int]:
        """Return what is written: byte by address."""
        return {
            self.base + item * self.pitch + row: int(self.outputs[item, row]) & 0xFF
            for item in range(self.batch)
            for row in range(self.rows)
        }


class Bench:
    """The drains of a machine, with what is around them."""

    def __init__(self, machine: Machine, dsp: str = "generic"):
        self.machine = machine
        m = self.module = Module()
        self.drains = [GroupDrain(machine, group, dsp=dsp) for group in range(machine.groups)]
        self.writer = OutputWriter(machine)
        m.submodules.writer = self.writer
        for group, drain in enumerate(self.drains):
            m.submodules[f"drain{group}"] = drain
            word = self.writer.words[group]
            m.d.comb += [
                word.valid.eq(drain.word.valid),
                word.payload.eq(drain.word.payload),
                drain.word.ready.eq(word.ready),
            ]
        m.d.comb += self.writer.write.ready.eq(1)
        if machine.groups > 1:
            m.submodules.parts = parts = PartSum(machine)
            m.d.comb += [
                parts.split_groups.eq(self.drains[0].split_groups),
                *(total.eq(drain.partial) for total, drain in zip(parts.partials, self.drains, strict=True)),
                self.drains[0].whole.eq(parts.total),
            ]
        self.reset = Signal()
        #: What all drains are told.
        own = ("partial", "whole", "sums", "shadow_address", "word", "busy", "record")
        names = [name for name in self.drains[0].signature.members if name not in own]
        self.common = {name: Signal.like(getattr(self.drains[0], name)) for name in names}
        for drain in self.drains:
            m.d.comb += [getattr(drain, name).eq(value) for name, value in self.common.items()]
        #: Sums that the multiply-accumulate units hold; bytes that were written; clocks of each tile.
        self.shadow = None
        self.tiles = 0
        self.written = {}
        self.clocks = []

    def broadcast(self, ctx, **values):
        for name, value in values.items():
            ctx.set(self.common[name], value)

    async def write_records(self, ctx, layer: Layer, tile: int, bank: int):
        plan, group_lanes = layer.plan, self.machine.group_lanes
        for row in range(tile * plan.tile_rows, min((tile + 1) * plan.tile_rows, layer.rows)):
            slot_group, row_lane = divmod(row - tile * plan.tile_rows, plan.row_lanes)
            row_group, lane = divmod(row_lane, group_lanes)
            for index, word in enumerate(layer.record(row)):
                address = slot_group * group_lanes + lane
                record = {"bank": bank, "address": address, "index": index, "data": word}
                for group, drain in enumerate(self.drains):
                    ctx.set(drain.record, {**record, "enable": group % layer.row_groups == row_group})
                await ctx.tick()
        for drain in self.drains:
            ctx.set(drain.record, {"enable": 0})
        await ctx.tick()

    async def drain(self, ctx, layer: Layer):
        """Drain all passes of a layer."""
        self.broadcast(ctx, batch=layer.batch, **layer.descriptor())
        bank = 0
        for item in range(0, layer.batch, layer.positions):
            for tile in range(layer.plan.tiles):
                await self.write_records(ctx, layer, tile, bank)
                self.shadow = layer.shadow(tile, item)
                self.tiles += 1
                self.broadcast(ctx, start=1, row=tile * layer.plan.tile_rows, item=item, bank=bank)
                await ctx.tick()
                self.broadcast(ctx, start=0, row=77, item=5, bank=1 - bank)
                clocks = 1
                while any(ctx.get(drain.busy) for drain in self.drains):
                    await ctx.tick()
                    clocks += 1
                self.clocks.append(clocks)
                bank = 1 - bank
        # What waits in the writer.
        await ctx.tick().repeat(2)

    async def answer(self, ctx):
        """Be the shadow copies: a clock behind its address the sums are there."""
        shown = [None] * len(self.drains)
        async for _, _, *addresses in ctx.tick().sample(*[drain.shadow_address for drain in self.drains]):
            for group, (drain, address) in enumerate(zip(self.drains, addresses, strict=True)):
                if self.shadow is not None and shown[group] != (self.tiles, address):
                    shown[group] = self.tiles, address
                    for lane, columns in enumerate(self.shadow[group, :, address]):
                        for column, total in enumerate(columns):
                            ctx.set(drain.sums[lane][column], int(total))

    async def collect(self, ctx):
        """Be the activation memory."""
        write = self.writer.write
        async for _, _, valid, word in ctx.tick().sample(write.valid, write.payload):
            if valid:
                assert word.mask
                for byte in range(8):
                    if word.mask >> byte & 1:
                        address = 8 * word.address + byte
                        assert address not in self.written, f"byte {address} is written twice"
                        self.written[address] = word.data >> 8 * byte & 0xFF

    async def abort(self, ctx, layer: Layer, clocks: int):
        """Begin to drain a layer, and reset everything."""
        self.broadcast(ctx, batch=layer.batch, **layer.descriptor(), start=1, row=0, item=0)
        await ctx.tick()
        self.broadcast(ctx, start=0)
        await ctx.tick().repeat(clocks)
        ctx.set(self.reset, 1)
        await ctx.tick()
        ctx.set(self.reset, 0)
        self.written = {}

    def run(self, *layers: Layer, abort: int | None = None) -> list[dict[int, int]]:
        """Return what is written for each of some layers, maybe after a reset amid the first one."""
        found = []

        async def main(ctx):
            if abort is not None:
                await self.abort(ctx, layers[0], abort)
            for layer in layers:
                await self.drain(ctx, layer)
                found.append(self.written)
                self.written = {}

        simulate(ResetInserter(self.reset)(self.module), main, watching=[self.answer, self.collect])
        return found


def check(*layers: Layer, dsp: str = "generic") -> Bench:
    """Drain some layers, one after another, and compare every byte."""
    bench = Bench(layers[0].machine, dsp)
    for layer, found in zip(layers, bench.run(*layers), strict=True):
        assert found == layer.expected()
    return bench
