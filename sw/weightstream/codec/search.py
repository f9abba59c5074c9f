"""Search for contexts that pay for themselves: minimum description length, greedily.

Starting from one table, the search adds what saves most - classes of rows, classes of columns, the symbol
before, a symbol further back - until nothing saves more than it costs in tables, maps and lost freedom to
sort rows. Costs are entropies of joint histograms over a sample of the rows; contexts are gathered into
tables by clustering.

All decisions are made in numpy on integer histograms, so that every backend finds the same contexts.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..spec.coder import MAX_COLUMN_BITS, MAX_CONTEXT_BITS, MAX_DISTANCE, MAX_TABLES, SYMBOLS
from .clusters import (
    agglomerate,
    cluster_contexts,
    cluster_histograms,
    entropy_bits,
    label_sums,
    law_bits,
    log2_permutations,
    product,
)
from .contexts import ContextModel
from .palette import Palette

#: Symbols that are looked at to choose contexts: at first, and where that found some.
_SAMPLES = (1 << 18, 1 << 20)
#: Rounds of adding, how many first inputs are tried, and the least share of the bits that another must save.
_ROUNDS = 4
_BEGINNINGS = 2
_WORTH = 1e-4
_REFINEMENTS = 3
#: Counts of a refinement's histogram: beyond, it is left out.
_MOST_COUNTS = 1 << 23
#: A neighbour must tell so many times what independent symbols seem to tell: half a nat for each free count.
_TELLS = 1.15 * 0.72
_ROW_CLASSES = (2, 4, 8, 16)
_COLUMN_CLASSES = (2, 4, 8, 16)
_NEIGHBOUR_CLASSES = (2, 3, 4, 6, 8, 16)


@dataclass(frozen=True)
class ContextLimits:
    """What the search may use, for a machine that must load it.

    Parameters
    ----------
    bits : int
        Bits of a context; the classes that must be kept may take more.
    tables : int
        Tables.
    """

    bits: int = MAX_CONTEXT_BITS
    tables: int = MAX_TABLES


_NO_LIMITS = ContextLimits()


@dataclass(frozen=True, eq=False)
class _Inputs:
    """A choice of context inputs, before contexts are gathered into tables."""

    row_class: np.ndarray
    columns: np.ndarray
    previous: np.ndarray
    back: np.ndarray
    distance: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Classes of each input."""
        return (
            int(self.row_class.max(initial=0)) + 1,
            int(self.columns.max()) + 1,
            int(self.previous.max()) + 1,
            int(self.back.max()) + 1,
        )

    @property
    def context_bits(self) -> int:
        """Bits of a context."""
        return sum((n - 1).bit_length() for n in self.shape)


@dataclass(frozen=True, eq=False)
class _Found:
    """A choice with its cost in bits, and the table of each context."""

    cost: float
    inputs: _Inputs
    tables: np.ndarray


def search_contexts(
    codewords: np.ndarray,
    parts: int,
    palette: Palette,
    kernel: tuple[int, int],
    row_class: np.ndarray | None = None,
    limits: ContextLimits = _NO_LIMITS,
) -> tuple[ContextModel, np.ndarray, float]:
    """Choose the contexts of a layer.

    Parameters
    ----------
    codewords : ndarray of uint8, shape (rows * parts, symbols)
        The symbols. What is found depends on the order of the rows: free ones come sorted.
    parts : int
        Codewords a row.
    palette : Palette
        What symbols stand for.
    kernel : tuple of int
        Height and width of a kernel whose taps are neighbours in a row; (1, 1) if they are not.
    row_class : ndarray of uint8, shape (rows,), optional
        Classes of rows that must be kept.
    limits : ContextLimits
        How many contexts and tables there may be.

    Returns
    -------
    model : ContextModel
        The contexts.
    row_class : ndarray of uint8, shape (rows,)
        Class of each row.
    cost : float
        Estimate of the layer's bits.
    """
    for size in _SAMPLES:
        search = _Search(codewords, parts, palette, kernel, row_class, limits, size)
        model, classes, cost = search.run()
        # What a small sample shows no trace of is not looked for in a large one.
        if codewords.size <= size or model.table_count == 1:
            break
    return model, classes, cost


class _Search:
    """The search on a sample of the rows. Costs are those of the sample, side information included.

    To count the sample's gains for all rows would count its noise as often; a gain that pays for its own
    description on the sample is real.
    """

    def __init__(self, codewords, parts, palette, kernel, row_class, limits, size):
        self._codewords = codewords
        self._parts = parts
        self._rows = len(codewords) // parts
        self._palette = palette
        self._kernel = kernel
        self._fixed = row_class
        self._limits = limits
        step = -(-codewords.size // size) if codewords.size else 1
        self._kept = np.arange(0, self._rows, step)
        sample = (self._kept[:, None] * parts + np.arange(parts)).reshape(-1)
        self._sample = np.ascontiguousarray(codewords[sample]) if step > 1 else codewords
        self._scale = codewords.size / max(self._sample.size, 1)

    def run(self) -> tuple[ContextModel, np.ndarray, float]:
        """Search; see `search_contexts`."""
        passes = self._palette.passes
        none = np.zeros(SYMBOLS, np.uint8)
        rows = np.zeros(len(self._kept), np.uint8)
        if self._fixed is not None:
            rows = self._fixed[self._kept]
        columns = np.zeros(1, np.uint8)
        previous = none
        if passes > 1:
            columns = np.arange(passes, dtype=np.uint8)
            previous = np.arange(SYMBOLS, dtype=np.uint8)
        inputs = _Inputs(rows, columns, previous, none, 1)
        self._limits = replace(self._limits, bits=max(self._limits.bits, inputs.context_bits))
        start = self._evaluate(inputs)
        if not self._codewords.size:
            return self._result(start)
        return self._result(self._improve(start))

    def _improve(self, start: _Found) -> _Found:
        """Add inputs one by one, beginning with each kind of input that helps alone."""
        first: dict[str, _Found] = {}
        for kind, inputs in self._candidates(start.inputs):
            found = self._evaluate(inputs)
            if self._helps(found, start) and (kind not in first or found.cost < first[kind].cost):
                first[kind] = found
        best = start
        for found in sorted(first.values(), key=lambda found: found.cost)[:_BEGINNINGS]:
            found = self._grow(self._refine(found))
            best = min(best, found, key=lambda found: found.cost)
        return best

    def _helps(self, found: _Found, before: _Found) -> bool:
        return found.cost < before.cost * (1 - _WORTH) - 16

    def _grow(self, best: _Found) -> _Found:
        for _ in range(_ROUNDS):
            candidates = [self._evaluate(inputs) for _, inputs in self._candidates(best.inputs)]
            winner = min(candidates, key=lambda found: found.cost, default=best)
            if not self._helps(winner, best):
                break
            best = self._refine(winner)
        return best

    def _refine(self, best: _Found) -> _Found:
        """Move rows and columns to the classes whose tables code them best, as long as it helps."""
        for _ in range(_REFINEMENTS):
            inputs = best.inputs
            rows, columns = inputs.shape[:2]
            moved = inputs
            contexts = int(np.prod(inputs.shape)) * SYMBOLS
            if columns > self._palette.passes and len(inputs.columns) * contexts // columns <= _MOST_COUNTS:
                moved = replace(moved, columns=self._reassign_columns(best))
            if rows > 1 and self._fixed is None and len(self._kept) * contexts // rows <= _MOST_COUNTS:
                moved = replace(moved, row_class=self._reassign_rows(best))
            if moved is inputs or moved.shape != inputs.shape:
                break
            found = self._evaluate(moved)
            if found.cost > best.cost - 16:
                break
            best = found
        return best

    def _context_bits(self, best: _Found) -> np.ndarray:
        """Return the bits of each symbol in each context, (rows, columns, previous, back, 16)."""
        counts = self._joint(best.inputs)
        tables = best.tables.reshape(-1)
        sums = label_sums(counts.astype(np.float64), tables, int(tables.max()) + 1)
        return law_bits(sums)[tables].reshape(*best.inputs.shape, SYMBOLS)

    def _reassign_rows(self, best: _Found) -> np.ndarray:
        rows, columns, previous, back = best.inputs.shape
        bits = self._context_bits(best).reshape(rows, -1)
        joint = self._joint(replace(best.inputs, row_class=np.zeros(len(self._kept), np.uint8)), "rows")
        share = np.bincount(best.inputs.row_class, minlength=rows) / len(self._kept)
        cost = product(joint.reshape(len(self._kept), -1).astype(np.float64), bits)
        return np.argmin(cost - np.log2(np.maximum(share, 1e-3)), axis=1).astype(np.uint8)

    def _reassign_columns(self, best: _Found) -> np.ndarray:
        passes = self._palette.passes
        rows, columns, previous, back = best.inputs.shape
        classes = columns // passes
        bits = self._context_bits(best).transpose(1, 0, 2, 3, 4).reshape(classes, passes, -1)
        groups = len(best.inputs.columns) // passes
        every = np.arange(groups * passes, dtype=np.int64)
        joint = self._joint(replace(best.inputs, columns=every)).reshape(groups, passes, -1)
        share = np.bincount(best.inputs.columns[::passes] // passes, minlength=classes) / groups
        cost = product(joint.reshape(groups, -1).astype(np.float64), bits.reshape(classes, -1))
        picked = np.argmin(cost - np.log2(np.maximum(share, 1e-3)), axis=1)
        return (picked[:, None] * passes + np.arange(passes)).reshape(-1).astype(np.uint8)

    # ---- candidates ----

    def _candidates(self, now: _Inputs):
        rows, columns, previous, back = now.shape
        passes = self._palette.passes
        if rows == 1 and self._fixed is None and len(self._kept) > 1:
            for count in _ROW_CLASSES:
                if count <= len(self._kept) // 2:
                    yield "rows", replace(now, row_class=self._cluster_rows(count))
        if columns <= passes:
            yield from (("columns", replace(now, columns=c)) for c in self._column_choices())
        if previous == 1:
            for merged in self._neighbour_choices(1):
                yield "previous", replace(now, previous=merged)
        if back == 1:
            for distance in self._distances():
                for merged in self._neighbour_choices(distance):
                    yield "back", replace(now, back=merged, distance=distance)

    def _distances(self):
        passes, (height, width) = self._palette.passes, self._kernel
        wanted = {passes, 2 * passes, 3 * passes, 4 * passes, width * passes, height * width * passes}
        wanted |= {(width - 1) * passes, (width + 1) * passes}
        return sorted(d for d in wanted if 1 < d <= min(MAX_DISTANCE, self._sample.shape[1] - 1))

    def _cluster_rows(self, count: int) -> np.ndarray:
        return cluster_histograms(self._row_histograms(self._sample), count)

    def _row_histograms(self, codewords: np.ndarray) -> np.ndarray:
        """Count symbols row by row, passes apart: (rows, passes * 16)."""
        passes = self._palette.passes
        rows = codewords.reshape(len(codewords) // self._parts, -1)
        width = passes * SYMBOLS
        offset = np.arange(rows.shape[1]) % passes * SYMBOLS
        result = np.zeros((len(rows), width), np.int64)
        step = max(1, (1 << 20) // max(rows.shape[1], 1))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            index = part + offset + np.arange(len(part))[:, None] * width
            counts = np.bincount(index.reshape(-1), minlength=len(part) * width)
            result[start : start + step] = counts.reshape(len(part), width)
        return result

    def _column_choices(self):
        """Yield maps of column classes: by tap of the kernel, or clustered; passes always apart."""
        passes = self._palette.passes
        symbols = self._sample.shape[1]
        groups = symbols // passes
        if groups < 2:
            return
        index = self._sample + np.arange(symbols) * SYMBOLS
        counts = np.bincount(index.reshape(-1), minlength=symbols * SYMBOLS)
        counts = counts.reshape(groups, passes * SYMBOLS)
        taps = self._kernel[0] * self._kernel[1]
        lengths = [groups]
        if 1 < taps < groups:
            lengths.append(taps)
            if taps * passes <= 1 << MAX_COLUMN_BITS:
                yield np.arange(taps * passes, dtype=np.uint8)
        for length in lengths:
            whole = groups // length * length
            folded = counts[:whole].reshape(-1, length, passes * SYMBOLS).sum(axis=0)
            folded[: groups - whole] += counts[whole:]
            for count in _COLUMN_CLASSES:
                if count * passes <= 1 << MAX_COLUMN_BITS and count < length:
                    classes = cluster_histograms(folded, count)
                    yield (classes[:, None] * passes + np.arange(passes)).reshape(-1).astype(np.uint8)

    def _neighbour_choices(self, distance: int):
        """Yield class maps of a neighbour: all its values, and fewer classes of alike ones."""
        if distance >= self._sample.shape[1]:
            return
        here, there = self._sample[:, distance:], self._sample[:, :-distance]
        pair = (there.astype(np.uint16) << 4 | here).reshape(-1)
        joint = np.bincount(pair, minlength=SYMBOLS * SYMBOLS).reshape(SYMBOLS, SYMBOLS)
        told = entropy_bits(joint.sum(axis=0)) - entropy_bits(joint).sum()
        free = (np.count_nonzero(joint.sum(axis=1)) - 1) * (np.count_nonzero(joint.sum(axis=0)) - 1)
        if told > _TELLS * free:
            yield from agglomerate(joint, _NEIGHBOUR_CLASSES)

    # ---- costs ----

    def _joint(self, inputs: _Inputs, each: str = "") -> np.ndarray:
        """Count the sample's symbols by context, (contexts, 16); with `each` = "rows", for each row apart."""
        row_class, (rows, columns, previous, back) = inputs.row_class, inputs.shape
        if each == "rows":
            row_class, rows = np.arange(len(self._kept)), len(self._kept)
        symbols = self._sample
        contexts = rows * columns * previous * back
        kind = np.uint16 if contexts * SYMBOLS <= 1 << 16 else np.uint32
        index = np.repeat(row_class, self._parts).astype(kind)[:, None] * kind(columns)
        index = index + np.resize(inputs.columns, symbols.shape[1]).astype(kind)
        if previous > 1:
            index *= kind(previous)
            index[:, 1:] += inputs.previous[symbols[:, :-1]]
        if back > 1:
            index *= kind(back)
            index[:, inputs.distance :] += inputs.back[symbols[:, : -inputs.distance]]
        index *= kind(SYMBOLS)
        index = index + symbols
        return np.bincount(index.reshape(-1), minlength=contexts * SYMBOLS).reshape(-1, SYMBOLS)

    def _evaluate(self, inputs: _Inputs) -> _Found:
        if inputs.context_bits > min(self._limits.bits, MAX_CONTEXT_BITS):
            return _Found(float("inf"), inputs, np.zeros(inputs.shape, np.uint8))
        cost, tables = cluster_contexts(self._joint(inputs), self._limits.tables)
        cost += self._side_bits(inputs)
        return _Found(cost, inputs, tables.reshape(inputs.shape))

    def _side_bits(self, inputs: _Inputs) -> float:
        """Estimate what maps of classes cost, and what classes of rows cost in freedom to sort."""
        bits = 0.0
        if self._fixed is None and inputs.shape[0] > 1:
            sizes = np.bincount(inputs.row_class)
            bits += log2_permutations(sizes.sum()) - sum(log2_permutations(n) for n in sizes)
        passes = self._palette.passes
        if len(inputs.columns) > passes:
            classes = inputs.columns[::passes] // passes
            bits += 12 + float(entropy_bits(np.bincount(classes))) + 5 * int(classes.max())
        for merged in (inputs.previous, inputs.back):
            count = int(merged.max())
            if 0 < count < SYMBOLS - 1:
                bits += 16 + 8 * count
        return bits

    # ---- result ----

    def _result(self, best: _Found) -> tuple[ContextModel, np.ndarray, float]:
        inputs = best.inputs
        row_class = self._fixed if self._fixed is not None else np.zeros(self._rows, np.uint8)
        if self._fixed is None and inputs.shape[0] > 1:
            row_class = inputs.row_class
            if len(self._kept) < self._rows:
                row_class = cluster_histograms(
                    self._row_histograms(self._codewords), inputs.shape[0], inputs.row_class, self._kept
                )
        # Classes that no row of the matrix is in would only cost.
        classes = int(row_class.max(initial=0)) + 1
        tables = best.tables[:classes]
        if not tables.any():
            if classes == 1:
                return ContextModel(), np.zeros(self._rows, np.uint8), best.cost * self._scale
            # Classes that must be kept are told apart by their tables.
            tables = tables.copy()
            tables[1:] = 1
        model = ContextModel(
            row_classes=classes,
            columns=inputs.columns,
            previous=inputs.previous,
            back=inputs.back,
            distance=inputs.distance if inputs.back.any() else 1,
            tables=_renumber(tables),
        )
        return model, row_class.astype(np.uint8), best.cost * self._scale


def _renumber(tables: np.ndarray) -> np.ndarray:
    """Return the tables numbered in the order of their first use."""
    flat = tables.reshape(-1)
    _, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.uint8)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse].reshape(tables.shape)
