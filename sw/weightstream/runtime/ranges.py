"""Ranges of a memory that the driver gives out by itself."""

from __future__ import annotations

from collections.abc import Iterable


def first_free(taken: Iterable[range], size: int, end: int, alignment: int) -> int | None:
    """Return where the first free range of a size begins, a multiple of the alignment; None: there is none.

    Parameters
    ----------
    taken : iterable of range
        What was given out.
    size : int
        Bytes that are asked for.
    end : int
        Bytes of the memory.
    alignment : int
        Of the start.
    """
    for start, stop in _gaps(taken, end, alignment):
        if start + size <= stop:
            return start
    return None


def largest_free(taken: Iterable[range], end: int, alignment: int) -> int:
    """Return the bytes of the largest range that could be given out; parameters as of `first_free`."""
    return max((stop - start for start, stop in _gaps(taken, end, alignment)), default=0)


def _gaps(taken: Iterable[range], end: int, alignment: int) -> Iterable[tuple[int, int]]:
    start = 0
    for other in sorted(taken, key=lambda held: held.start):
        if start < other.start:
            yield start, other.start
        start = -(-other.stop // alignment) * alignment
    if start < end:
        yield start, end
