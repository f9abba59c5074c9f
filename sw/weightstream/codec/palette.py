"""Additive palettes: one 4-bit symbol format for every weight format.

A group of ``g`` neighbouring weights of a row is ``sum over passes of palette[pass][symbol]``. A row of K
weights is ``ceil(K / g) * passes`` symbols, the passes of a group one after another.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from ..errors import FormatError, MatrixError
from ..spec.coder import MAX_GROUP, MAX_PASSES, SYMBOLS
from .backend import backend

#: Marks a weight that no symbol stands for.
UNMATCHED = 255
#: Symbols that are looked up together.
_LOOK_UPS = 1 << 16


@dataclass(frozen=True, eq=False)
class Palette:
    """What the symbols stand for.

    Parameters
    ----------
    values : ndarray of int8, shape (passes, 16, group)
        The weights of each symbol; symbols below `first` are unused and stand for zeros.
    first : int
        First symbol in use.

    Raises
    ------
    FormatError
        It does not have the shape of a palette.
    """

    values: np.ndarray
    first: int

    def __post_init__(self):
        passes, symbols, group = self.values.shape
        if not (1 <= passes <= MAX_PASSES and symbols == SYMBOLS and 1 <= group <= MAX_GROUP):
            raise FormatError(
                f"a palette must be (1..{MAX_PASSES}, 16, 1..{MAX_GROUP}), not {self.values.shape}"
            )
        if not 0 <= self.first < SYMBOLS:
            raise FormatError(f"the first symbol must be in [0, 15], not {self.first}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Palette):
            return NotImplemented
        return self.first == other.first and np.array_equal(self.values, other.values)

    @property
    def passes(self) -> int:
        """Symbols a group of weights."""
        return self.values.shape[0]

    @property
    def group(self) -> int:
        """Weights a symbol."""
        return self.values.shape[2]

    @property
    def centre(self) -> int:
        """Sum of the numbers of two mirrored symbols: of the first and the last one in use."""
        return self.first + SYMBOLS - 1

    @property
    def dtype(self) -> np.dtype:
        """The type that holds every sum of the passes: int8 or int16."""
        low = int(self.values.astype(np.int64).min(axis=1).sum(axis=0).min())
        high = int(self.values.astype(np.int64).max(axis=1).sum(axis=0).max())
        return np.dtype(np.int8 if -128 <= low and high <= 127 else np.int16)

    @property
    def largest(self) -> int:
        """Bound of the weights' magnitude."""
        return int(np.abs(self.values.astype(np.int64)).max(axis=1).sum(axis=0).max())

    def row_symbols(self, columns: int) -> int:
        """Return the symbols of a row of `columns` weights."""
        return -(-columns // self.group) * self.passes

    def weights(self, symbols: np.ndarray) -> np.ndarray:
        """Return the weights of symbols.

        Parameters
        ----------
        symbols : ndarray of uint8, shape (rows, n * passes)
            Symbols of whole groups.

        Returns
        -------
        ndarray of int8 or int16, shape (rows, n * group)
        """
        values = self.values.astype(self.dtype)
        rows, groups = len(symbols), symbols.shape[1] // self.passes
        result = np.empty((rows, groups, self.group), self.dtype)
        # A part at a time: numpy widens the symbols to 64 bits.
        step = max(1, _LOOK_UPS // max(groups, 1))
        for row, group in product(range(0, rows, step), range(0, groups, _LOOK_UPS)):
            part = symbols[row : row + step, group * self.passes : (group + _LOOK_UPS) * self.passes]
            total = values[0][part[:, :: self.passes]]
            for index in range(1, self.passes):
                total += values[index][part[:, index :: self.passes]]
            result[row : row + step, group : group + _LOOK_UPS] = total
        return result.reshape(rows, groups * self.group)


def choose_palette(weights: np.ndarray, kernel: tuple[int, int] = (1, 1)) -> Palette:
    """Return the palette for a matrix: few levels in groups, 16 levels as they are, more in two passes.

    Parameters
    ----------
    weights : ndarray of int8, shape (rows, columns)
        The matrix.
    kernel : tuple of int
        Height and width of a convolution's kernel. Weights of kernels are not grouped: a pair would
        straddle the taps that predict each other.
    """
    present = np.roll(backend().count_bytes(weights.view(np.uint8)), 128)
    levels = np.flatnonzero(present) - 128
    if not len(levels):
        levels = np.zeros(1, np.int64)
    columns = weights.shape[1]
    group = 1
    if kernel == (1, 1):
        while len(levels) > 1 and len(levels) ** (2 * group) <= SYMBOLS and 2 * group <= min(columns, 4):
            group *= 2
    if len(levels) <= SYMBOLS:
        return grouped_palette(levels, group)
    return _two_passes(present)


def grouped_palette(levels: np.ndarray, group: int) -> Palette:
    """Return the palette of all groups of `group` levels, in ascending order, the last one symbol 15."""
    count = len(levels) ** group
    values = np.zeros((1, SYMBOLS, group), np.int8)
    index = np.arange(count)
    for i in range(group):
        values[0, SYMBOLS - count :, group - 1 - i] = levels[index // len(levels) ** i % len(levels)]
    return Palette(values, SYMBOLS - count)


def _two_passes(present: np.ndarray) -> Palette:
    """Return the palette of windows of 16 levels: the first pass picks a window, the second a level in it.

    One window is laid where it holds most weights: then the first pass says little, and the second
    pass sees a neighbour's level whole.
    """
    mass = np.convolve(present, np.ones(SYMBOLS, np.int64))[SYMBOLS - 1 :]
    levels = np.flatnonzero(present)
    anchor = int(np.argmax(mass[: 256 - SYMBOLS + 1]))
    starts = np.arange(anchor % SYMBOLS - SYMBOLS, 256, SYMBOLS)
    starts = starts[(starts + SYMBOLS > levels[0]) & (starts <= levels[-1])]
    if len(starts) > SYMBOLS:
        starts = np.arange(0, 256, SYMBOLS)
    # Windows stay within int8; where two overlap, the later one takes the levels.
    return window_palette(np.clip(starts, 0, 256 - SYMBOLS) - 128)


def window_palette(starts: np.ndarray) -> Palette:
    """Return the palette of two passes: windows of 16 levels (the last: symbol 15), and offsets in them."""
    values = np.zeros((2, SYMBOLS, 1), np.int8)
    values[0, :, 0] = starts[0]
    values[0, SYMBOLS - len(starts) :, 0] = starts
    values[1, :, 0] = np.arange(SYMBOLS)
    return Palette(values, 0)


def to_symbols(weights: np.ndarray, palette: Palette) -> np.ndarray:
    """Return the symbols of a matrix.

    Parameters
    ----------
    weights : ndarray of int8, shape (rows, columns)
        The matrix; a last partial group is completed by the last symbol that fits (its extra weights
        meet no input).
    palette : Palette
        One pass of groups, or two passes as `choose_palette` makes them.

    Returns
    -------
    ndarray of uint8, shape (rows, symbols)

    Raises
    ------
    MatrixError
        A weight is not in the palette.
    """
    rows, columns = weights.shape
    if palette.passes == 1:
        return _match_groups(weights, palette)
    if palette.passes != 2 or palette.group != 1:
        raise MatrixError("only palettes of one pass, or of two with single weights, can be searched")
    high = np.full(256, UNMATCHED, np.uint8)
    low = np.zeros(256, np.uint8)
    for symbol in range(palette.first, SYMBOLS):
        for offset, level in enumerate(
            int(palette.values[0, symbol, 0]) + palette.values[1, :, 0].astype(int)
        ):
            if level <= 127:
                high[level & 255] = symbol
                low[level & 255] = offset
    result = np.empty((rows, 2 * columns), np.uint8)
    result[:, 0::2] = high[weights.view(np.uint8)]
    result[:, 1::2] = low[weights.view(np.uint8)]
    _check_matched(result)
    return result


def _match_groups(weights: np.ndarray, palette: Palette) -> np.ndarray:
    rows, columns = weights.shape
    if palette.group == 1:
        table = np.full(256, UNMATCHED, np.uint8)
        table[palette.values[0, palette.first :, 0].view(np.uint8)] = np.arange(palette.first, SYMBOLS)
        result = table[weights.view(np.uint8)]
        _check_matched(result)
        return result
    whole = columns // palette.group
    rest = columns - whole * palette.group
    result = np.full((rows, whole + (rest > 0)), UNMATCHED, np.uint8)
    for symbol in range(palette.first, SYMBOLS):
        same = np.ones((rows, result.shape[1]), bool)
        for i in range(palette.group):
            column = weights[:, i :: palette.group]
            same[:, : column.shape[1]] &= column == palette.values[0, symbol, i]
        result[same] = symbol
    _check_matched(result)
    return result


def _check_matched(symbols: np.ndarray) -> None:
    if symbols.size and int(symbols.max()) == UNMATCHED:
        raise MatrixError("the matrix holds weights that are not in its palette")
