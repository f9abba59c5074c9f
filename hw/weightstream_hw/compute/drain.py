"""From the sums of a group of lanes to words of outputs."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from ..control.descriptor import descriptor_ports
from ..delay import delayed
from .mac import SUM_BITS
from .output import WORD_BYTES, output_word
from .parts import part_sum_latency
from .records import THRESHOLD_WORDS, record_write
from .requantise import Requantiser
from .thresholds import ThresholdUnit
from .walk import WALK_FIELDS, DrainWalk, range_bits

#: Fields of the descriptor that a drain depends on.
DRAIN_FIELDS = (*WALK_FIELDS, "rounding", "zero_point", "low", "high", "step")


class GroupDrain(wiring.Component):
    """Turn the shadow sums of a tile into outputs: add up parts, requantise or compare, eight bytes a word.

    Timing
    ------
    Latency: `latency` clocks from where the walk visits a word's last sum to its word; with thresholds
        `threshold_latency`, and a clock for each two of a row's.
    Throughput: a sum a clock; a value takes a clock for each two of its thresholds at least.
    Stall: none. A word must be taken before the next one is complete: within as many clocks as the group has
        lanes.

    Parameters
    ----------
    machine : Machine
        Everything about lanes, columns, thresholds, rounding.
    group : int
        Which group of lanes. Group 0 also takes the sums of the others, if groups have parts of rows.
    dsp : str
        One of `weightstream_hw.multipliers.MULTIPLIERS`.

    Attributes
    ----------
    clone_log2, split_log2, split_groups, row_groups, rows, row_lanes, use_thresholds, threshold_count,
    output_base, output_pitch, rounding, zero_point, low, high, step
        From the descriptor, static from the clock before a start.
    batch : In(16)
        Items there are, static.
    record : In(record_write)
        Records of this group's rows: others must not be enabled. They are those of the next tile, perhaps of
        the next pass; before the first tile of a layer is captured, the fields above are still those of the
        layer before. So it is not they that say which row group the group holds.
    start : In(1)
        Drain a tile; looked at while `busy` is 0. Its sums are in the shadow copies, its records in memory.
    row, item, bank : In
        First row of the tile, first item of the pass, bank of the records, in the clock of the start.
    busy : Out(1)
        From the clock behind a start until the last word was handed over.
    shadow_address : Out(4)
        To all multiply-accumulate units of the group.
    sums : In(signed(32)), array of lanes x columns
        Their shadow sums, one clock later.
    partial : Out(signed(32))
        The sum of a value's parts in this group.
    whole : In(signed(32))
        Group 0 of several: the `total` of a PartSum of all groups' partial sums.
    word : Out(stream of output_word)
        Outputs.
    """

    def __init__(self, machine: Machine, group: int = 0, *, dsp: str = "generic"):
        self.machine = machine
        self.group = group
        self._walk = DrainWalk(machine, group)
        self._requantiser = Requantiser(machine, dsp=dsp)
        self._thresholds = ThresholdUnit(machine) if machine.thresholds else None
        #: Whether this group's sums come back through the sum of all groups.
        self._gathers = group == 0 and machine.groups > 1
        #: Clocks from a sum's address to the sum, and to what was added up of its parts.
        self._levels = _levels(machine.group_lanes * machine.columns)
        self._depth = 3 + self._levels + (part_sum_latency(machine) if self._gathers else 0)
        self.latency = self._depth + self._requantiser.latency + 1
        if machine.thresholds:
            self.threshold_latency = self._depth + self._thresholds.latency + 1
        members = descriptor_ports(*DRAIN_FIELDS) | {
            "batch": In(16),
            "record": In(record_write(machine)),
            "start": In(1),
            "row": In(21),
            "item": In(17),
            "bank": In(1),
            "busy": Out(1),
            "shadow_address": Out(4),
            "sums": In(signed(SUM_BITS)).array(machine.group_lanes, machine.columns),
            "partial": Out(signed(SUM_BITS)),
            "word": Out(stream.Signature(output_word(machine))),
        }
        if self._gathers:
            members["whole"] = In(signed(SUM_BITS))
        super().__init__(members)

    def cycles(self, *, item: int, words: int, parts: int = 1, threshold_count: int | None = None) -> int:
        """Return the clocks from a start until `busy` is 0 again, if each word is taken at once.

        Parameters
        ----------
        item : int
            The first item of the group's copy.
        words : int
            Words of outputs: for each slot group with a row in this group, the items of a pass.
        parts : int
            Parts in slots.
        threshold_count : int, optional
            Thresholds of a row; not given if sums are requantised.
        """
        if threshold_count is None:
            return self._walk.cycles(item=item, words=words, parts=parts) + self.latency
        compared = max(1, -(-threshold_count // 2))
        walk = self._walk.cycles(item=item, words=words, parts=parts, threshold_count=threshold_count)
        # The walk goes on while the last sum is compared.
        return walk - max(0, compared - parts) + compared + self.threshold_latency

    def elaborate(self, platform) -> Module:
        """Return the circuit.

        The walk runs ahead: what it knows about a sum follows in delays, what it knows about a word waits in
        a small queue until the word's last byte comes.
        """
        m = Module()
        m.submodules.walk = walk = self._walk
        m.submodules.requantiser = self._requantiser
        for name in WALK_FIELDS:
            m.d.comb += getattr(walk, name).eq(getattr(self, name))
        m.d.comb += [
            walk.batch.eq(self.batch),
            walk.start.eq(self.start),
            walk.row.eq(self.row),
            walk.item.eq(self.item),
        ]
        writes = Signal()
        m.d.comb += writes.eq(1 if self.group == 0 else ~self.split_groups)

        total = self._add_parts(m, walk)
        total_valid = delayed(
            m, walk.valid & walk.last & writes, self._depth, "total_valid", reset_less=False
        )
        row = Cat(walk.lane, walk.slot_group)
        value, value_valid = self._values(m, row, total, total_valid)
        self._words(m, walk, writes, value, value_valid)
        return m

    def _add_parts(self, m: Module, walk: DrainWalk) -> Value:
        """Return the sum of a value's parts, `_depth` clocks behind the walk's last one."""
        m.d.sync += self.shadow_address.eq(walk.slot)
        values = [
            self.sums[lane][column]
            for column in range(self.machine.columns)
            for lane in range(len(self.sums))
        ]
        chosen = _select(m, values, delayed(m, Cat(walk.lane, walk.column), 2, "select"))
        first = delayed(m, walk.first, 2 + self._levels, "first")
        m.d.sync += self.partial.eq(Mux(first, 0, self.partial) + chosen)
        return self.whole if self._gathers else self.partial

    def _values(self, m: Module, row: Value, total: Value, total_valid: Value) -> tuple[Value, Value]:
        """Return the value of a total, and whether there is one; its row's record is read on the way."""
        machine = self.machine
        index_bits = (THRESHOLD_WORDS - 1).bit_length() if machine.thresholds else 0
        records = Memory(
            shape=64,
            depth=2 * machine.slots * machine.group_lanes << index_bits,
            init=[],
            attrs={"ram_style": "block"},
        )
        m.submodules.records = records
        # Nothing is read where it is written: a bank is filled while the other one is used.
        write, read = records.write_port(), records.read_port()
        record = Signal.like(self.record)
        bank = Signal(reset_less=True)
        m.d.sync += record.eq(self.record)
        with m.If(self.start):
            m.d.sync += bank.eq(self.bank)
        m.d.comb += [
            write.en.eq(record.enable),
            write.addr.eq(Cat(record.index[:index_bits], record.address, record.bank)),
            write.data.eq(record.data),
        ]

        ahead = delayed(m, row, self._depth - 1, "row")
        requantiser = self._requantiser
        m.d.comb += [
            requantiser.valid.eq(total_valid & ~self.use_thresholds),
            requantiser.sum.eq(total),
            requantiser.record.eq(read.data),
            requantiser.rounding.eq(self.rounding),
            requantiser.zero_point.eq(self.zero_point),
            requantiser.low.eq(self.low),
            requantiser.high.eq(self.high),
            read.addr.eq(Cat(Const(0, index_bits), ahead, bank)),
        ]
        if not machine.thresholds:
            return requantiser.value, requantiser.value_valid

        # A total stays with the unit until it was compared with all words of its record.
        m.submodules.thresholds = unit = self._thresholds
        total_row = delayed(m, ahead, 1, "total_row")
        compared_row = Signal(len(row), reset_less=True)
        compared = Signal(signed(SUM_BITS), reset_less=True)
        comparing = Signal()
        with m.If(unit.start.ready):
            m.d.sync += comparing.eq(0)
        with m.If(total_valid & self.use_thresholds):
            m.d.sync += [
                comparing.eq(1),
                compared.eq(total),
                compared_row.eq(total_row),
            ]
        m.d.comb += [
            unit.start.valid.eq(comparing),
            unit.start.payload.eq(compared),
            unit.word.eq(read.data),
            unit.threshold_count.eq(self.threshold_count),
            unit.step.eq(self.step),
            unit.zero_point.eq(self.zero_point),
        ]
        with m.If(self.use_thresholds):
            m.d.comb += read.addr.eq(Cat(unit.index, compared_row, bank))
        value = Mux(self.use_thresholds, unit.value, requantiser.value)
        return value, unit.value_valid | requantiser.value_valid

    def _words(self, m: Module, walk: DrainWalk, writes: Value, value: Value, valid: Value) -> None:
        """Collect values to words, and give each the address that the walk left for it."""
        machine = self.machine
        lanes = machine.group_lanes
        # Words under way: no more than values are.
        depth = 1 << (max(self.latency, 16) // lanes + 1).bit_length()
        place = data.StructLayout({"address": walk.address.shape(), "last_lane": range(lanes)})
        places = Memory(shape=place, depth=depth, init=[], attrs={"ram_style": "distributed"})
        m.submodules.places = places
        write, read = places.write_port(), places.read_port(domain="comb")
        begun, ended = Signal(range(depth)), Signal(range(depth))
        m.d.comb += [
            write.en.eq(walk.word & writes),
            write.addr.eq(begun),
            write.data.address.eq(walk.address),
            write.data.last_lane.eq(walk.last_lane),
            read.addr.eq(ended),
            self.busy.eq(walk.busy | (begun != ended) | self.word.valid),
        ]
        m.d.sync += begun.eq(begun + write.en)

        lane = Signal(range(lanes))
        held = Signal(8 * (lanes - 1), reset_less=True)
        word = Cat(held, value)
        with m.If(self.word.ready):
            m.d.sync += self.word.valid.eq(0)
        with m.If(valid):
            m.d.sync += [held.eq(word[8:]), lane.eq(Mux(lane == lanes - 1, 0, lane + 1))]
            with m.If(lane == lanes - 1):
                # Fewer lanes than bytes: the address says which bytes.
                mask = Cat(lane_ <= read.data.last_lane for lane_ in range(lanes))
                at = Cat(Const(0, range_bits(lanes)), read.data.address)
                m.d.sync += [
                    ended.eq(ended + 1),
                    self.word.valid.eq(1),
                    self.word.payload.address.eq(at[3:]),
                    self.word.payload.data.eq(word.replicate(WORD_BYTES // lanes)),
                    self.word.payload.mask.eq(mask << at[:3]),
                ]


def _levels(values: int) -> int:
    """Return the levels of a tree of 4:1 multiplexers."""
    return ((values - 1).bit_length() + 1) // 2


def _select(m: Module, values: list, select: Value) -> Value:
    """Return one of some values, through a tree of 4:1 multiplexers with a register behind each."""
    level = 0
    while len(values) > 1:
        chosen = []
        for index in range(0, len(values), 4):
            a, b, c, d = (values[index : index + 4] * 4)[:4]
            register = Signal(signed(SUM_BITS), name=f"chosen{level}_{index}", reset_less=True)
            m.d.sync += register.eq(Mux(select[1:2], Mux(select[0], d, c), Mux(select[0], b, a)))
            chosen.append(register)
        values = chosen
        select = delayed(m, select[2:], 1, f"select{level}_")
        level += 1
    return values[0]
