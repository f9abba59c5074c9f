"""A group of lanes: decoders, multiply-accumulate units, and the drain that they share."""

from __future__ import annotations

from amaranth import Cat, Module, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine

from .compute.control import MAC_CONTROL
from .compute.drain import DRAIN_FIELDS, GroupDrain
from .compute.mac import SUM_BITS, Mac
from .compute.output import output_word
from .compute.products import PRODUCT_WRITE
from .compute.records import record_write
from .control.config_write import CONFIG_WRITE
from .control.descriptor import descriptor_ports
from .decode.contexts import ContextMap
from .decode.lane import KEY_WRITE, Lane
from .decode.ring import LANE_CONTROL
from .decode.word_queue import WORD_WRITE


class LaneGroup(wiring.Component):
    """Lanes with their multiply-accumulate units; two lanes share a context map, all of them a drain.

    Timing
    ------
    Latency: that of `Lane`, `Mac` and `GroupDrain`.
    Throughput: a symbol a clock and lane, for all columns.
    Stall: none.

    Parameters
    ----------
    machine : Machine
        Everything.
    group : int
        Which group.
    dsp : str
        One of `weightstream_hw.multipliers.MULTIPLIERS`.

    Attributes
    ----------
    control, edge, first_part, config : In
        See `Lane`; a bit of `edge` for each lane.
    words, keys : In, arrays of lanes
        What comes for each lane.
    mac, products, product_mode, x : In
        See `Mac`; products and x for each column.
    batch, record, start, row, item, bank, whole, and fields of the descriptor : In
        See `GroupDrain`.
    taken, ok, ready, at_end, corrupt : Out
        Of the queues, an entry of `taken` for each lane; all are `ok`, `ready`, `at_end`; one is `corrupt`.
    busy, partial, word : Out
        See `GroupDrain`.
    """

    def __init__(self, machine: Machine, group: int, dsp: str = "generic"):
        self.machine = machine
        self._dsp = dsp
        self._lanes = [Lane(machine, dsp=dsp) for _ in range(machine.group_lanes)]
        self._drain = GroupDrain(machine, group, dsp=dsp)
        lanes = machine.group_lanes
        #: Whether group 0 gets the sum of all groups.
        self.gathers = "whole" in self._drain.signature.members
        members = {
            "control": In(LANE_CONTROL),
            "edge": In(lanes),
            "first_part": In(1),
            "config": In(CONFIG_WRITE),
            "words": In(WORD_WRITE).array(lanes),
            "keys": In(KEY_WRITE).array(lanes),
            "mac": In(MAC_CONTROL),
            "batch": In(16),
            "record": In(record_write(machine)),
            "start": In(1),
            "row": In(21),
            "item": In(17),
            "bank": In(1),
            "taken": Out(len(self._lanes[0].taken)).array(lanes),
            "ok": Out(1),
            "ready": Out(1),
            "at_end": Out(1),
            "corrupt": Out(1),
            "busy": Out(1),
            "partial": Out(signed(SUM_BITS)),
            "word": Out(stream.Signature(output_word(machine))),
        } | descriptor_ports(*DRAIN_FIELDS)
        if machine.multipliers:
            members["x"] = In(signed(9)).array(machine.columns)
        if machine.group:
            members["products"] = In(PRODUCT_WRITE).array(machine.columns)
        if machine.multipliers and machine.group:
            members["product_mode"] = In(1)
        if self.gathers:
            members["whole"] = In(signed(SUM_BITS))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        machine = self.machine
        m.submodules.drain = drain = self._drain
        for index, lane in enumerate(self._lanes):
            m.submodules[f"lane{index}"] = lane
            m.d.comb += [
                lane.control.eq(self.control),
                lane.edge.eq(self.edge[index]),
                lane.first_part.eq(self.first_part),
                lane.config.eq(self.config),
                lane.words.eq(self.words[index]),
                lane.key.eq(self.keys[index]),
                self.taken[index].eq(lane.taken),
            ]
            for column in range(machine.columns):
                m.submodules[f"mac{index}_{column}"] = mac = Mac(machine, self._dsp)
                m.d.comb += [
                    mac.symbol.eq(lane.symbol),
                    mac.control.eq(self.mac),
                    mac.shadow_address.eq(drain.shadow_address),
                    drain.sums[index][column].eq(mac.sum),
                ]
                if machine.multipliers:
                    m.d.comb += [mac.x.eq(self.x[column]), mac.config.eq(self.config)]
                if machine.group:
                    m.d.comb += mac.products.eq(self.products[column])
                if machine.multipliers and machine.group:
                    m.d.comb += mac.product_mode.eq(self.product_mode)
        for first in range(0, machine.group_lanes, 2):
            pair = self._lanes[first : first + 2]
            m.submodules[f"contexts{first}"] = contexts = ContextMap(len(pair))
            m.d.comb += contexts.config.eq(self.config)
            for port, lane in enumerate(pair):
                m.d.comb += [
                    contexts.contexts[port].eq(lane.context),
                    lane.table.eq(contexts.tables[port]),
                ]
        self._gather(m)
        for name in (*DRAIN_FIELDS, "batch", "record", "start", "row", "item", "bank"):
            m.d.comb += getattr(drain, name).eq(getattr(self, name))
        if self.gathers:
            m.d.comb += drain.whole.eq(self.whole)
        m.d.comb += [self.busy.eq(drain.busy), self.partial.eq(drain.partial)]
        wiring.connect(m, drain.word, wiring.flipped(self.word))
        return m

    def _gather(self, m: Module) -> None:
        """Say what is true of all lanes, registered."""
        for name in ("ok", "ready", "at_end"):
            m.d.sync += getattr(self, name).eq(Cat(getattr(lane, name) for lane in self._lanes).all())
        m.d.sync += self.corrupt.eq(Cat(lane.corrupt for lane in self._lanes).any())
