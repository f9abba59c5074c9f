"""Plots; matplotlib is imported when the first one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What is drawn of a layer, in this order, and its label.
_BARS = {
    "fixed_width_bits": "fixed width",
    "entropy_bits": "entropy",
    "bound_bits": "entropy less the orders of the rows",
    "coded_bits": "coded, with all side information",
}


def new_axes(width: float, height: float) -> Axes:
    """Return the axes of a new figure.

    Parameters
    ----------
    width, height : float
        Of the figure, in inches.

    Raises
    ------
    ModuleNotFoundError
        matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plots need matplotlib: pip install 'weightstream[plot]'") from error
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def plot_sizes(report: dict[str, Any], ax: Axes | None = None) -> Axes:
    """Draw bits a weight of each layer of a file, and of all together.

    Parameters
    ----------
    report : dict
        What `weightstream.report.sizes.file_report` returns.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a new figure.
    """
    items = [*report["layers"], {**report, "name": "all layers"}]
    ax = ax or new_axes(max(6.0, 1.6 * len(items)), 3.2)
    width = 0.8 / len(_BARS)
    for i, (key, label) in enumerate(_BARS.items()):
        places = [x + (i - (len(_BARS) - 1) / 2) * width for x in range(len(items))]
        heights = [item[key] / max(item["weights"], 1) for item in items]
        bars = ax.bar(places, heights, width, label=label)
        if key == "coded_bits":
            ax.bar_label(bars, fmt="%.2f", fontsize="small")
    ax.set_xticks(range(len(items)), [item["name"] or item["op"] for item in items])
    ax.set_ylabel("bits a weight")
    ax.legend(fontsize="small", ncol=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax
