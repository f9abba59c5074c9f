"""Clusters of histograms, and what tables cost: the arithmetic of the context search."""

from collections.abc import Iterator
from math import lgamma, log

import numpy as np

_SMOOTH = 0.02
#: Multiplications below which BLAS works alone.
_ONE_THREAD = 1 << 17
_TABLE_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def log2_permutations(n: float) -> float:
    """Return log2(n!)."""
    return lgamma(n + 1) / log(2)


def entropy_bits(counts: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return total * entropy of histograms, in bits: what their items cost with the best table."""
    counts = np.asarray(counts, np.float64)
    total = counts.sum(axis=axis)
    terms = np.where(counts > 0, counts * np.log2(np.maximum(counts, 1e-300)), 0).sum(axis=axis)
    return np.where(total > 0, total * np.log2(np.maximum(total, 1e-300)), 0) - terms


def table_cost(counts: np.ndarray) -> np.ndarray:
    """Estimate the bits of tables for histograms (tables, 16); fitted to what `frequencies` writes."""
    used = np.maximum(counts, 0)
    return 5 + (np.where(used > 0, 0.7 + 0.3 * np.log2(1 + used), 0)).sum(axis=-1)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return ``left @ right.T`` by products so small that BLAS starts no threads for them.

    The search makes thousands of small products; on a busy machine each would wait for its threads.
    """
    rows = max(1, _ONE_THREAD // max(right.size, 1))
    result = np.empty((len(left), len(right)))
    for start in range(0, len(left), rows):
        np.dot(left[start : start + rows], right.T, out=result[start : start + rows])
    return result


def law_bits(sums: np.ndarray) -> np.ndarray:
    """Return the bits of each item under the law of histograms (laws, items)."""
    smooth = sums + _SMOOTH
    return np.log2(smooth.sum(axis=1, keepdims=True)) - np.log2(smooth)


def label_sums(histograms: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the sum of the histograms of each label, (count, items)."""
    result = np.zeros((count, histograms.shape[1]))
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    result[present] = np.add.reduceat(histograms[order], starts, axis=0)
    return result


def _lloyd(
    histograms: np.ndarray, sums: np.ndarray, rounds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Assign histograms to the laws that code them best, repeatedly; return labels, sums, bits of each."""
    labels = np.full(len(histograms), -1)
    for _ in range(rounds):
        bits = product(histograms, law_bits(sums))
        new = np.argmin(bits, axis=1)
        if np.array_equal(new, labels):
            break
        labels = new
        sums = label_sums(histograms, labels, len(sums))
    used = np.unique(labels)
    labels = np.searchsorted(used, labels)
    sums = sums[used]
    own = np.take_along_axis(product(histograms, law_bits(sums)), labels[:, None], axis=1)[:, 0]
    return labels, sums, own


def cluster_contexts(counts: np.ndarray, limit: int) -> tuple[float, np.ndarray]:
    """Gather contexts into tables.

    Parameters
    ----------
    counts : ndarray, shape (contexts, 16)
        How often each symbol occurs in each context.
    limit : int
        Most tables.

    Returns
    -------
    cost : float
        Bits of symbols, tables and map.
    tables : ndarray of uint8, shape (contexts,)
        Table of each context; contexts that never occur use the table before.
    """
    seen = counts.sum(axis=1) > 0
    histograms = counts[seen].astype(np.float64)
    result = np.zeros(len(counts), np.uint8)
    if not len(histograms):
        return 0.0, result
    ideal = entropy_bits(histograms)
    best_cost, best_labels = float("inf"), np.zeros(len(histograms), np.int64)
    labels = best_labels
    sums = histograms.sum(axis=0, keepdims=True)
    own = histograms @ law_bits(sums)[0]
    worse = 0
    for count in _TABLE_COUNTS:
        if count > min(limit, len(histograms)):
            break
        if count > len(sums):
            # New clusters begin at the contexts that lose most.
            worst = np.argsort(ideal - own, kind="stable")[: count - len(sums)]
            labels, sums, own = _lloyd(histograms, np.concatenate([sums, histograms[worst]]), 6)
        cost = float(entropy_bits(sums).sum() + table_cost(sums).sum())
        if len(sums) > 1:
            cost += _map_bits(labels, len(sums))
        if cost < best_cost:
            best_cost, best_labels, worse = cost, labels, 0
        else:
            worse += 1
            if worse == 2:
                break
    last = np.maximum.accumulate(np.where(seen, np.cumsum(seen) - 1, 0))
    result[:] = best_labels[last]
    return best_cost, result


def _map_bits(labels: np.ndarray, count: int) -> float:
    """Estimate the bits of the map: what a change from the context before costs."""
    changes = int(np.count_nonzero(np.diff(labels)))
    steady = len(labels) - changes
    return float(entropy_bits(np.array([changes, steady]))) + changes * np.log2(count) * 0.7 + 4 * count**0.5


def cluster_histograms(
    histograms: np.ndarray, count: int, known: np.ndarray | None = None, where: np.ndarray | None = None
) -> np.ndarray:
    """Put histograms into `count` classes, uint8, numbered from the most predictable on.

    With `known`, the classes of the histograms `where`, the others are put beside those.
    """
    histograms = histograms.astype(np.float64)
    if known is not None:
        sums = label_sums(histograms[where], known, count)
        return np.argmin(product(histograms, law_bits(sums)), axis=1).astype(np.uint8)
    rate = entropy_bits(histograms) / np.maximum(histograms.sum(axis=1), 1)
    rank = np.argsort(np.argsort(rate, kind="stable"), kind="stable")
    labels, sums, _ = _lloyd(histograms, label_sums(histograms, rank * count // len(histograms), count), 12)
    order = np.argsort(entropy_bits(sums) / np.maximum(sums.sum(axis=1), 1), kind="stable")
    return np.argsort(order, kind="stable")[labels].astype(np.uint8)


def agglomerate(joint: np.ndarray, counts: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Merge the 16 values of a neighbour into classes, step by step, losing least information.

    Parameters
    ----------
    joint : ndarray, shape (16, 16)
        How often each symbol follows each value.
    counts : tuple of int
        Numbers of classes to stop at.

    Yields
    ------
    ndarray of uint8, shape (16,)
        Class of each value, numbered by first occurrence; values that never occur join class 0.
    """
    groups = [[v] for v in range(len(joint)) if joint[v].sum()]
    rows = [joint[g[0]].astype(np.float64) for g in groups]
    rest = [v for v in range(len(joint)) if not joint[v].sum()]
    while len(groups) > 1:
        if len(groups) in counts or len(groups) == sum(joint.sum(axis=1) > 0):
            merged = np.zeros(len(joint), np.uint8)
            for label, group in enumerate(sorted(groups)):
                merged[group] = label
            merged[rest] = 0
            yield merged
        alone = entropy_bits(np.array(rows))
        i, j = np.triu_indices(len(rows), 1)
        stacked = np.array(rows)
        loss = entropy_bits(stacked[i] + stacked[j]) - alone[i] - alone[j]
        pick = int(np.argmin(loss))
        a, b = int(i[pick]), int(j[pick])
        groups[a] = sorted(groups[a] + groups[b])
        rows[a] = rows[a] + rows[b]
        del groups[b], rows[b]
