"""Waves of a simulated accelerator: read from its VCD file, drawn as a timing diagram.

The reader takes what Verilator writes: a change a line, values of zeros and ones.
"""

# Not with pyvcd's reader: it refuses the names that begin with a dollar, which Amaranth makes for what has no
# name, and takes apart every change of thousands of signals of which a few are wanted.

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import FormatError
from .plots import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLOCK = "TOP.clk"
#: Values wider than this are Python integers.
_MAX_BITS = 63
#: Candidates that an error names.
_NAMED = 5
#: Inches that a character takes in a diagram.
_CHARACTER = 0.075


def wave_names(path: str | os.PathLike[str], part: str = "") -> list[str]:
    """Return the full names of the signals in a VCD file, those that hold `part`."""
    with open(path, "rb") as file:
        return sorted(name for name in _signals(file, path) if part in name)


def read_waves(
    path: str | os.PathLike[str], signals: Mapping[str, str], *, clock: str = _CLOCK
) -> dict[str, np.ndarray]:
    """Read signals from a VCD file, a value a clock: the one that the next rising edge takes.

    Parameters
    ----------
    path : path
        What ``ws.open("sim", waves=path)`` has written. It is complete when the device is closed.
    signals : mapping of str to str
        What to call each signal, and its name in the file: a full one, or the end of one from a dot on.
    clock : str
        Name of the clock.

    Returns
    -------
    dict of ndarray, shape (clocks,)
        int64, or objects where a signal has more than 63 bits.

    Raises
    ------
    ValueError
        There is no such signal, or several.
    FormatError
        The file is no VCD file.

    Examples
    --------
    >>> waves = read_waves("job.vcd", {"beat": "TOP.m_axi_rvalid"})  # doctest: +SKIP
    """
    with open(path, "rb") as file:
        known = _signals(file, path)
        clock_code, _ = known[_full_name(known, clock)]
        chosen = {label: known[_full_name(known, name)] for label, name in signals.items()}
        codes = [code for code, _ in chosen.values()]
        rows = list(_sample(file, clock_code, codes))
    columns = zip(*rows, strict=True) if rows else ([] for _ in codes)
    return {
        label: np.array(column, np.int64 if bits <= _MAX_BITS else object)
        for (label, (_, bits)), column in zip(chosen.items(), columns, strict=True)
    }


def _signals(file: BinaryIO, path: str | os.PathLike[str]) -> dict[str, tuple[bytes, int]]:
    """Read the declarations; return code and width of each signal by its full name."""
    scopes: list[str] = []
    found: dict[str, tuple[bytes, int]] = {}
    for line in file:
        match line.split():
            case [b"$scope", _, name, b"$end"]:
                scopes.append(name.decode("latin-1"))
            case [b"$upscope", b"$end"] if scopes:
                scopes.pop()
            case [b"$var", _, bits, code, name, *_] if bits.isdigit():
                found[".".join([*scopes, name.decode("latin-1")])] = code, int(bits)
            case [b"$enddefinitions", *_]:
                return found
    raise FormatError(f"{os.fspath(path)} is no VCD file: its declarations have no end")


def _full_name(known: Mapping[str, tuple[bytes, int]], name: str) -> str:
    """Return the full name of the one signal that a name means; one signal may have several."""
    found = [full for full in known if full == name or full.endswith(f".{name}")]
    if len({known[full] for full in found}) == 1:
        return found[0]
    if not found:
        raise ValueError(
            f"a signal must be one of wave_names(), or the end of one from a dot on, not {name!r}"
        )
    few = ", ".join(found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
    raise ValueError(f"a signal must be named so far that there is only one, not {name!r}: {few}")


def _sample(file: BinaryIO, clock: bytes, codes: Sequence[bytes]) -> Iterator[list[int]]:
    """Yield the values at the end of each clock."""
    values = dict.fromkeys([clock, *codes], 0)
    high = 0
    for line in chain(file, [b"#"]):
        if line[:1] == b"#":
            # Between the falling and the next rising edge everything has settled.
            if high and not values[clock]:
                yield [values[code] for code in codes]
            high = values[clock]
        elif line[:1] == b"b":
            digits, _, code = line[1:].partition(b" ")
            if (code := code.strip()) in values:
                if digits.strip(b"01"):
                    raise FormatError(f"{file.name} holds a value of other digits than 0 and 1")
                values[code] = int(digits, 2)
        elif (code := line[1:].strip()) in values:
            values[code] = int(line[:1] == b"1")


def draw_waves(
    waves: Mapping[str, np.ndarray],
    start: int = 0,
    stop: int | None = None,
    *,
    words: Mapping[str, Mapping[int, str]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw signals as a timing diagram: lines for bits, boxes for numbers.

    Parameters
    ----------
    waves : mapping of str to ndarray of int, shape (clocks,)
        From `read_waves`; drawn from the top. What is never above 1 is a bit.
    start, stop : int
        First clock, and the one behind the last.
    words : mapping, optional
        For signals whose values have names: those names. Empty ones leave a box empty.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure.

    Raises
    ------
    ModuleNotFoundError
        matplotlib is not installed.
    """
    ax = ax or new_axes(10.0, 0.6 + 0.36 * len(waves))
    words = words or {}
    for row, (name, values) in enumerate(waves.items()):
        part = values[start:stop]
        if name not in words and not any(part > 1):
            edges = np.arange(len(part) + 1) + start
            ax.stairs(0.7 * part.astype(float) - row, edges, baseline=None, color="C0", linewidth=1.2)
        else:
            _draw_boxes(ax, part, start, -row, words.get(name))
    ax.set_yticks([0.35 - row for row in range(len(waves))], list(waves))
    ax.set_ylim(-len(waves) + 0.8, 0.9)
    ax.set_xlim(start, start + len(next(iter(waves.values()), ())[start:stop]))
    ax.set_xlabel("clock")
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "right", "top"]].set_visible(False)
    ax.grid(axis="x", alpha=0.3)
    return ax


def _draw_boxes(ax: Axes, values: np.ndarray, start: int, y: float, words: Mapping[int, str] | None) -> None:
    """Draw a box for each run of equal values, with its value where there is room."""
    from matplotlib.colors import to_rgba

    inches = ax.get_window_extent().width / ax.figure.dpi
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    for first, end in zip([0, *changes], [*changes, len(values)], strict=True):
        value = int(values[first])
        text = f"{value:x}" if words is None else words.get(value, f"{value:x}")
        if words is not None and not text:
            ax.plot([start + first, start + end], [y + 0.35] * 2, color="0.6", linewidth=0.8)
            continue
        where = [(start + first, end - first)], (y, 0.7)
        ax.broken_barh(*where, facecolor=to_rgba("C0", 0.15), edgecolor="C0", linewidth=0.8)
        if len(text) * _CHARACTER <= (end - first) * inches / len(values):
            middle = start + (first + end) / 2
            ax.text(middle, y + 0.33, text, ha="center", va="center", fontsize="x-small")
