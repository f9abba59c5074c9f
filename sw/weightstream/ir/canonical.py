"""Put a network into canonical order, and code its matrices."""

# Ref: Basu and Varshney, "Universal and Succinct Source Coding of Deep Neural Networks", 2022
# Id: arXiv:1804.02800
# Differs: symmetry groups over the graph instead of a chain of layers

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..codec.matrix import code_matrix, code_symbols
from ..codec.palette import Palette, choose_palette
from ..codec.search import ContextLimits
from ..errors import NetworkError
from ..spec.cycles import choose_sharing, context_budget, layer_cycles
from ..spec.layout import Layout, Sharing, StreamPlan
from ..spec.machine import Machine
from .network import Linear, Matrix, Network, Node, Thresholds
from .symmetry import symmetry_groups


def code_network(
    network: Network,
    layout: Layout | Machine | None = None,
    progress: Callable[[str], None] | None = None,
    batch: int = 1,
) -> Network:
    """Sort the rows of all free layers, let columns, biases and scales follow, and code the matrices.

    Parameters
    ----------
    network : Network
        Its linear nodes hold weights.
    layout : Layout or Machine, optional
        Streams of the machine that will run it, or the machine; by default an archive's.
    progress : callable, optional
        Called with the name of each node when it is done.
    batch : int
        Items that the machine will run at once: how layers share streams is chosen for that.

    Returns
    -------
    Network
        The same function; its linear nodes hold coded matrices.
    """
    group_of = {name: group for group in symmetry_groups(network) for name in group.tensors}
    orders: dict[tuple[str, ...], np.ndarray] = {}
    nodes: list[Node] = []
    for node in network.nodes:
        if isinstance(node, Linear):
            node = _code_linear(network, node, group_of, orders, layout, batch)
        nodes.append(node)
        if progress is not None:
            progress(node.name)
    return replace(network, nodes=tuple(nodes))


def _code_linear(network, node, group_of, orders, layout, batch) -> Linear:
    if node.weights is None:
        raise NetworkError(f"node {node.name!r} has no weights to code")
    weights = node.weights
    source = network.tensor(node.input)
    order = orders.get(group_of[node.input].tensors)
    if order is not None:
        # A channel of the input is a block of columns.
        weights = weights.reshape(len(weights), source.shape[0], -1)[:, order].reshape(weights.shape)
    group = group_of[node.output]
    named_order = orders.get(group.tensors)
    if named_order is not None:
        weights = weights[named_order]
    palette = choose_palette(weights)
    sharing, limits = _fit(node, palette.row_symbols(weights.shape[1]), palette, layout, batch)
    coded, own = code_matrix(
        weights,
        node.geometry,
        free_rows=group.leader == node.name,
        layout=layout.layout if isinstance(layout, Machine) else layout,
        sharing=sharing,
        palette=palette,
        limits=limits,
    )
    if group.leader == node.name:
        orders[group.tensors] = own
    rows = own if named_order is None else named_order
    scale = node.weight_scale if len(node.weight_scale) == 1 else node.weight_scale[rows]
    return replace(
        node, weights=None, coded=coded, activation=node.activation.reorder(rows), weight_scale=scale
    )


def _fit(
    node: Linear, symbols: int, palette: Palette, layout: Layout | Machine | None, batch: int
) -> tuple[Sharing, ContextLimits]:
    """Return how a layer shares the streams of a machine, and what contexts are worth their set-up there.

    An archive shares nothing, and has what makes it small.
    """
    if layout is None:
        return Sharing(), ContextLimits()
    machine = layout if isinstance(layout, Machine) else None
    streams = layout.layout if isinstance(layout, Machine) else layout
    thresholds = isinstance(node.activation, Thresholds)
    sharing = choose_sharing(
        node.geometry.rows,
        symbols,
        streams,
        palette.passes,
        palette.group,
        positions=batch,
        columns=machine.columns if machine else 1,
        multipliers=machine.multipliers if machine else True,
        patch_words=machine.patch_words if machine else 256,
        thresholds=thresholds,
    )
    if machine is None:
        return sharing, ContextLimits()
    plan = StreamPlan(node.geometry.rows, symbols, streams, sharing, palette.passes)
    cycles = layer_cycles(plan, batch, machine.columns, palette.group, machine.patch_words, thresholds)
    return sharing, ContextLimits(*context_budget(cycles))


def relayout_network(
    network: Network,
    layout: Layout | Machine | None,
    progress: Callable[[str], None] | None = None,
    batch: int = 1,
) -> Network:
    """Deal the same weights, in the same order, to other streams; arguments as in `code_network`.

    Row classes and palettes are kept, and so is the order of the rows; the other contexts are searched anew,
    because classes of columns belong to parts of rows.

    Raises
    ------
    NetworkError
        A node is not coded.
    """
    nodes: list[Node] = []
    for node in network.nodes:
        if isinstance(node, Linear | Matrix):
            coded = node.coded
            if coded is None:
                raise NetworkError(f"node {node.name!r} is not coded")
            symbols = coded.symbols()
            sharing, limits = Sharing(), ContextLimits()
            if isinstance(node, Linear):
                sharing, limits = _fit(node, symbols.shape[1], coded.palette, layout, batch)
            again, _ = code_symbols(
                symbols,
                coded.geometry,
                coded.palette,
                free_rows=coded.free_rows,
                layout=layout.layout if isinstance(layout, Machine) else layout,
                sharing=sharing,
                row_class=coded.row_class,
                limits=limits,
            )
            node = replace(node, coded=again)
        nodes.append(node)
        if progress is not None:
            progress(node.name)
    return replace(network, nodes=tuple(nodes))
