"""Tables print the same as text and as HTML, whatever their words hold."""

import xml.etree.ElementTree as ElementTree

import pytest

from weightstream.report.tables import Table, as_html, as_text, cell

TABLE = Table(
    "sizes",
    ("what", "bytes", "note"),
    [("a", 1234, "x"), ("longer", 5, "")],
    numbers=(1,),
    total=("all", 1239, ""),
)


def html_rows(table):
    """Return (tag, text, alignment) of all cells, row by row; the HTML must be well formed."""
    root = ElementTree.fromstring(table._repr_html_())
    return [[(c.tag, c.text or "", c.get("style")) for c in row] for row in root.iter("tr")]


def test_text_has_a_head_rows_and_a_total():
    assert str(TABLE).splitlines() == [
        "sizes",
        "what    bytes  note",
        "-------------------",
        "a       1,234  x",
        "longer      5",
        "-------------------",
        "all     1,239",
    ]


def test_html_has_the_cells_of_the_text():
    rows = html_rows(TABLE)
    assert [[text for _, text, _ in row] for row in rows] == [
        ["what", "bytes", "note"],
        ["a", "1,234", "x"],
        ["longer", "5", ""],
        ["all", "1,239", ""],
    ]
    assert {row[1][2] for row in rows} == {"text-align: right"}
    assert {row[i][2] for row in rows for i in (0, 2)} == {"text-align: left"}
    assert [row[0][0] for row in rows] == ["th", "td", "td", "th"]


def test_words_are_no_markup_and_move_no_cursor():
    name = '<script>"&\x1b[2J\n'
    table = Table(name, (name,), [(name,)])
    assert [[text for _, text, _ in row] for row in html_rows(table)][1] == ['<script>"&?[2J?']
    for text in (table._repr_html_(), as_html([name])):
        assert "<script" not in text and "\x1b" not in text
    for text in (str(table), as_text([name])):
        assert "\x1b" not in text
    assert len(str(Table("", ("a",), [(name,)])).splitlines()) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (True, "True"),
        (0.12345, "0.1235"),
        (123456.7, "123,457"),
        (0.0, "0"),
        ("1234", "1234"),
    ],
)
def test_cells(value, text):
    assert cell(value) == text


def test_parts_stand_apart_and_lines_together():
    table = Table("", ("a",), [("b",)])
    assert as_text([table, "one", "two", table]) == f"{table}\n\none\ntwo\n\n{table}"
    assert as_text([]) == as_html([]) == ""
    assert as_html(["one", table]) == f"<div>one</div>\n{table._repr_html_()}"
