"""Tables of words and numbers: one content for the terminal, for text and for notebooks."""

from collections.abc import Collection, Iterable, Sequence
from html import escape
from itertools import groupby


def printable(text: str) -> str:
    """Return text without what would move a terminal's cursor: names come from files."""
    return "".join(c if c.isprintable() else "?" for c in text)


def cell(value: object) -> str:
    """Return what a table shows of a value: integers with commas, other numbers to four digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return printable(str(value))


class Table:
    """Rows of cells; prints as text, and as HTML in a notebook.

    Parameters
    ----------
    title : str
        What it shows; may be empty.
    columns : sequence of str
        Heads of the columns.
    rows : iterable of sequences
        Cells: words and numbers, see `cell`.
    numbers : collection of int
        Columns that stand at the right; words stand at the left.
    total : sequence, optional
        A row that sums up the others.

    Attributes
    ----------
    title, columns, rows, numbers, total
        The same; what was a cell is a str, so that every way of showing a table shows the same.
    """

    def __init__(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        numbers: Collection[int] = (),
        total: Sequence[object] | None = None,
    ):
        self.title = printable(title)
        self.columns = tuple(map(printable, columns))
        self.rows = [tuple(map(cell, row)) for row in rows]
        self.numbers = numbers
        self.total = None if total is None else tuple(map(cell, total))

    def __str__(self) -> str:
        body = [self.columns, *self.rows]
        total = [] if self.total is None else [self.total]
        widths = [max(map(len, column)) for column in zip(*body, *total, strict=True)]

        def line(row: Sequence[str]) -> str:
            padded = (
                text.rjust(width) if i in self.numbers else text.ljust(width)
                for i, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            return "  ".join(padded).rstrip()

        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines = [line(self.columns), rule, *map(line, self.rows)]
        lines += [text for row in total for text in (rule, line(row))]
        return "\n".join([self.title, *lines] if self.title else lines)

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], tag: str) -> str:
            sides = ("right" if i in self.numbers else "left" for i in range(len(cells)))
            return "".join(
                f'<{tag} style="text-align: {side}">{escape(text)}</{tag}>'
                for text, side in zip(cells, sides, strict=True)
            )

        rows = [row(cells, "td") for cells in self.rows]
        if self.total is not None:
            rows.append(row(self.total, "th"))
        lines = ["<table>"]
        if self.title:
            lines.append(f'<caption style="text-align: left">{escape(self.title)}</caption>')
        lines += [f"<thead><tr>{row(self.columns, 'th')}</tr></thead>", "<tbody>"]
        lines += [f"<tr>{cells}</tr>" for cells in rows]
        return "\n".join([*lines, "</tbody>", "</table>"])


#: What there is to say: tables, and lines of text between them.
Part = Table | str


def as_text(parts: Sequence[Part]) -> str:
    """Return parts as text, tables between empty lines."""
    blocks = groupby(parts, key=lambda part: part if isinstance(part, Table) else None)
    return "\n\n".join(
        "\n".join(str(part) if isinstance(part, Table) else printable(part) for part in block)
        for _, block in blocks
    )


def as_html(parts: Sequence[Part]) -> str:
    """Return parts as HTML."""
    return "\n".join(
        part._repr_html_() if isinstance(part, Table) else f"<div>{escape(printable(part))}</div>"
        for part in parts
    )
