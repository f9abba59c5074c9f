"""Frequency tables: made from counts, and coded compactly.

A table is kept as 16 *levels* q and a *precision* e: the square roots of the symbols' probabilities, in
units of ``2**-e``. On this scale the sampling error of a count is the same for every symbol, so one
precision a table wastes neither bits on rare symbols nor accuracy on frequent ones. Frequencies are
``2**14 * q**2 / sum(q**2)``, rounded, the excess taken from the largest.

Levels are coded as differences to a prediction; each table says which one: the level of the symbol before
(smooth laws), the level mirrored at a centre (symmetric laws), or the level in an earlier table (contexts).
"""

from dataclasses import dataclass

import numpy as np

from ..errors import FormatError
from ..spec.coder import FREQUENCY_BITS, MAX_TABLES, SYMBOLS
from .adaptive import Coder

TOTAL = 1 << FREQUENCY_BITS
_PRECISIONS = range(1, 9)
_NEIGHBOUR, _MIRROR, _EARLIER = range(3)


@dataclass(frozen=True)
class Table:
    """A frequency table as it is coded.

    Parameters
    ----------
    precision : int
        e: a level of ``2**e`` stands for probability 1.
    levels : tuple of int
        The 16 levels; 0 for symbols that do not occur.
    """

    precision: int
    levels: tuple[int, ...]

    def frequencies(self) -> np.ndarray:
        """Return the 16 frequencies, int64, summing to 2**14, the last at least 1."""
        squares = [q * q for q in self.levels]
        total = sum(squares)
        result = [max(int(s > 0), (s * TOTAL * 2 + total) // (2 * total)) for s in squares]
        result[-1] = max(1, result[-1])
        largest = result.index(max(result))
        result[largest] += TOTAL - sum(result)
        return np.array(result, np.int64)


def cumulative(tables: list[Table]) -> np.ndarray:
    """Return the thresholds of tables as an array (tables, 17), int64: cum[t, 0] = 0, cum[t, 16] = 2**14."""
    result = np.zeros((len(tables), SYMBOLS + 1), np.int64)
    for row, table in zip(result, tables, strict=True):
        np.cumsum(table.frequencies(), out=row[1:])
    return result


def data_bits(counts: np.ndarray, frequencies: np.ndarray) -> float:
    """Return the bits of symbols with `counts` under `frequencies`; infinite if one cannot be coded."""
    used = counts > 0
    if np.any(frequencies[used] == 0):
        return float("inf")
    return float(counts[used] @ (FREQUENCY_BITS - np.log2(frequencies[used])))


def _residual_bits(residual: np.ndarray) -> np.ndarray:
    """Estimate what the adaptive coder pays for differences."""
    magnitude = np.abs(residual)
    return 0.7 + (magnitude > 0) * 1.3 + 1.6 * np.log2(np.maximum(magnitude, 1))


def fit_tables(counts: np.ndarray, first: int, centre: int) -> list[tuple[Table, int, int]]:
    """Choose precision and prediction of tables so that data and tables together are smallest.

    Parameters
    ----------
    counts : ndarray of int64, shape (tables, 16)
        How often each symbol occurs under each table; no symbol below `first`.
    first : int
        First symbol of the alphabet.
    centre : int
        Sum of two mirrored symbols' numbers, for symmetric laws.

    Returns
    -------
    list of (Table, int, int)
        Each table with its prediction and, for an earlier table, how many back.
    """
    result: list[tuple[Table, int, int]] = []
    for row in counts:
        total = int(row.sum())
        if not total:
            row = np.where(np.arange(SYMBOLS) == SYMBOLS - 1, 1, 0)
            total = 1
        roots = np.sqrt(row / total)
        best = (float("inf"), None)
        for precision in _PRECISIONS:
            levels = np.where(row > 0, np.maximum(1, np.rint(roots * (1 << precision))), 0).astype(np.int64)
            table = Table(precision, tuple(int(q) for q in levels))
            cost = data_bits(row, table.frequencies())
            if cost > best[0]:
                continue
            options = [(_NEIGHBOUR, 0), (_MIRROR, 0)]
            options += [(_EARLIER, back) for back in range(1, min(len(result), 8) + 1)]
            for mode, back in options:
                predicted = _predictions(table, mode, first, centre, result[-back][0] if back else None)
                bits = cost + 3.0 + 0.5 * back + float(_residual_bits(levels[first:] - predicted).sum())
                if bits < best[0]:
                    best = (bits, (table, mode, back))
        assert best[1] is not None
        result.append(best[1])
    return result


def _predictions(table: Table, mode: int, first: int, centre: int, earlier: Table | None) -> np.ndarray:
    """Return the predicted levels of the symbols from `first` on, all at once (levels are known)."""
    return np.array(
        [
            _predict(table.levels[:s], table.precision, mode, s, first, centre, earlier)
            for s in range(first, SYMBOLS)
        ]
    )


def _predict(
    levels: tuple[int, ...] | list[int],
    precision: int,
    mode: int,
    symbol: int,
    first: int,
    centre: int,
    earlier: Table | None,
) -> int:
    """Return the prediction of one level from the levels before it."""
    if mode == _EARLIER:
        assert earlier is not None
        shift = earlier.precision - precision
        level = earlier.levels[symbol]
        return level << -shift if shift <= 0 else (level + (1 << shift >> 1)) >> shift
    mirrored = centre - symbol
    if mode == _MIRROR and first <= mirrored < symbol:
        return levels[mirrored]
    return levels[symbol - 1] if symbol > first else 0


def code_tables(
    coder: Coder, first: int, centre: int, count: int, chosen: list[tuple[Table, int, int]] | None = None
) -> list[Table]:
    """Code tables in either direction: write `chosen` to an encoder, or read them from a decoder.

    Parameters
    ----------
    coder : AdaptiveEncoder or AdaptiveDecoder
        Where to, or from.
    first, centre : int
        As in `fit_tables`.
    count : int
        Number of tables, at most 64.
    chosen : list, optional
        What `fit_tables` returned; None to read.

    Returns
    -------
    list of Table
        The tables.

    Raises
    ------
    FormatError
        What is read is no table.
    """
    if not 1 <= count <= MAX_TABLES:
        raise FormatError(f"a layer must have 1 to {MAX_TABLES} tables, not {count}")
    tables: list[Table] = []
    for i in range(count):
        table, mode, back = chosen[i] if chosen else (None, 0, 0)
        precision = 1 + coder.choice("precision", len(_PRECISIONS), table.precision - 1 if table else 0)
        mode = coder.choice("prediction", 3, mode)
        earlier = None
        if mode == _EARLIER:
            back = 1 + coder.number("back", max(back - 1, 0))
            if back > len(tables):
                raise FormatError(f"table {i} refers to {back} tables back: the section is corrupt")
            earlier = tables[-back]
        levels = [0] * first
        for symbol in range(first, SYMBOLS):
            predicted = _predict(levels, precision, mode, symbol, first, centre, earlier)
            context = ("level", mode, min(predicted, 2))
            level = predicted + coder.signed(context, table.levels[symbol] - predicted if table else 0)
            if not 0 <= level <= 1 << precision:
                raise FormatError(f"table {i} has an impossible level {level}: the section is corrupt")
            levels.append(level)
        if not any(levels):
            raise FormatError(f"table {i} is empty: the section is corrupt")
        tables.append(Table(precision, tuple(levels)))
    return tables
