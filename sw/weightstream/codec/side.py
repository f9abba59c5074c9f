"""Side information of a coded matrix: all that a decoder must know before the first word of a stream."""

from dataclasses import dataclass

import numpy as np

from ..errors import FormatError
from ..spec.coder import MAX_GROUP, MAX_KEY_BITS, MAX_PASSES, SYMBOLS
from .adaptive import AdaptiveDecoder, AdaptiveEncoder, Coder
from .contexts import ContextModel
from .frequencies import Table, code_tables
from .keys import KeyCode
from .palette import Palette, grouped_palette, window_palette

_LEVELS, _WINDOWS, _EXPLICIT = range(3)


@dataclass(frozen=True, kw_only=True)
class SideInformation:
    """What `code` moves; see `CodedMatrix` for the parts.

    `fitted` are tables with the predictions they were chosen with: what `fit_tables` returns.
    """

    palette: Palette
    contexts: ContextModel
    row_class: np.ndarray
    key_codes: list[KeyCode]
    fitted: list[tuple[Table, int, int]]

    @property
    def tables(self) -> list[Table]:
        """The tables alone."""
        return [table for table, _, _ in self.fitted]


def write_side(side: SideInformation, part_symbols: int, taps: int, free_rows: bool) -> bytes:
    """Return the side information as bytes."""
    passes = side.palette.passes
    encoder = AdaptiveEncoder()
    _code_palette(encoder, side.palette)
    side.contexts.code(encoder, part_symbols // passes, passes, taps)
    _code_rows(encoder, side.row_class, len(side.row_class), side.contexts.row_classes, free_rows)
    if free_rows:
        for code in side.key_codes:
            _code_key(encoder, code)
    code_tables(encoder, side.palette.first, side.palette.centre, len(side.fitted), side.fitted)
    return encoder.finish()


def read_side(
    data: bytes | memoryview, rows: int, columns: int, parts: int, taps: int, free_rows: bool
) -> SideInformation:
    """Read what `write_side` wrote.

    Raises
    ------
    FormatError
        The section is truncated, corrupt or impossible.
    """
    decoder = AdaptiveDecoder(data)
    palette = _code_palette(decoder)
    groups = -(-columns // palette.group)
    if parts > max(groups, 1):
        # What a file unpacks to is bounded by the weights it holds, not by their padding.
        raise FormatError(f"rows of {groups} groups cannot have {parts} parts: the file is corrupt")
    part_groups = -(-groups // parts)
    contexts = ContextModel().code(decoder, part_groups, palette.passes, taps)
    row_class = _code_rows(decoder, None, rows, contexts.row_classes, free_rows)
    key_codes = [_code_key(decoder) if free_rows else KeyCode(0) for _ in range(contexts.row_classes)]
    tables = code_tables(decoder, palette.first, palette.centre, contexts.table_count)
    decoder.finish()
    return SideInformation(
        palette=palette,
        contexts=contexts,
        row_class=row_class,
        key_codes=key_codes,
        fitted=[(table, 0, 0) for table in tables],
    )


def table_bits(fitted: list[tuple[Table, int, int]], palette: Palette) -> int:
    """Return the bits of the tables, coded alone."""
    encoder = AdaptiveEncoder()
    code_tables(encoder, palette.first, palette.centre, len(fitted), fitted)
    return 8 * len(encoder.finish())


def _code_palette(coder: Coder, palette: Palette | None = None) -> Palette:
    kind = _kind(palette) if palette else 0
    kind = coder.choice("palette", 3, kind)
    if kind == _EXPLICIT:
        return _code_explicit(coder, palette)
    group = 1
    levels = None
    if palette is not None:
        group = palette.group
        levels = _levels(palette, kind)
    if kind == _LEVELS:
        group = 1 + coder.choice("group", MAX_GROUP, group - 1)
    count = 1 + coder.choice("levels", SYMBOLS, len(levels) - 1 if levels is not None else 0)
    if count**group > SYMBOLS:
        raise FormatError(f"a palette of groups of {group} of {count} levels has more than 16 symbols")
    values = [coder.raw(8, int(levels[0]) + 128 if levels is not None else 0) - 128]
    for i in range(1, count):
        gap = int(levels[i]) - int(levels[i - 1]) - 1 if levels is not None else 0
        values.append(values[-1] + 1 + coder.number("gap", gap))
    if values[-1] > 127:
        raise FormatError(f"a palette holds the level {values[-1]}, beyond 127: the section is corrupt")
    result = np.array(values, np.int64)
    return grouped_palette(result, group) if kind == _LEVELS else window_palette(result)


def _levels(palette: Palette, kind: int) -> np.ndarray:
    if kind == _LEVELS:
        return np.unique(palette.values[0, palette.first :].astype(np.int64))
    return np.unique(palette.values[0, :, 0].astype(np.int64))


def _kind(palette: Palette) -> int:
    if palette.passes == 1:
        levels = _levels(palette, _LEVELS)
        if len(levels) ** palette.group <= SYMBOLS and palette == grouped_palette(levels, palette.group):
            return _LEVELS
    elif palette.passes == 2 and palette.group == 1 and palette == window_palette(_levels(palette, _WINDOWS)):
        return _WINDOWS
    return _EXPLICIT


def _code_explicit(coder: Coder, palette: Palette | None) -> Palette:
    """Code any palette, as the bytes of its values."""
    shape = palette.values.shape if palette else (1, SYMBOLS, 1)
    passes = 1 + coder.choice("passes", MAX_PASSES, shape[0] - 1)
    group = 1 + coder.choice("group", MAX_GROUP, shape[2] - 1)
    first = coder.raw(4, palette.first if palette else 0)
    values = np.zeros((passes, SYMBOLS, group), np.int8)
    source = palette.values if palette else values
    for index in np.ndindex(values.shape):
        if index[1] >= first:
            byte = coder.raw(8, int(source[index]) & 255)
            values[index] = byte - 256 if byte > 127 else byte
    return Palette(values, first)


def _code_rows(coder: Coder, own: np.ndarray | None, rows: int, classes: int, free_rows: bool) -> np.ndarray:
    """Code the classes of rows: how many of each if rows are sorted by class, else one by one."""
    if classes == 1:
        return np.zeros(rows, np.uint8)
    if free_rows:
        known = np.bincount(own, minlength=classes).tolist() if own is not None else [0] * classes
        counts: list[int] = []
        for count in known[:-1]:
            counts.append(coder.number("rows", count))
        counts.append(rows - sum(counts))
        if counts[-1] < 0:
            raise FormatError(
                f"the row classes have {sum(counts[:-1])} of {rows} rows: the section is corrupt"
            )
        return np.repeat(np.arange(classes, dtype=np.uint8), counts)
    values = own.tolist() if own is not None else [0] * rows
    ids: list[int] = []
    for value in values:
        ids.append(coder.choice(("row", ids[-1] if ids else -1), classes, value))
    return np.array(ids, np.uint8)


def _code_key(coder: Coder, code: KeyCode | None = None) -> KeyCode:
    code = code or KeyCode(0)
    bits = coder.choice("key bits", MAX_KEY_BITS + 1, code.bits)
    if not bits:
        return KeyCode(0)
    return KeyCode(bits, coder.choice("rice", 16, code.rice), coder.bit("lift", code.lift))
