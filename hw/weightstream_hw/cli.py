"""The command ``weightstream-hw``: what is built, what it costs, and its Verilog."""

import json
import sys
from pathlib import Path
from typing import Annotated

try:
    import typer

    from weightstream.cli.commands import Version, group, output
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] not in ("typer", "rich"):
        raise
    print('the commands need: pip install "weightstream[hw]"', file=sys.stderr)
    sys.exit(2)

from weightstream.cli.files import write_file
from weightstream.cli.views import new_table, progress, show_table
from weightstream.spec.machine import PRESETS

app = group("Example: weightstream-hw report --preset pynq_z2 --target xc7 --block lane")

Preset = Annotated[
    str, typer.Option("--preset", metavar="P", help="What is built: see presets.", show_default=False)
]


@app.callback()
def _common(version: Version = False) -> None:
    """Gateware that runs networks straight from compressed weight streams."""


@app.command(epilog="Example: weightstream-hw presets")
def presets() -> None:
    """List the accelerators that are built, tested and measured."""
    table = new_table(("preset", "lanes", "slots", "columns", "products", "bus", "pool"), range(1, 7))
    for name, machine in PRESETS.items():
        kinds = ["multipliers"] * machine.multipliers + [f"tables of {machine.group}"] * bool(machine.group)
        sizes = (machine.lanes, machine.slots, machine.columns, " and ".join(kinds))
        table.add_row(name, *map(str, sizes), f"{machine.bus_bits} bits", f"{machine.pool_bytes >> 10} KiB")
    show_table(table)


@app.command(
    epilog="Example: weightstream-hw report --preset ecp5_85f --target ecp5 --block lane-macs --route"
)
def report(
    preset: Preset,
    target: Annotated[
        str, typer.Option("--target", metavar="T", help="Family: xc7 or ecp5.", show_default=False)
    ],
    block: Annotated[
        str, typer.Option("--block", metavar="B", help="A part of it; lane is one with contexts and queue.")
    ] = "accelerator",
    route: Annotated[
        bool,
        typer.Option(
            "--route", help="Place and route too, three times: the clock is the median. ECP5 alone."
        ),
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=N", help="Change a parameter of the preset, as in slots=16."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Synthesise a preset or a block, and show what it costs."""
    from .report import cost_report, parse_changes
    from .synthesis import OFFERS

    with progress("synthesising" if not route else "synthesising, placing and routing"):
        figures = cost_report(preset, target, block=block, routed=route, changes=parse_changes(changes or ()))
    if as_json:
        typer.echo(json.dumps(figures, indent=2))
        return
    part, offered = OFFERS[target]
    table = new_table(("figure", "", f"of an {part}"), (1, 2))
    for name, value in figures.items():
        text = ", ".join(map(_text, value)) if isinstance(value, list) else _text(value)
        table.add_row(name, text, f"{value / offered[name]:.1%}" if name in offered else "")
    show_table(table)


@app.command(epilog="Example: weightstream-hw verilog --preset pynq_z2 -o accelerator.v")
def verilog(
    preset: Preset,
    out: Annotated[Path, output("OUT.v")],
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="T", help="Use the multipliers of a family: xc7 or ecp5."),
    ] = None,
) -> None:
    """Write an accelerator as Verilog; its module is called accelerator."""
    from .report import preset_verilog

    with progress("elaborating"):
        text = preset_verilog(preset, target)
    write_file(out, text.encode())
    typer.echo(f"{out}: {len(text.splitlines()):,} lines")


@app.command(epilog="Example: weightstream-hw build --board pynq_z2 -o overlay")
def build(
    board: Annotated[
        str,
        typer.Option(
            "--board", metavar="B", help="pynq_z2, pynq_z1, kv260, zcu104 or ulx3s.", show_default=False
        ),
    ],
    out: Annotated[Path | None, output("DIR", "Directory to write; default: bitstreams/BOARD.")] = None,
    preset: Annotated[
        str, typer.Option("--preset", metavar="P", help="Another machine than the board's own.")
    ] = "",
    files_only: Annotated[bool, typer.Option("--files-only", help="Do not run Vivado.")] = False,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=1, help="Of place and route, for ulx3s.")
    ] = 1,
) -> None:
    """Build a board: for ulx3s a bitstream; for the others an overlay, with Vivado if it is there."""
    out = Path("bitstreams", board) if out is None else out
    if board == "ulx3s":
        _build_ulx3s(out, preset, files_only, seed)
        return
    from .boards.vivado import run_vivado, write_overlay

    with progress("elaborating"):
        files = write_overlay(board, out, preset=preset)
    for path in files:
        typer.echo(path)
    if files_only:
        return
    with progress("running Vivado"):
        products = run_vivado(board, out)
    for path in products:
        typer.echo(path)


def _build_ulx3s(out: Path, preset: str, files_only: bool, seed: int) -> None:
    if preset or files_only:
        raise typer.BadParameter("ulx3s takes neither --preset nor --files-only")
    from .boards.trellis import build_bitstream

    with progress("synthesising, placing and routing (about 20 minutes)"):
        paths = build_bitstream(out, seed=seed)
    for path in paths:
        typer.echo(path)


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run the command line."""
    app(prog_name="weightstream-hw")


if __name__ == "__main__":
    main()
