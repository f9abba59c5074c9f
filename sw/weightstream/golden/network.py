"""A network, layer by layer."""

from collections.abc import Callable

import numpy as np

from ..codec.matrix import CodedMatrix
from ..ir.network import Linear, Network, Requantise
from ..ir.values import integer_output, network_input, to_raw
from .compute.mac import mac
from .compute.requantise import requantise
from .compute.thresholds import thresholds


def run(
    network: Network, x: np.ndarray, *, decode: Callable[[CodedMatrix], np.ndarray] = CodedMatrix.weights
) -> np.ndarray:
    """Compute the raw output of a network, up to the operators that the host runs in floating point.

    Parameters
    ----------
    network : Network
        Of one input and one output.
    x : ndarray, shape (batch, *input shape)
        Raw integers; or floats, which are quantised first.
    decode : callable, optional
        Returns the weights of a coded matrix in coded order; called for layers that hold no plain weights.

    Returns
    -------
    ndarray of int8 or uint8, shape (batch, *output shape)
        The tensor that `integer_output` names.

    Raises
    ------
    InputError
        `x` is not of the input's shape, or beyond its range.
    NetworkError
        A sum does not fit int32.
    FormatError
        The streams are corrupt.
    """
    source, target = network_input(network), integer_output(network)
    values = {source.name: to_raw(source, x)}
    for node in network.nodes:
        if isinstance(node, Linear):
            values[node.output] = _linear(network, node, values[node.input], decode)
    return values[target.name]


def _linear(
    network: Network, node: Linear, x: np.ndarray, decode: Callable[[CodedMatrix], np.ndarray]
) -> np.ndarray:
    weights = node.matrix(decode)
    sums = mac(x.reshape(len(x), weights.shape[1]), weights)
    activation = node.activation
    y = requantise(sums, activation) if isinstance(activation, Requantise) else thresholds(sums, activation)
    target = network.tensor(node.output)
    return y.astype(target.dtype).reshape(len(x), *target.shape)
