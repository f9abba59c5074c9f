"""Which channels may be relabelled: the symmetry groups of a network.

Channels that several tensors share - through operators that keep them apart - are one group with one order. A
group is free if neither an input nor an output of the network is in it: nobody outside knows its labels.
"""

from dataclasses import dataclass

from .network import Linear, Network, Softmax


@dataclass(frozen=True)
class SymmetryGroup:
    """Tensors that share a channel axis.

    Parameters
    ----------
    tensors : tuple of str
        Names, in the order in which they are computed.
    leader : str or None
        Node whose rows are sorted, and so give the order; None if the group is not free.
    """

    tensors: tuple[str, ...]
    leader: str | None


def symmetry_groups(network: Network) -> list[SymmetryGroup]:
    """Return the groups of all tensors, found by a union-find over channel axes."""
    parent = {tensor.name: tensor.name for tensor in network.tensors}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for node in network.nodes:
        if isinstance(node, Softmax):
            parent[find(node.output)] = find(node.input)
    named = {find(name) for name in (*network.inputs, *network.outputs)}
    leaders: dict[str, str] = {}
    for node in network.nodes:
        if isinstance(node, Linear):
            leaders.setdefault(find(node.output), node.name)
    members: dict[str, list[str]] = {}
    for tensor in network.tensors:
        members.setdefault(find(tensor.name), []).append(tensor.name)
    return [
        SymmetryGroup(tuple(names), None if root in named else leaders.get(root))
        for root, names in members.items()
    ]
