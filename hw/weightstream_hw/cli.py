"""The command ``weightstream-hw``: what is built, what it costs, and its Verilog."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    import typer.core
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] not in ("typer", "rich"):
        raise
    sys.exit('the commands need: pip install "weightstream[hw]"')

from weightstream import __version__
from weightstream.cli.files import write_file
from weightstream.cli.views import print_error, progress
from weightstream.errors import TargetError, WeightstreamError
from weightstream.spec.machine import PRESETS


class _Commands(typer.core.TyperGroup):
    """Commands whose foreseeable errors end as one line and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever reads our output has gone: no error of ours
        except (WeightstreamError, OSError) as error:
            print_error(error)
            raise typer.Exit(1) from error
        except ModuleNotFoundError as error:
            print_error(TargetError(f'the gateware needs {error.name}: pip install "weightstream[hw]"'))
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Example: weightstream-hw report --preset pynq_z2 --target xc7 --block lane",
)

Preset = Annotated[
    str, typer.Option("--preset", metavar="P", help="What is built: see presets.", show_default=False)
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weightstream {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Gateware that runs networks straight from compressed weight streams."""


@app.command(epilog="Example: weightstream-hw presets")
def presets() -> None:
    """List the accelerators that are built, tested and measured."""
    table = _table("preset", "lanes", "slots", "columns", "products", "bus", "pool")
    for name, machine in PRESETS.items():
        kinds = ["multipliers"] * machine.multipliers + [f"tables of {machine.group}"] * bool(machine.group)
        sizes = (machine.lanes, machine.slots, machine.columns, " and ".join(kinds))
        table.add_row(name, *map(str, sizes), f"{machine.bus_bits} bits", f"{machine.pool_bytes >> 10} KiB")
    _show(table)


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
    table = _table("figure", "", f"of an {part}")
    for name, value in figures.items():
        text = ", ".join(map(_text, value)) if isinstance(value, list) else _text(value)
        table.add_row(name, text, f"{value / offered[name]:.1%}" if name in offered else "")
    _show(table)


@app.command(epilog="Example: weightstream-hw verilog --preset pynq_z2 -o accelerator.v")
def verilog(
    preset: Preset,
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT.v", help="File to write.", show_default=False)
    ],
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
        typer.Option("--board", metavar="B", help="pynq_z2, pynq_z1, kv260 or zcu104.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Directory to write.", show_default=False)
    ],
    preset: Annotated[
        str, typer.Option("--preset", metavar="P", help="Another machine than the board's own.")
    ] = "",
    files_only: Annotated[bool, typer.Option("--files-only", help="Do not run Vivado.")] = False,
) -> None:
    """Write an overlay's Verilog and scripts for Vivado, and run Vivado if it is there."""
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


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", overflow="fold")
    return table


def _show(table: Table) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:  # nothing is cut from what goes to a file
        console = Console(width=160, highlight=False)
    console.print(table)


def main() -> None:
    """Run the command line."""
    app(prog_name="weightstream-hw")


if __name__ == "__main__":
    main()
