"""Contexts: what chooses the frequency table of a symbol.

A context is made of what does not depend on the order of the rows, so that rows may be sorted: the class of
the row, the class of the column, the class of the symbol before and of the symbol ``distance`` before, within
the same codeword. A missing neighbour is of class 0.
"""

from dataclasses import dataclass, field

import numpy as np

from ..errors import FormatError
from ..spec.coder import (
    MAX_COLUMN_BITS,
    MAX_CONTEXT_BITS,
    MAX_DISTANCE,
    MAX_NEIGHBOUR_BITS,
    MAX_ROW_BITS,
    MAX_TABLES,
    SYMBOLS,
)
from .adaptive import Coder

_NO_NEIGHBOUR = np.zeros(SYMBOLS, np.uint8)


def _bits(classes: int) -> int:
    return (classes - 1).bit_length()


@dataclass(frozen=True, kw_only=True, eq=False)
class ContextModel:
    """Classes, and the map from contexts to tables. The default: one table for everything.

    Parameters
    ----------
    row_classes : int
        Classes of rows; which row is in which is kept with the rows.
    columns : ndarray of uint8, shape (period,)
        Class of the symbol at position j of a codeword: ``columns[j % period]``.
    previous, back : ndarray of uint8, shape (16,)
        Class of a symbol as the neighbour before, as the neighbour ``distance`` before.
    distance : int
        How far back the second neighbour stands, in symbols, 1 to 16.
    tables : ndarray of uint8, shape (row classes, column classes, previous classes, back classes)
        Number of the table.

    Raises
    ------
    ValueError
        `tables` has another shape.
    FormatError
        Contexts take too many bits.
    """

    row_classes: int = 1
    columns: np.ndarray = field(default_factory=lambda: np.zeros(1, np.uint8))
    previous: np.ndarray = field(default_factory=_NO_NEIGHBOUR.copy)
    back: np.ndarray = field(default_factory=_NO_NEIGHBOUR.copy)
    distance: int = 1
    tables: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 1, 1), np.uint8))

    def __post_init__(self):
        if self.tables.shape != self.classes:
            raise ValueError(f"tables must have the shape {self.classes}, not {self.tables.shape}")
        if self.context_bits > MAX_CONTEXT_BITS:
            raise FormatError(
                f"contexts take {self.context_bits} bits; at most {MAX_CONTEXT_BITS} are possible"
            )

    @property
    def classes(self) -> tuple[int, int, int, int]:
        """Classes of rows, columns, symbols before, symbols further back."""
        return (
            self.row_classes,
            int(self.columns.max()) + 1,
            int(self.previous.max()) + 1,
            int(self.back.max()) + 1,
        )

    @property
    def context_bits(self) -> int:
        """Bits of a context, as the gateware forms it."""
        return sum(_bits(n) for n in self.classes)

    @property
    def table_count(self) -> int:
        """Tables in use."""
        return int(self.tables.max()) + 1

    @property
    def by_slot(self) -> bool:
        """Whether streams that stand at the same column may need different tables."""
        rows, _, previous, back = self.classes
        return max(rows, previous, back) > 1

    def column_classes(self, symbols: int) -> np.ndarray:
        """Return the class of each position of a codeword, uint8, shape (symbols,)."""
        period = len(self.columns)
        if period >= symbols:
            return self.columns[:symbols]
        # As np.resize, which makes a tuple of all the copies first.
        result = np.empty(symbols, np.uint8)
        whole = symbols // period * period
        result[:whole].reshape(-1, period)[:] = self.columns
        result[whole:] = self.columns[: symbols - whole]
        return result

    def table_numbers(self, symbols: np.ndarray, row_class: np.ndarray) -> np.ndarray:
        """Return the table of each symbol.

        Parameters
        ----------
        symbols : ndarray of uint8, shape (codewords, symbols)
            All codewords.
        row_class : ndarray of uint8, shape (codewords,)
            Class of the row that each codeword is of.

        Returns
        -------
        ndarray of uint8, shape (codewords, symbols)
        """
        _, columns, previous, back = self.classes
        index = row_class.astype(np.uint16)[:, None] * np.uint16(columns) + self.column_classes(
            symbols.shape[1]
        )
        index *= np.uint16(previous)
        index[:, 1:] += self.previous[symbols[:, :-1]]
        index *= np.uint16(back)
        if symbols.shape[1] > self.distance:
            index[:, self.distance :] += self.back[symbols[:, : -self.distance]]
        return self.tables.reshape(-1)[index]

    def code(self, coder: Coder, groups: int, passes: int, taps: int) -> "ContextModel":
        """Write this model to an encoder, or read one from a decoder.

        Parameters
        ----------
        coder : AdaptiveEncoder or AdaptiveDecoder
            Where to, or from; from a decoder, what this model holds is ignored.
        groups : int
            Groups of weights in a codeword.
        passes : int
            Symbols a group. If there are several, classes of columns are classes of groups, times
            `passes`, plus the pass.
        taps : int
            Groups after which a kernel repeats; classes of columns tend to.

        Returns
        -------
        ContextModel
            What was written or read.

        Raises
        ------
        FormatError
            What is read is no model.
        """
        table_count = 1 + coder.choice("tables", MAX_TABLES, self.table_count - 1)
        if table_count == 1:
            return ContextModel()
        rows = 1 + coder.choice("row classes", 1 << MAX_ROW_BITS, self.row_classes - 1)
        own_groups = self.columns[::passes] // passes
        column_count = 1 + coder.choice("column classes", 1 << MAX_COLUMN_BITS, int(own_groups.max()))
        if column_count * passes > 1 << MAX_COLUMN_BITS:
            raise FormatError(f"{column_count} column classes of {passes} passes are too many")
        group_map = np.zeros(1, np.uint8)
        if column_count > 1:
            group_map = _code_columns(coder, own_groups, column_count, groups, taps)
        column_map = (group_map[:, None] * passes + np.arange(passes)).reshape(-1).astype(np.uint8)
        maps = []
        for own in (self.previous, self.back):
            count = 1 + coder.choice("neighbour classes", 1 << MAX_NEIGHBOUR_BITS, int(own.max()))
            maps.append(_code_neighbours(coder, own, count))
        distance = self.distance
        if maps[1].any():
            distance = 1 + coder.choice("distance", MAX_DISTANCE, self.distance - 1)
        shape = (rows, int(column_map.max()) + 1, int(maps[0].max()) + 1, int(maps[1].max()) + 1)
        if sum(_bits(n) for n in shape) > MAX_CONTEXT_BITS:
            raise FormatError(f"contexts of {shape} classes take more than {MAX_CONTEXT_BITS} bits")
        numbers = self.tables if self.tables.shape == shape else np.zeros(shape, np.uint8)
        return ContextModel(
            row_classes=rows,
            columns=column_map,
            previous=maps[0],
            back=maps[1],
            distance=distance,
            tables=_code_map(coder, numbers, table_count),
        )


def _code_columns(coder: Coder, own: np.ndarray, classes: int, groups: int, taps: int) -> np.ndarray:
    """Code the classes of columns: like the one a stride before, or anew."""
    period = 1 + coder.number("column period", len(own) - 1)
    if period > max(groups, 1):
        raise FormatError(f"column classes repeat after {period} of {groups} columns: the section is corrupt")
    reading = len(own) != period
    # A stride of 0: no class is like another.
    stride = coder.number("column stride", 0 if reading else _best_stride(own, taps))
    values = [0] * period if reading else own.tolist()
    ids: list[int] = []
    hit = 1
    for i, value in enumerate(values):
        if 0 < stride <= i:
            hit = coder.bit(("column same", hit), int(value == ids[i - stride]))
            if hit:
                ids.append(ids[i - stride])
                continue
        ids.append(coder.choice("column", classes, value))
    _check_highest(ids, classes)
    return np.array(ids, np.uint8)


def _check_highest(ids: list[int], classes: int) -> None:
    if max(ids) + 1 != classes:
        raise FormatError(f"a map of {classes} classes uses {max(ids) + 1}: the section is corrupt")


def _best_stride(own: np.ndarray, taps: int) -> int:
    """Return the distance at which classes repeat most; 0 if no more than chance has it."""
    candidates = {1, taps} | {d for d in range(2, len(own) // 2 + 1) if len(own) % d == 0}
    share = {d: float(np.mean(own[d:] == own[:-d])) for d in sorted(candidates) if d < len(own)}
    chance = float(((np.bincount(own) / len(own)) ** 2).sum())
    best = max(share, key=lambda d: share[d], default=0)
    return best if best and share[best] > 1.5 * chance + 0.05 else 0


def _code_neighbours(coder: Coder, own: np.ndarray, classes: int) -> np.ndarray:
    """Code the classes of the 16 symbols; equal neighbours are likely."""
    ids: list[int] = []
    for symbol in range(SYMBOLS):
        if classes == 1:
            ids.append(0)
            continue
        if symbol and coder.bit("same class", int(own[symbol] == own[symbol - 1])):
            ids.append(ids[-1])
        else:
            ids.append(coder.choice("class", classes, int(own[symbol])))
    _check_highest(ids, classes)
    return np.array(ids, np.uint8)


def _code_map(coder: Coder, own: np.ndarray, tables: int) -> np.ndarray:
    """Code the map: a context uses the table of a neighbouring context, or another, or the next new one."""
    flat = own.reshape(-1).tolist()
    steps = [int(np.prod(own.shape[axis + 1 :])) for axis in range(4) if own.shape[axis] > 1]
    strides = np.array(np.unravel_index(np.arange(len(flat)), own.shape)).T.tolist()
    axes = [axis for axis in range(4) if own.shape[axis] > 1]
    ids: list[int] = []
    new = 0
    for i, value in enumerate(flat):
        known: list[int] = []
        for axis, step in zip(reversed(axes), reversed(steps), strict=True):
            if strides[i][axis] and ids[i - step] not in known:
                known.append(ids[i - step])
        for rank, candidate in enumerate(known):
            if coder.bit(("map", len(known), rank), int(value == candidate)):
                ids.append(candidate)
                break
        else:
            if new < tables and coder.bit("map new", int(value == new)):
                ids.append(new)
                new += 1
            elif new:
                ids.append(coder.choice("map", new, min(value, new - 1)))
            else:
                raise FormatError("the context map begins with no table: the section is corrupt")
    if max(ids) + 1 != tables:
        raise FormatError(f"the context map uses {max(ids) + 1} of {tables} tables: the section is corrupt")
    return np.array(ids, np.uint8).reshape(own.shape)
