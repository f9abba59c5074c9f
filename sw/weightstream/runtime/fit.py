"""Whether a machine can run a network: refused with what is needed, and what there is."""

import numpy as np

from ..codec.matrix import CodedMatrix
from ..errors import MachineError, NetworkError
from ..golden.compute.mac import SUM_BITS
from ..ir.network import MAX_THRESHOLDS, Linear, Network, Requantise, Tensor
from ..ir.values import integer_output, network_input
from ..spec.image import MAX_BATCH
from ..spec.layout import Sharing
from ..spec.machine import POOL_WORD, Machine

#: Weights a symbol that product tables can be built for.
_GROUPS = (1, 2, 4)


def dense_chain(network: Network) -> list[Linear]:
    """Return the layers from the input to the integer output, each reading what the one before writes.

    Raises
    ------
    MachineError
        The layers are no chain.
    NetworkError
        There is not one input and one output, or a layer is not coded.
    """
    name, target = network_input(network).name, integer_output(network).name
    layers: list[Linear] = []
    for node in network.nodes:
        if not isinstance(node, Linear):
            continue
        if node.input != name or node.input == target:
            raise MachineError(
                f"node {node.name!r} reads {node.input!r}, behind {name!r}: a machine runs chains of layers"
            )
        if node.coded is None:
            raise NetworkError(f"node {node.name!r} is not coded: compress the network first")
        layers.append(node)
        name = node.output
    if name != target:
        raise MachineError(f"the integer output is {target!r}, but the chain of layers ends in {name!r}")
    return layers


def pitch(tensor: Tensor) -> int:
    """Return the bytes from one item of a batch to the next."""
    return -(-tensor.size // POOL_WORD) * POOL_WORD


def largest_batch(network: Network, machine: Machine) -> int:
    """Return how many items of a batch fit the activation memory at once; 0 if not even one does.

    Inputs and outputs of a layer lie there side by side.
    """
    layers = dense_chain(network)
    needs = [pitch(network.tensor(node.input)) + pitch(network.tensor(node.output)) for node in layers]
    return min(machine.pool_bytes // max(needs, default=pitch(network_input(network))), MAX_BATCH)


def uses_product_tables(coded: CodedMatrix, machine: Machine) -> bool:
    """Whether a layer is multiplied by product tables: one weight a symbol is, if there are multipliers."""
    return coded.palette.group > 1 or not machine.multipliers


def check_layer(network: Network, node: Linear, machine: Machine) -> None:
    """Check that a machine has what a layer needs.

    Raises
    ------
    MachineError
        It has not; the message says what.
    """
    assert node.coded is not None
    for trouble in (
        _layout_trouble(node.coded, machine),
        _palette_trouble(node.coded, machine),
        _sharing_trouble(node.coded.sharing, machine),
        _activation_trouble(node, machine),
        _sum_trouble(network, node),
    ):
        if trouble:
            raise MachineError(f"node {node.name!r} does not fit a machine of {machine}: {trouble}")


def _layout_trouble(coded: CodedMatrix, machine: Machine) -> str:
    if coded.layout != machine.layout:
        return (
            f"it is laid out for {coded.layout} streams (lanes x slots), "
            f"the machine has {machine.layout}: relayout the model first"
        )
    geometry = coded.geometry
    if geometry.taps_first and geometry.channels > 1 and geometry.kernel != (1, 1):
        return "its columns are stored taps first, its inputs lie channels first"
    return ""


def _palette_trouble(coded: CodedMatrix, machine: Machine) -> str:
    group, passes = coded.palette.group, coded.palette.passes
    if group not in _GROUPS:
        return f"a symbol stands for {group} weights, machines take 1, 2 or 4"
    if group > max(machine.group, machine.multipliers):
        return (
            f"a symbol stands for {group} weights, but there are no product tables"
            if not machine.group
            else f"a symbol stands for {group} weights, its product tables take {machine.group}"
        )
    if passes > machine.passes:
        return f"a group of weights takes {passes} symbols, the machine adds up {machine.passes}"
    if uses_product_tables(coded, machine) and coded.sharing != Sharing():
        return f"product tables share no streams, but it has {_sharing_text(coded.sharing)}"
    return ""


def _sharing_text(sharing: Sharing) -> str:
    return (
        f"{sharing.clone_slots} clones and {sharing.split_slots} parts in slots, "
        f"{sharing.clone_groups} clones and {sharing.split_groups} parts in groups of lanes"
    )


def _sharing_trouble(sharing: Sharing, machine: Machine) -> str:
    # Clones and parts in slots divide the slots, 8 or 16: they are powers of two.
    groups = machine.groups
    if sharing.split_groups not in (1, groups):
        return f"it has parts in {sharing.split_groups} groups of lanes, the machine adds up 1 or {groups}"
    if groups % (sharing.clone_groups * sharing.split_groups):
        return (
            f"it has {sharing.clone_groups} clones and {sharing.split_groups} parts in groups of lanes, "
            f"the machine has {groups} groups"
        )
    return ""


def _activation_trouble(node: Linear, machine: Machine) -> str:
    activation = node.activation
    if isinstance(activation, Requantise):
        if activation.rounding == "float32" and not machine.float_rounding:
            return "its sums are rounded as float32 does, the machine rounds integers only"
        return ""
    if not machine.thresholds:
        return "its outputs count thresholds, the machine requantises only"
    count = activation.values.shape[1]
    return f"a row has {count} thresholds, a record holds {MAX_THRESHOLDS}" if count > MAX_THRESHOLDS else ""


def _sum_trouble(network: Network, node: Linear) -> str:
    """Check that no sum can overflow, whatever the inputs."""
    assert node.coded is not None
    low, high = _range(network, node.input)
    activation = node.activation
    bias = activation.bias.astype(np.int64) if isinstance(activation, Requantise) else np.zeros(1, np.int64)
    limit = 1 << SUM_BITS - 1
    largest = node.coded.palette.largest * max(-low, high) * node.geometry.columns
    if largest + int(np.abs(bias).max(initial=0)) < limit:
        return ""
    # The bound by the largest weight is not enough: take the weights themselves.
    weights = node.coded.weights()
    positive = np.maximum(weights, 0).sum(axis=1, dtype=np.int64)
    negative = np.minimum(weights, 0).sum(axis=1, dtype=np.int64)
    least, greatest = low * positive + high * negative, high * positive + low * negative
    low, high = int(np.minimum(least, least + bias).min()), int(np.maximum(greatest, greatest + bias).max())
    if -limit <= low and high < limit:
        return ""
    return f"its sums go from {low} to {high}, {SUM_BITS} bits hold {-limit} to {limit - 1}"


def _range(network: Network, name: str) -> tuple[int, int]:
    """Return the least and the greatest value that a tensor can have."""
    tensor = network.tensor(name)
    for node in network.nodes:
        if isinstance(node, Linear) and node.output == name:
            activation = node.activation
            if isinstance(activation, Requantise):
                ends = (activation.low, activation.high)
            else:
                ends = (activation.base, activation.base + activation.step * activation.values.shape[1])
            if tensor.low <= min(ends) and max(ends) <= tensor.high:
                return min(ends), max(ends)
    return tensor.low, tensor.high
