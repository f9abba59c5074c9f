"""Code one integer matrix: palette, contexts, canonical order, streams; and decode it again."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..errors import MatrixError
from ..spec.coder import MAX_KEY_BITS, SYMBOLS
from ..spec.container import MAX_COLUMNS, MAX_ROWS
from ..spec.layout import Layout, Sharing, StreamPlan
from .arrange import Arrangement
from .backend import Decoder, backend
from .contexts import ContextModel
from .frequencies import Table, cumulative, fit_tables
from .keys import KeyCode, choose_key_bits, encode_keys
from .palette import Palette, choose_palette, to_symbols
from .search import ContextLimits, search_contexts
from .side import SideInformation, write_side

#: A kernel's greatest height and width.
MAX_KERNEL = 65535
#: Coded bits that a stream of an archive should have at least.
_STREAM_BITS = 4000


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Shape of a matrix, and the order of its columns.

    Parameters
    ----------
    rows, channels : int
        Rows, and input channels.
    kernel : tuple of int
        Height and width; (1, 1) for a dense layer. A row has channels * height * width weights.
    taps_first : bool
        Columns in the order (dy, dx, channel) instead of (channel, dy, dx).
    four_axes : bool
        Whether the weights are an array (rows, channels, height, width), not (rows, columns).
    """

    rows: int
    channels: int
    kernel: tuple[int, int] = (1, 1)
    taps_first: bool = False
    four_axes: bool = False

    @property
    def columns(self) -> int:
        """Weights a row."""
        return self.channels * self.kernel[0] * self.kernel[1]

    def flatten(self, weights: np.ndarray) -> np.ndarray:
        """Return (rows, columns) in coded column order from (rows, channels) or (rows, channels, h, w)."""
        cube = weights.reshape(self.rows, self.channels, *self.kernel)
        if self.taps_first:
            cube = cube.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(cube.reshape(self.rows, self.columns))

    def unflatten(self, weights: np.ndarray) -> np.ndarray:
        """Undo `flatten`: (rows, columns), or (rows, channels, height, width) if `four_axes`."""
        if self.taps_first:
            cube = weights.reshape(self.rows, *self.kernel, self.channels).transpose(0, 3, 1, 2)
        else:
            cube = weights.reshape(self.rows, self.channels, *self.kernel)
        return np.ascontiguousarray(cube if self.four_axes else cube.reshape(self.rows, self.columns))


@dataclass(frozen=True, kw_only=True)
class CodedMatrix:
    """A matrix as the file holds it: side information, keys, and the words of each lane.

    Parameters
    ----------
    geometry : Geometry
        Shape and column order.
    free_rows : bool
        Whether rows were sorted. Then `row_class` never falls.
    palette, contexts, fitted
        What symbols stand for, what chooses tables, the tables with their predictions.
    row_class : ndarray of uint8, shape (rows,)
        Class of each row.
    key_codes : list of KeyCode
        How the keys of each row class are stored.
    key_data : bytes
        The keys.
    layout, sharing
        Streams.
    lanes : list of ndarray of uint16
        Words of each distinct lane.
    stored_side : bytes, optional
        The side information as a file held it.
    """

    geometry: Geometry
    free_rows: bool
    palette: Palette
    contexts: ContextModel
    fitted: list[tuple[Table, int, int]]
    row_class: np.ndarray
    key_codes: list[KeyCode]
    key_data: bytes = field(repr=False)
    layout: Layout
    sharing: Sharing
    lanes: list[np.ndarray] = field(repr=False)
    stored_side: bytes | None = field(default=None, repr=False)

    @cached_property
    def plan(self) -> StreamPlan:
        """Where each codeword stands."""
        return StreamPlan(
            self.geometry.rows, self.row_symbols, self.layout, self.sharing, self.palette.passes
        )

    @property
    def tables(self) -> list[Table]:
        """The tables alone."""
        return [table for table, _, _ in self.fitted]

    @cached_property
    def side(self) -> bytes:
        """The side information, as the file holds it."""
        if self.stored_side is not None:
            return self.stored_side
        side = SideInformation(
            palette=self.palette,
            contexts=self.contexts,
            row_class=self.row_class,
            key_codes=self.key_codes,
            fitted=self.fitted,
        )
        taps = self.geometry.kernel[0] * self.geometry.kernel[1]
        return write_side(side, self.plan.part_symbols, taps, self.free_rows)

    @property
    def row_symbols(self) -> int:
        """Symbols a row."""
        return self.palette.row_symbols(self.geometry.columns)

    @property
    def class_rows(self) -> list[int]:
        """Rows of each row class."""
        return np.bincount(self.row_class, minlength=self.contexts.row_classes).tolist()

    def decoder(self) -> Decoder:
        """Return a decoder of the streams, of the backend in use."""
        own = backend()
        return own.decoder(
            Arrangement(self.plan),
            self.lanes,
            own.decode_keys(self.key_data, self.key_codes, self.class_rows),
            np.array([code.bits for code in self.key_codes], np.uint8)[self.row_class],
            self.row_class,
            cumulative(self.tables),
            self.contexts,
        )

    def symbols(self) -> np.ndarray:
        """Decode all symbols, uint8, shape (rows, symbols).

        Raises
        ------
        FormatError
            The streams are corrupt.
        """
        return self.decoder().symbols()

    def weights(self) -> np.ndarray:
        """Decode all weights, rows and columns in coded order.

        Returns
        -------
        ndarray of int8 (int16 if the sums of its palettes need it), shape (rows, columns)

        Raises
        ------
        FormatError
            The streams are corrupt.
        """
        return self.decoder().weights(self.palette, self.geometry.columns)


def default_layout(rows: int, bits: float) -> Layout:
    """Return the layout of an archive: one lane, up to 32 slots, and a slot only where it costs little.

    A stream costs about 11 bits, more where rows are not a multiple of the slots; so what codes to a few bits
    gets few.

    Parameters
    ----------
    rows : int
        Rows of the matrix.
    bits : float
        Estimate of its coded bits.
    """
    limit = max(1, min(32, int(bits) // _STREAM_BITS, rows))
    tiles = max(1, -(-rows // limit))
    return Layout(1, max(1, -(-rows // tiles)))


def check_weights(weights: np.ndarray) -> Geometry:
    """Return the geometry of an array of weights.

    Raises
    ------
    MatrixError
        It is not an integer array of 2 or 4 axes in int8 range, or too large.
    """
    weights = np.asarray(weights)
    if weights.dtype.kind not in "iu":
        raise MatrixError(f"weights must be integers, not {weights.dtype}: quantise them first")
    if weights.ndim not in (2, 4):
        raise MatrixError(
            f"weights must be (rows, columns) or (out, in, kh, kw), not of shape {weights.shape}"
        )
    kernel = (weights.shape[2], weights.shape[3]) if weights.ndim == 4 else (1, 1)
    geometry = Geometry(
        rows=weights.shape[0], channels=weights.shape[1], kernel=kernel, four_axes=weights.ndim == 4
    )
    if geometry.rows > MAX_ROWS or geometry.columns > MAX_COLUMNS:
        raise MatrixError(
            f"at most {MAX_ROWS} rows and {MAX_COLUMNS} columns can be coded, not {weights.shape}"
        )
    if not 1 <= min(kernel) <= max(kernel) <= MAX_KERNEL:
        raise MatrixError(
            f"kernels must be 1 x 1 to {MAX_KERNEL} x {MAX_KERNEL}, not {kernel[0]} x {kernel[1]}"
        )
    if weights.size and (int(weights.min()) < -128 or int(weights.max()) > 127):
        raise MatrixError(
            f"weights must be in [-128, 127], not in [{int(weights.min())}, {int(weights.max())}]"
        )
    return geometry


def code_matrix(
    weights: np.ndarray,
    geometry: Geometry,
    *,
    free_rows: bool = True,
    layout: Layout | None = None,
    sharing: Sharing | None = None,
    palette: Palette | None = None,
    row_class: np.ndarray | None = None,
    limits: ContextLimits | None = None,
) -> tuple[CodedMatrix, np.ndarray]:
    """Code a matrix.

    Parameters
    ----------
    weights : ndarray of int8, shape (rows, channels) or (rows, channels, height, width)
        The matrix.
    geometry : Geometry
        Its shape.
    free_rows : bool
        Whether rows may be sorted.
    layout : Layout, optional
        Streams; by default an archive's.
    sharing : Sharing, optional
        Clones and parts; by default none.
    palette : Palette, optional
        What symbols stand for; by default chosen by the levels in use.
    row_class : ndarray of uint8, shape (rows,), optional
        Classes to keep, as a relayout does; by default they are searched.
    limits : ContextLimits, optional
        How many contexts and tables there may be; by default as many as pay for themselves.

    Returns
    -------
    coded : CodedMatrix
        The matrix.
    order : ndarray of int64, shape (rows,)
        Row ``order[i]`` of `weights` is row i of the coded matrix.
    """
    weights = np.ascontiguousarray(weights, np.int8)
    if palette is None:
        palette = choose_palette(weights.reshape(geometry.rows, geometry.columns), geometry.kernel)
    sharing = sharing or Sharing()
    candidates = [geometry]
    if geometry.kernel != (1, 1) and geometry.channels > 1 and row_class is None:
        candidates.append(replace(geometry, taps_first=not geometry.taps_first))
    best = None
    for candidate in candidates:
        symbols = to_symbols(candidate.flatten(weights), palette)
        prepared = _prepare(symbols, candidate, palette, free_rows, layout, sharing, row_class, limits)
        if best is None or prepared.cost < best.cost:
            best = prepared
    assert best is not None
    return _code(best)


def code_symbols(
    symbols: np.ndarray,
    geometry: Geometry,
    palette: Palette,
    *,
    free_rows: bool = True,
    layout: Layout | None = None,
    sharing: Sharing | None = None,
    row_class: np.ndarray | None = None,
    limits: ContextLimits | None = None,
) -> tuple[CodedMatrix, np.ndarray]:
    """Code a matrix of symbols; arguments and result as in `code_matrix`."""
    sharing = sharing or Sharing()
    return _code(_prepare(symbols, geometry, palette, free_rows, layout, sharing, row_class, limits))


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """Symbols with their contexts. Free rows are sorted, but not by class yet; `order` says from where."""

    symbols: np.ndarray
    order: np.ndarray
    free_rows: bool
    geometry: Geometry
    palette: Palette
    arrangement: Arrangement
    contexts: ContextModel
    row_class: np.ndarray
    cost: float


def _prepare(
    symbols: np.ndarray,
    geometry: Geometry,
    palette: Palette,
    free_rows: bool,
    layout: Layout | None,
    sharing: Sharing,
    row_class: np.ndarray | None,
    limits: ContextLimits | None,
) -> _Prepared:
    def arrange(layout: Layout) -> Arrangement:
        return Arrangement(StreamPlan(geometry.rows, symbols.shape[1], layout, sharing, palette.passes))

    order = np.arange(geometry.rows)
    if free_rows and symbols.size:
        # First of all: the search samples rows and breaks ties, and must not see the order they came in.
        order = np.argsort(symbols.view(f"V{symbols.shape[1]}")[:, 0], kind="stable")
        symbols = symbols[order]
        row_class = None if row_class is None else row_class[order]
    # How rows are cut does not depend on the layout, but the layout on what the search finds.
    smallest = Layout(sharing.clone_groups * sharing.split_groups, sharing.clone_slots * sharing.split_slots)
    codewords = arrange(layout or smallest).split(symbols, SYMBOLS - 1)
    kernel = (1, 1) if geometry.taps_first else geometry.kernel
    contexts, row_class, cost = search_contexts(
        codewords, sharing.parts, palette, kernel, row_class, limits or ContextLimits()
    )
    return _Prepared(
        symbols=symbols,
        order=order,
        free_rows=free_rows,
        geometry=geometry,
        palette=palette,
        arrangement=arrange(layout or default_layout(geometry.rows, cost)),
        contexts=contexts,
        row_class=row_class,
        cost=cost,
    )


def _code(prepared: _Prepared) -> tuple[CodedMatrix, np.ndarray]:
    """Gather the rows by class, choose tables and keys, and write the streams."""
    symbols, row_class = prepared.symbols, prepared.row_class
    order, free_rows = prepared.order, prepared.free_rows
    palette, contexts, arrangement = prepared.palette, prepared.contexts, prepared.arrangement
    sharing = arrangement.plan.sharing
    if free_rows and contexts.row_classes > 1:
        gathered = np.argsort(row_class, kind="stable")
        symbols, order, row_class = symbols[gathered], order[gathered], row_class[gathered]
    codewords = arrangement.split(symbols, SYMBOLS - 1)
    code_class = np.repeat(row_class, sharing.parts)
    numbers = contexts.table_numbers(codewords, code_class) if contexts.table_count > 1 else None
    counts = _table_counts(codewords, numbers, contexts.table_count)
    fitted = fit_tables(counts, palette.first, palette.centre)
    tables = [table for table, _, _ in fitted]
    run = backend().codewords(codewords, numbers, cumulative(tables))
    class_rows = np.bincount(row_class, minlength=contexts.row_classes).tolist()
    class_key_bits = [0] * len(class_rows)
    if free_rows and symbols.size:
        class_key_bits = _class_key_bits(
            run.leading()[:: sharing.parts], run.length[:: sharing.parts], class_rows
        )
    key_bits = np.zeros(len(codewords), np.int64)
    key_bits[:: sharing.parts] = np.array(class_key_bits, np.int64)[row_class]
    keys, lanes = run.chain(arrangement, key_bits)
    key_codes, key_data = encode_keys(keys[:: sharing.parts], class_key_bits, class_rows)
    coded = CodedMatrix(
        geometry=prepared.geometry,
        free_rows=free_rows,
        palette=palette,
        contexts=contexts,
        fitted=fitted,
        row_class=row_class,
        key_codes=key_codes,
        key_data=key_data,
        layout=arrangement.plan.layout,
        sharing=sharing,
        lanes=lanes,
    )
    return coded, order


def _table_counts(symbols: np.ndarray, numbers: np.ndarray | None, tables: int) -> np.ndarray:
    """Return how often each symbol occurs under each table, int64, shape (tables, 16)."""
    if numbers is None:
        return backend().count_bytes(symbols)[None, :SYMBOLS]
    counts = np.zeros(tables * SYMBOLS, np.int64)
    step = max(1, (1 << 20) // max(symbols.shape[1], 1))
    for start in range(0, len(symbols), step):
        index = numbers[start : start + step].astype(np.uint16) << 4 | symbols[start : start + step]
        counts += np.bincount(index.reshape(-1), minlength=tables * SYMBOLS)
    return counts.reshape(tables, SYMBOLS)


def _class_key_bits(leading: np.ndarray, length: np.ndarray, class_rows: list[int]) -> list[int]:
    """Choose k for each class: what saves most, within what its leanest row allows."""
    result = []
    start = 0
    for count in class_rows:
        own = slice(start, start + count)
        limit = int(min(MAX_KEY_BITS, length[own].min(initial=MAX_KEY_BITS)))
        result.append(choose_key_bits(leading[own], limit) if count else 0)
        start += count
    return result
