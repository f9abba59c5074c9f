"""What a preset or one of its blocks costs."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from amaranth.back import verilog
from amaranth.lib import wiring

from weightstream.errors import TargetError
from weightstream.spec.machine import PRESETS, Machine

from .blocks import Block, Registered, find_block
from .synthesis import (
    DEVICE_NAME,
    TARGETS,
    count_ecp5,
    count_xc7,
    digest,
    route,
    synthesise,
    tool_versions,
)

#: Parameters of a machine that differ from its preset's.
Changes = Mapping[str, int | bool]


def find_preset(name: str) -> Machine:
    """Return the machine of a name.

    Raises
    ------
    TargetError
        There is none.
    """
    if name not in PRESETS:
        raise TargetError(f"there is no preset {name!r}; try {', '.join(PRESETS)}")
    return PRESETS[name]


def find_machine(preset: str, changes: Changes) -> Machine:
    """Return the machine of a name, some of its parameters changed.

    Raises
    ------
    TargetError
        There is no such preset or parameter.
    LayoutError
        There is no machine with these parameters.
    """
    for name in changes:
        _parameter(name)
    return dataclasses.replace(find_preset(preset), **changes)


def parse_changes(texts: Iterable[str]) -> dict[str, int | bool]:
    """Return what texts such as ``slots=16`` or ``thresholds=false`` say.

    Raises
    ------
    TargetError
        A text is not of this form; there is no such parameter.
    """
    changes: dict[str, int | bool] = {}
    for text in texts:
        name, _, value = text.partition("=")
        default = _parameter(name).default
        values = {"true": True, "false": False} if isinstance(default, bool) else None
        try:
            changes[name] = int(value) if values is None else values[value.lower()]
        except (KeyError, ValueError):
            kind = "a whole number" if values is None else "true or false"
            raise TargetError(f"{name} must be {kind}, not {value!r}; try {name}={default}") from None
    return changes


def _parameter(name: str) -> dataclasses.Field:
    fields = {field.name: field for field in dataclasses.fields(Machine)}
    if name not in fields:
        raise TargetError(f"a machine has no parameter {name!r}; try {', '.join(fields)}")
    return fields[name]


def multipliers_of(target: str) -> str:
    """Return how gateware for a target multiplies: the parameter `dsp` of its blocks.

    Raises
    ------
    TargetError
        There is no such target.
    """
    if target not in TARGETS:
        raise TargetError(f"there is no target {target!r}; try {', '.join(TARGETS)}")
    return target


def preset_verilog(preset: str, target: str | None = None) -> str:
    """Return the Verilog of a preset's accelerator, for one target or for any."""
    dsp = "generic" if target is None else multipliers_of(target)
    component = find_block("accelerator").make(find_preset(preset), dsp)
    return verilog.convert(component, name="accelerator", emit_src=False, strip_internal_attrs=True)


def _subject(
    preset: str, target: str, block: str, routed: bool, changes: Changes
) -> tuple[Block, Callable[[], wiring.Component]]:
    """Return a block, and what makes it."""
    machine, entry, dsp = find_machine(preset, changes), find_block(block), multipliers_of(target)
    if routed and target != "ecp5":
        raise TargetError(f"there is no open place and route for {target}; try --target ecp5")
    return entry, lambda: entry.make(machine, dsp)


def cost_report(
    preset: str,
    target: str,
    *,
    block: str = "accelerator",
    routed: bool = False,
    changes: Changes = MappingProxyType({}),
) -> dict[str, object]:
    """Return what a block of a preset costs.

    Parameters
    ----------
    preset : str
        One of `weightstream.spec.machine.PRESETS`.
    target : {"xc7", "ecp5"}
        Family that it is synthesised for.
    block : str
        One of `weightstream_hw.blocks.BLOCKS`. A lane is half of two that share a context map.
    routed : bool
        Whether it is placed and routed too, which is possible on ECP5; registers stand around its ports.
    changes : mapping
        Parameters of the machine that are not the preset's, by name.

    Returns
    -------
    dict
        On xc7: `lut`, of which `lutram` are memory, `ff`, `dsp` and `ramb36`, in which a RAMB18 is one half.
        On ECP5: `lut4`, `ff`, `mult18` and `dp16kd`; routed also `fmax_mhz`, the median of `fmax_seeds`,
        and its `critical_path`. Beside them what was measured, and with which tools.

    Raises
    ------
    TargetError
        There is no such preset, target, block or parameter, or a tool is missing.
    LayoutError
        There is no machine with these parameters.
    ToolError
        A tool failed.
    """
    entry, make = _subject(preset, target, block, routed, changes)
    tools = tool_versions(routed=routed)
    report: dict[str, object] = {"preset": preset, "target": target, "block": block, **changes}
    cells, _ = synthesise(make(), target)
    counts = count_xc7(cells) if target == "xc7" else count_ecp5(cells)
    for name, number in counts.items():
        share = number / entry.pieces
        report[name] = share if name == "ramb36" else math.ceil(share)
    if routed:
        _, netlist = synthesise(Registered(make()), target, keep_registers=True)
        clock = route(netlist)
        report |= {"fmax_mhz": clock.mhz, "fmax_seeds": list(clock.seeds), "critical_path": clock.path}
        report["device"] = DEVICE_NAME
    return report | {"tools": tools}


def cost_digest(
    preset: str,
    target: str,
    *,
    block: str = "accelerator",
    routed: bool = False,
    changes: Changes = MappingProxyType({}),
) -> str:
    """Return a name for all that a cost report depends on; parameters and errors are `cost_report`'s.

    Equal names mean equal figures, so nothing has to be measured again.
    """
    _, make = _subject(preset, target, block, routed, changes)
    return digest(Registered(make()) if routed else make(), target, routed=routed)
