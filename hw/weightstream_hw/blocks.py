"""Blocks that can be measured alone, by name."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weightstream.errors import TargetError
from weightstream.spec.machine import Machine

#: Where each block is: module and class. `dsp` and a machine are given to constructors that take them.
_CLASSES = {
    "accelerator": ("top", "Accelerator"),
    "queue": ("decode.word_queue", "WordQueue"),
    "contexts": ("decode.contexts", "ContextMap"),
    "ring": ("decode.ring", "RingControl"),
    "keys": ("decode.keys", "RiceKeyDecoder"),
    "streams": ("decode.streams", "StreamFetch"),
    "words": ("decode.words", "WordDistributor"),
    "mac": ("compute.mac", "Mac"),
    "products": ("compute.products", "ProductCentre"),
    "requantiser": ("compute.requantise", "Requantiser"),
    "thresholds": ("compute.thresholds", "ThresholdUnit"),
    "drain": ("compute.drain", "GroupDrain"),
    "records": ("compute.records", "RecordLoader"),
    "pool": ("activations.pool", "Pool"),
    "fetch": ("activations.fetch", "ColumnFetch"),
    "feed": ("activations.feed", "Feed"),
    "read-master": ("bus.read_master", "ReadMaster"),
    "write-master": ("bus.write_master", "WriteMaster"),
    "registers": ("bus.registers", "RegisterBank"),
    "sequencer": ("control.sequencer", "RoundSequencer"),
    "block-memory": ("bridge.memory", "BlockMemory"),
    "request-reader": ("bridge.requests", "RequestReader"),
}
#: What other parameters of constructors are when a block is measured.
_DEFAULTS = {"clients": 5, "depth": 32, "size": 160 << 10}


def _construct(name: str, machine: Machine, dsp: str) -> wiring.Component:
    module, name = _CLASSES[name]
    constructor = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    given = _DEFAULTS | {"machine": machine, "dsp": dsp}
    taken = inspect.signature(constructor).parameters
    return constructor(**{key: value for key, value in given.items() if key in taken})


class _Lanes(wiring.Component):
    """Two lanes with their context map, each perhaps with a MAC for each column."""

    lanes = 2

    def __init__(self, machine: Machine, dsp: str, *, macs: bool):
        from .compute.mac import Mac
        from .decode.contexts import ContextMap
        from .decode.lane import Lane

        self._contexts = ContextMap(self.lanes)
        self._decoders = [Lane(machine, dsp) for _ in range(self.lanes)]
        columns = machine.columns if macs else 0
        self._macs = [[Mac(machine, dsp) for _ in range(columns)] for _ in range(self.lanes)]
        # Every part has its own ports, for Yosys makes one of two registers that are always equal.
        members = {"contexts_config": In(self._contexts.signature.members["config"].shape)}
        for prefix, part, inner in self._parts():
            members |= {prefix + name: m for name, m in part.signature.members.items() if name not in inner}
        super().__init__(members)

    def _parts(self):
        """Yield each part: prefix of its ports; the part; those of its ports that are connected here."""
        for lane, decoder in enumerate(self._decoders):
            yield f"lane_{lane}_", decoder, ("context", "table")
            for column, mac in enumerate(self._macs[lane]):
                yield f"mac_{lane}_{column}_", mac, ("symbol",)

    def elaborate(self, platform):
        m = Module()
        m.submodules.contexts = contexts = self._contexts
        m.d.comb += contexts.config.eq(self.contexts_config)
        for prefix, part, inner in self._parts():
            m.submodules[prefix.rstrip("_")] = part
            for name, member in part.signature.members.items():
                if name not in inner:
                    inside, outside = getattr(part, name), getattr(self, prefix + name)
                    m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        for lane, decoder in enumerate(self._decoders):
            m.d.comb += [contexts.contexts[lane].eq(decoder.context), decoder.table.eq(contexts.tables[lane])]
            m.d.comb += [mac.symbol.eq(decoder.symbol) for mac in self._macs[lane]]
        return m


@dataclass(frozen=True)
class Block:
    """What is measured.

    Parameters
    ----------
    make : callable
        Constructor; takes the machine, and how the target multiplies.
    pieces : int
        Pieces of the block in what is made: counts are divided by it.
    """

    make: Callable[[Machine, str], wiring.Component]
    pieces: int = 1


#: Blocks by name.
BLOCKS: dict[str, Block] = {
    # A context map has two ports, for two lanes.
    "lane": Block(lambda machine, dsp: _Lanes(machine, dsp, macs=False), _Lanes.lanes),
    "lane-macs": Block(lambda machine, dsp: _Lanes(machine, dsp, macs=True), _Lanes.lanes),
    **{name: Block(partial(_construct, name)) for name in _CLASSES},
}


def find_block(name: str) -> Block:
    """Return a block.

    Parameters
    ----------
    name : str
        One of `BLOCKS`.

    Raises
    ------
    TargetError
        There is no such block.
    """
    if name not in BLOCKS:
        raise TargetError(f"there is no block {name!r}; try {', '.join(BLOCKS)}")
    return BLOCKS[name]


class Registered(wiring.Component):
    """A block between registers, with four pins: its ports hold up no place and route.

    Inputs come from a shift register; outputs are captured, and folded into another one.

    Parameters
    ----------
    block : wiring.Component
        What is measured.
    """

    scan_in: In(1)
    scan_out: Out(1)

    def __init__(self, block: wiring.Component):
        self._block = block
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = self._block
        inputs, outputs = [], []
        for _, member, value in self._block.signature.flatten(self._block):
            (inputs if member.flow == In else outputs).append(Value.cast(value))
        given, seen = Cat(inputs), Cat(outputs)
        scan = Signal(len(given), reset_less=True)
        captured, folded = Signal(len(seen), reset_less=True), Signal(len(seen), reset_less=True)
        m.d.sync += [
            scan.eq(Cat(self.scan_in, scan)),
            captured.eq(seen),
            folded.eq((folded << 1) ^ captured),
        ]
        m.d.comb += [given.eq(scan), self.scan_out.eq(folded[-1])]
        return m
