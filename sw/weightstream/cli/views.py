"""What the commands print: tables to stdout, progress and errors to stderr."""

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..model import Model
from ..report import tables
from ..report.summary import order_line, report_parts, size_line
from .checks import Comparison, StreamChecks

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)

#: Rows of outputs, and values of one, that are shown.
_SHOWN_ITEMS = 10
_SHOWN_VALUES = 8
#: Columns of the page where there is no terminal: nothing is cut from what goes to a file.
_PAGE = 160


def _say(text: str, style: str = "") -> None:
    # Text, because brackets in a name are no markup; soft_wrap leaves the breaking of lines to the terminal.
    _out.print(Text(tables.printable(text), style=style), soft_wrap=True)


def print_line(text: str) -> None:
    """Print a line as it is."""
    _say(text)


def shownew_table(table: Table) -> None:
    """Print a table."""
    page = _out if _out.is_terminal else Console(file=_out.file, width=_PAGE, highlight=False)
    page.print(table)


def show_table(table: Table) -> None:
    """Print a table."""
    page = _out if _out.is_terminal else Console(file=_out.file, width=_PAGE, highlight=False)
    page.print(table)


def print_error(error: Exception) -> None:
    """Print an error as one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    _err.print(Text(tables.printable(f"error: {' '.join(text.split())}"), style="red"), soft_wrap=True)


class _Notes(logging.Handler):
    """Print what the driver notices by the way."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one note."""
        _err.print(Text(tables.printable(f"note: {record.getMessage()}"), style="yellow"), soft_wrap=True)


@contextmanager
def notes() -> Iterator[None]:
    """Show notes of the logger ``weightstream`` for as long as the context lasts."""
    logger, handler = logging.getLogger("weightstream"), _Notes()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


# ---- progress ------------------------------------------------------------------------------------


class Bar:
    """A progress bar; shown on terminals alone."""

    def __init__(self, progress: Progress, what: str, total: int | None):
        self._progress = progress
        self._what = what
        self._task = progress.add_task(what, total=total)

    def begin(self, what: str, total: int) -> None:
        """Start the next piece of work."""
        self._what = what
        self._progress.update(self._task, description=what, total=total, completed=0)

    def advance(self, items: int = 1) -> None:
        """Say that so many items are done."""
        self._progress.advance(self._task, items)

    def advance_named(self, name: str) -> None:
        """Say that the item of a name is done."""
        self._progress.update(
            self._task, description=f"{self._what}: {tables.printable(name)} done", advance=1
        )


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Bar]:
    """Show a bar while something is done; `total` is None while nobody knows how much it is."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_err, transient=True, disable=not _err.is_terminal) as shown:
        yield Bar(shown, what, total)


# ---- tables --------------------------------------------------------------------------------------


def new_table(columns: Sequence[str], numbers: Collection[int]) -> Table:
    """Return a table some of whose columns are numbers, the others words."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i in numbers else "left", overflow="fold")
    return table


def _add(table: Table, *cells: object, style: str | None = None) -> None:
    texts = (Text(tables.cell(cell)) for cell in cells)
    table.add_row(*texts, style=style)


def print_report(path: Path, report: dict) -> None:
    """Print a file's report: what it costs, where the bits are, what it runs on the host."""
    for part in report_parts(report, str(path)):
        if isinstance(part, tables.Table):
            _print_part(part)
        else:
            _say(part)


def _print_part(part: tables.Table) -> None:
    """Print a table of the report."""
    _say(part.title, "bold")
    table = new_table(part.columns, part.numbers)
    for row in part.rows:
        _add(table, *row)
    if part.total is not None:
        table.add_section()
        _add(table, *part.total, style="bold")
    show_table(table)
    _out.print()


def print_compressed(source: Path, target: Path, report: dict) -> None:
    """Print the sizes before and after, and what the order saved."""
    size = report["file_bits"] // 8
    table = new_table(("what", "bytes", "times"), (1, 2))
    for what, before in (
        (source, source.stat().st_size),
        ("weights alone, as float32", 4 * report["weights"]),
        ("weights alone, at fixed width", -(-report["fixed_width_bits"] // 8)),
        (target, size),
    ):
        _add(table, what, before, f"{before / size:.2f}", style="bold" if what == target else None)
    show_table(table)
    _say(order_line(report))
    _say(size_line(report))


def print_relayout(source: Path, model: Model, target: Path, again: Model) -> None:
    """Print the streams and sizes before and after."""
    table = new_table(("file", "lanes x slots", "bytes"), (2,))
    for path, each in ((source, model), (target, again)):
        _add(table, path, _layouts(each), len(each.to_bytes()))
    shownew_table(table)


def _layouts(model: Model) -> str:
    """Return the layouts of a file, each once."""
    return ", ".join(sorted({str(coded.layout) for coded in model.matrices().values()}))


def print_exported(path: Path, size: int) -> None:
    """Print the size of an exported file."""
    _say(f"{path}: {size:,} bytes")


def print_outputs(y: np.ndarray, seconds: float, out: Path | None) -> None:
    """Print what a run returned; without a file, the first outputs."""
    flat = y.reshape(len(y), -1) if len(y) else y
    if out is None and len(y):
        table = new_table(("item", "argmax", "values"), range(3))
        for item, row in enumerate(flat[:_SHOWN_ITEMS]):
            values = " ".join(f"{value:>6.3g}" for value in row[:_SHOWN_VALUES])
            more = " ..." if len(row) > _SHOWN_VALUES else ""
            _add(table, item, int(row.argmax()), values + more)
        if len(flat) > _SHOWN_ITEMS:
            _add(table, "...", "", "")
        shownew_table(table)
    _say(f"{len(y):,} inputs in {seconds:.2f} s, start-up included")
    if out is not None:
        _say(f"{out}: {y.dtype} {y.shape}")


# ---- checks --------------------------------------------------------------------------------------


def print_checks(path: Path, checks: StreamChecks) -> None:
    """Print what was found good in a file."""
    _say(str(path), "bold")
    table = new_table(("check", "result"), ())
    _add(table, "CRC", "good")
    by = "the fast and the golden decoder alike" if checks.golden else "the fast decoder"
    _add(table, "streams", f"{checks.layers:,} layers, {checks.weights:,} weights: decoded by {by}")
    if checks.items:
        _add(table, "inference", f"equals the golden model on {checks.items} random inputs")
    else:
        _add(table, "inference", "the file holds no network")
    shownew_table(table)


def print_comparison(reference: Path, comparison: Comparison) -> None:
    """Print how outputs compare."""
    _out.print()
    _say(f"against {reference} in onnxruntime", "bold")
    table = new_table(("on", f"{comparison.items:,} inputs"), ())
    share = comparison.equal_predictions / comparison.items
    _add(table, "equal predictions", f"{comparison.equal_predictions:,} ({share:.2%})")
    _add(table, "equal outputs", f"{comparison.equal_outputs:.2%}")
    _add(table, "largest difference", f"{comparison.largest:.3g} steps of {comparison.step:.4g}")
    shownew_table(table)
