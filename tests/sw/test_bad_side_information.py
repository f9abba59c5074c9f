"""Side information that makes no sense is refused, and the sentence says what is wrong with it."""

import re

import pytest

import weightstream as ws
from weightstream.codec.adaptive import AdaptiveEncoder
from weightstream.codec.side import read_side


def side(write, rows=4, columns=6, parts=1, taps=1, free_rows=False):
    """Check that side information is refused; return the sentence."""
    encoder = AdaptiveEncoder()
    write(encoder)
    with pytest.raises(ws.FormatError) as caught:
        read_side(encoder.finish(), rows, columns, parts, taps, free_rows)
    return str(caught.value)


def one_level(c):
    """Write a palette of one level."""
    c.choice("palette", 3, 0)
    c.choice("group", 8, 0)
    c.choice("levels", 16, 0)
    c.raw(8, 128)


def models(c, tables=2, rows=1, columns=1):
    """Write a palette, and the beginning of a context model."""
    one_level(c)
    c.choice("tables", 64, tables - 1)
    c.choice("row classes", 16, rows - 1)
    c.choice("column classes", 16, columns - 1)


def neighbours(c, *classes):
    """Write the classes of the 16 symbols as a neighbour."""
    c.choice("neighbour classes", 16, max(classes))
    if not max(classes):
        return
    for symbol, value in enumerate(classes):
        if not symbol or not c.bit("same class", int(value == classes[symbol - 1])):
            c.choice("class", max(classes) + 1, value)


def test_palettes_are_checked():
    def too_high(c):
        c.choice("palette", 3, 0)
        c.choice("group", 8, 0)
        c.choice("levels", 16, 1)
        c.raw(8, 255)
        c.number("gap", 0)

    def too_many(c):
        c.choice("palette", 3, 0)
        c.choice("group", 8, 7)
        c.choice("levels", 16, 15)

    def far(c):
        c.choice("palette", 3, 1)
        c.choice("levels", 16, 1)
        c.raw(8, 0)
        c.number("gap", (1 << 32) - 3)

    def endless(c):
        c.choice("palette", 3, 1)
        c.choice("levels", 16, 1)
        c.raw(8, 0)
        for size in range(1, 33):
            c.bit(("gap", size), 1)

    assert "the level 128" in side(too_high)
    assert "groups of 8 of 16 levels" in side(too_many)
    assert "beyond 127" in side(far)
    assert "beyond 32 bits" in side(endless)
    assert "choice 3 of 3" in side(lambda c: c.choice("palette", 4, 3))


def test_columns_are_checked():
    def repeating(period):
        def write(c):
            models(c, columns=2)
            c.number("column period", period - 1)

        return write

    def unused(c):
        models(c, columns=3)
        c.number("column period", 3)
        c.number("column stride", 0)
        for _ in range(4):
            c.choice("column", 3, 1)

    def crowded(c):
        c.choice("palette", 3, 2)
        c.choice("passes", 4, 3)
        c.choice("group", 8, 0)
        c.raw(4, 15)
        for _ in range(4):
            c.raw(8, 1)
        c.choice("tables", 64, 15)
        c.choice("row classes", 16, 0)
        c.choice("column classes", 16, 4)

    assert "repeat after 7 of 6 columns" in side(repeating(7))
    assert "repeat after 4294967294 of 6" in side(repeating((1 << 32) - 2))
    assert "repeat after 4 of 3" in side(repeating(4), parts=2)
    assert "a map of 3 classes uses 2" in side(unused)
    assert "5 column classes of 4 passes" in side(crowded)


def test_context_maps_are_checked():
    def wide(c):
        models(c, rows=16, columns=16)
        c.number("column period", 5)
        c.number("column stride", 0)
        for value in (0, 3, 9, 15, 1, 2):
            c.choice("column", 16, value)
        neighbours(c, *range(16))
        neighbours(c, *range(16))
        c.choice("distance", 16, 15)

    def table_map(*bits, tables=2):
        def write(c):
            models(c, tables=tables)
            neighbours(c, *[0] * 15, 1)
            neighbours(c, *[0] * 16)
            for context, bit in bits:
                c.bit(context, bit)

        return write

    def unused(c):
        models(c)
        c.choice("neighbour classes", 16, 15)
        c.choice("class", 16, 1)
        for _ in range(15):
            c.bit("same class", 1)

    first, same, other = ("map new", 1), (("map", 1, 0), 1), (("map", 1, 0), 0)
    assert "take more than 12 bits" in side(wide)
    assert "begins with no table" in side(table_map(("map new", 0)))
    assert "uses 1 of 2 tables" in side(table_map(first, same))
    assert "uses 1 of 64 tables" in side(table_map(first, same, tables=64))
    assert "choice" not in side(table_map(first, other, ("map new", 1), tables=3))
    assert "a map of 16 classes uses 2" in side(unused)


def test_rows_and_parts_are_checked():
    def rows(*counts):
        def write(c):
            models(c, tables=2, rows=3)
            neighbours(c, *[0] * 16)
            neighbours(c, *[0] * 16)
            for context, bit in ((("map new"), 1), (("map", 1, 0), 0), ("map new", 1), (("map", 1, 0), 1)):
                c.bit(context, bit)
            for count in counts:
                c.number("rows", count)

        return write

    assert "5 of 4 rows" in side(rows(2, 3), free_rows=True)
    assert "8589934588 of 4 rows" in side(rows((1 << 32) - 2, (1 << 32) - 2), free_rows=True)
    assert "rows of 6 groups cannot have 7 parts" in side(one_level, parts=7)
    assert "rows of 0 groups cannot have 4096 parts" in side(one_level, columns=0, parts=4096)


def test_tables_are_checked():
    def table(mode, *levels, back=None, precision=8):
        def write(c):
            one_level(c)
            c.choice("tables", 64, 0)
            c.choice("precision", 8, precision - 1)
            c.choice("prediction", 3, mode)
            if back:
                c.number("back", back - 1)
            for level in levels:
                c.signed(("level", mode, 0), level)

        return write

    assert "table 0 is empty" in side(table(0, 0))
    assert "impossible level -1" in side(table(1, -1))
    assert "impossible level 257" in side(table(0, 257))
    assert "impossible level 4294967294" in side(table(0, (1 << 32) - 2))
    assert "refers to 1 tables back" in side(table(2, back=1))
    assert "refers to 4294967295 tables back" in side(table(2, back=(1 << 32) - 1))
    assert "after 7 of its 99 bytes" in side_of_length(table(0, 5), 99)


def side_of_length(write, length):
    """Check that side information with bytes behind its end is refused; return the sentence."""
    encoder = AdaptiveEncoder()
    write(encoder)
    with pytest.raises(ws.FormatError) as caught:
        read_side(encoder.finish().ljust(length, b"\1"), 4, 6, 1, 1, False)
    return re.sub(r"after \d+ of", "after 7 of", str(caught.value))
