"""Put a network into canonical order, and code its matrices."""

# Ref: Basu and Varshney, "Universal and Succinct Source Coding of Deep Neural Networks", 2022
# Id: arXiv:1804.02800
# Differs: symmetry groups over the graph instead of a chain of layers

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..codec.matrix import code_matrix, code_symbols
from ..codec.palette import Palette, choose_palette
from ..errors import NetworkError
from ..spec.cycles import choose_sharing
from ..spec.layout import Layout, Sharing
from .network import Linear, Matrix, Network, Node
from .symmetry import symmetry_groups


def code_network(
    network: Network, layout: Layout | None = None, progress: Callable[[str], None] | None = None
) -> Network:
    """Sort the rows of all free layers, let columns, biases and scales follow, and code the matrices.

    Parameters
    ----------
    network : Network
        Its linear nodes hold weights.
    layout : Layout, optional
        Streams of the machine that will run it; by default an archive's.
    progress : callable, optional
        Called with the name of each node when it is done.

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
            node = _code_linear(network, node, group_of, orders, layout)
        nodes.append(node)
        if progress is not None:
            progress(node.name)
    return replace(network, nodes=tuple(nodes))


def _code_linear(network, node, group_of, orders, layout) -> Linear:
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
    coded, own = code_matrix(
        weights,
        node.geometry,
        free_rows=group.leader == node.name,
        layout=layout,
        sharing=_sharing(weights, palette, layout),
        palette=palette,
    )
    if group.leader == node.name:
        orders[group.tensors] = own
    rows = own if named_order is None else named_order
    scale = node.weight_scale if len(node.weight_scale) == 1 else node.weight_scale[rows]
    return replace(
        node, weights=None, coded=coded, activation=node.activation.reorder(rows), weight_scale=scale
    )


def _sharing(weights: np.ndarray, palette: Palette, layout: Layout | None) -> Sharing:
    """Return how a layer shares the streams of a machine; an archive shares nothing."""
    if layout is None:
        return Sharing()
    symbols = palette.row_symbols(weights.shape[1])
    return choose_sharing(len(weights), symbols, layout, palette.passes, palette.group)


def relayout_network(
    network: Network, layout: Layout | None, progress: Callable[[str], None] | None = None
) -> Network:
    """Deal the same weights, in the same order, to other streams.

    Row classes and palettes are kept, and so is the order of the rows; the other contexts are searched anew,
    because classes of columns belong to parts of rows.
    """
    nodes: list[Node] = []
    for node in network.nodes:
        if isinstance(node, Linear | Matrix):
            coded = node.coded
            if coded is None:
                raise NetworkError(f"node {node.name!r} is not coded")
            symbols = coded.symbols()
            sharing = Sharing()
            if layout is not None and isinstance(node, Linear):
                palette = coded.palette
                rows, count = symbols.shape
                sharing = choose_sharing(rows, count, layout, palette.passes, palette.group)
            again, _ = code_symbols(
                symbols,
                coded.geometry,
                coded.palette,
                free_rows=coded.free_rows,
                layout=layout,
                sharing=sharing,
                row_class=coded.row_class,
            )
            node = replace(node, coded=again)
        nodes.append(node)
        if progress is not None:
            progress(node.name)
    return replace(network, nodes=tuple(nodes))
