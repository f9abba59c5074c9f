"""What people read of a compressed network: its nodes, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .sizes import file_report
from .tables import Part, Table, as_html, as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..model import Model

_GROUPS = {1: "", 2: ", pairs", 4: ", quads"}


class Report(list):
    """What each layer of a file costs: a list of dicts, that prints as tables and can be plotted.

    Parameters
    ----------
    file : dict
        What `weightstream.report.sizes.file_report` returns; its layers are the list.

    Attributes
    ----------
    file : dict
        The same.

    Examples
    --------
    >>> import numpy as np
    >>> from weightstream.model import encode_matrix, from_bytes
    >>> report = from_bytes(encode_matrix(np.eye(64, dtype=np.int8))[0]).report()
    >>> report[0]["shape"], report.file["weights"]
    ([64, 64], 4096)
    """

    def __init__(self, file: dict[str, Any]):
        super().__init__(file["layers"])
        self.file = file

    def __repr__(self) -> str:
        return as_text(report_parts(self.file))

    def _repr_html_(self) -> str:
        return as_html(report_parts(self.file))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw bits a weight of each layer: at fixed width, entropy, bound, and as coded.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default on a new figure.

        Raises
        ------
        ModuleNotFoundError
            matplotlib is not installed.
        """
        from .plots import plot_sizes

        return plot_sizes(self.file, ax)


def network_parts(model: Model) -> list[Part]:
    """Return the nodes of a network in a table, and the size of its file."""
    report = file_report(model)
    layers = {layer["name"]: layer for layer in report["layers"]}
    rows = []
    for node in model.network.nodes:
        layer = layers.get(node.name)
        costs = [""] * 6
        if layer is not None:
            costs = [_shape(layer), _alphabet(layer["palette"]), *_weights(layer)]
        rows.append((node.name or f"({node.op})", node.op, *costs))
    columns = ("node", "kind", "shape", "alphabet", "weights", "bits a weight", "bound", "ratio")
    total = ("total", "", "", "", *_weights(_layers_alone(report)))
    title = f"network: {_tensors(report['inputs'])} to {_tensors(report['outputs'])}"
    ratio = "ratio: numbers of equal length against what is coded"
    return [
        Table(title if report["inputs"] else "matrix", columns, rows, numbers=range(4, 8), total=total),
        ratio,
        size_line(report),
    ]


def report_parts(report: dict[str, Any], name: str = "") -> list[Part]:
    """Return a file's report: what it costs, where the bits are, what the host runs.

    Parameters
    ----------
    report : dict
        What `weightstream.report.sizes.file_report` returns.
    name : str
        Of the file, for the title.
    """
    title = f"{name}: bits of each layer" if name else "bits of each layer"
    columns = ("layer", "shape", "weights", "fixed", "entropy", "bound", "coded", "a weight")
    rows = [(_name(layer), _shape(layer), *_sizes(layer)) for layer in report["layers"]]
    sizes = Table(
        title, columns, rows, numbers=range(2, 8), total=("total", "", *_sizes(_layers_alone(report)))
    )
    columns = ("layer", "streams", "keys", "tables", "maps", "records", "classes", "layout")
    rows = [
        (_name(layer), *_split(layer), _classes(layer["classes"]), layer["layout"])
        for layer in report["layers"]
    ]
    places = Table(
        "where they are", columns, rows, numbers=range(1, 6), total=("total", *_split(report), "", "")
    )
    return [
        sizes,
        places,
        "fixed: numbers of equal length; bound: entropy less the orders of the rows",
        "maps: palette, classes, contexts; classes: of rows x columns x two symbols before > tables",
        *(f"{node['op']} {node['name']!r}: {node['reason']}" for node in report["host_operators"]),
        order_line(report),
        size_line(report),
    ]


def order_line(report: dict[str, Any]) -> str:
    """Return what the canonical order saved."""
    bits, bound = report["order_saved_bits"], report["permutation_bits"]
    if not bound:
        return "canonical order: no rows were free to be sorted"
    return (
        f"canonical order: saved {bits:,.0f} of the {bound:,.0f} bits that the orders of the rows are worth"
    )


def size_line(report: dict[str, Any]) -> str:
    """Return the size of a file."""
    frame = report["header_bits"] + report["graph_bits"] + report["padding_bits"]
    return (
        f"file: {report['file_bits'] // 8:,} bytes, {report['bits_per_weight']:.3f} bits a weight in all "
        f"({frame:,} bits are header, graph and padding)"
    )


def _name(layer: dict) -> str:
    return layer["name"] or f"({layer['op']})"


def _shape(layer: dict) -> str:
    return "x".join(map(str, layer["shape"]))


def _layers_alone(report: dict) -> dict:
    """Return the sums of all layers, without what belongs to none."""
    return {**report, "bits_per_weight": report["coded_bits"] / max(report["weights"], 1)}


def _sizes(item: dict) -> tuple:
    keys = ("weights", "fixed_width_bits", "entropy_bits", "bound_bits", "coded_bits")
    return *(round(item[key]) for key in keys), f"{item['bits_per_weight']:.3f}"


def _split(item: dict) -> tuple:
    return tuple(item[f"{part}_bits"] for part in ("streams", "keys", "tables", "maps", "records"))


def _classes(classes: dict) -> str:
    *counts, tables = classes.values()
    return f"{'x'.join(map(str, counts))}>{tables}"


def _alphabet(palette: dict) -> str:
    levels, group, passes = (palette[key] for key in ("levels", "group", "passes"))
    together = _GROUPS.get(group, f", groups of {group}")
    return f"{levels} level{'' if levels == 1 else 's'}{together}{f', {passes} passes' * (passes > 1)}"


def _weights(item: dict) -> tuple:
    weights, coded = max(item["weights"], 1), max(item["coded_bits"], 1)
    return (
        item["weights"],
        f"{item['bits_per_weight']:.3f}",
        f"{item['bound_bits'] / weights:.3f}",
        f"{item['fixed_width_bits'] / coded:.2f}",
    )


def _tensors(tensors: list[dict]) -> str:
    return ", ".join(
        f"{tensor['name']} ({'x'.join(map(str, tensor['shape']))}, {tensor['dtype']})" for tensor in tensors
    )
