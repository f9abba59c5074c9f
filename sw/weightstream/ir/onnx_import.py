"""Import dense networks from ONNX: quantised ones as they are, float ones quantised after training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NetworkError
from .network import Network, Tensor
from .network import Softmax as SoftmaxNode
from .onnx_chain import Dense, Dequantise, Quantise, Relu, Softmax, Step, read_chain
from .onnx_graph import load_model
from .onnx_quantised import import_quantised
from .quantise import FloatDense, quantise_network

if TYPE_CHECKING:
    import onnx

DEFAULT_BITS = 8


def import_onnx(
    model: str | os.PathLike | bytes | onnx.ModelProto,
    *,
    bits: int | None = None,
    calibration: np.ndarray | None = None,
    per_channel: bool = True,
) -> Network:
    """Import a dense network.

    Parameters
    ----------
    model : path, bytes or ModelProto
        A chain of MatMul, Gemm, Add (bias), Relu, Flatten, Reshape, Dropout, Identity and a last Softmax, in
        floating point; or quantised, with QuantizeLinear and DequantizeLinear, QLinearMatMul or QGemm.
    bits : int, optional
        Bits of the weights of a float network, 2 to 8; by default 8. Quantised networks keep theirs.
    calibration : ndarray, shape (batch, *input shape), optional
        Real inputs, such as the network will see; required if anything is to be quantised.
    per_channel : bool
        Whether each output of a float layer gets a weight scale of its own.

    Returns
    -------
    Network
        Linear nodes with plain weights, and perhaps a Softmax.

    Raises
    ------
    NetworkError
        The model cannot be read or has what is not supported; the message names the node or tensor.
    InputError
        Calibration data are missing, have the wrong shape, NaN or infinity.
    TypeError
        The network or `bits` is of another type.
    ValueError
        `bits` is out of range.
    """
    if bits is not None and (not isinstance(bits, int) or isinstance(bits, bool)):
        raise TypeError(f"bits must be an int, not {bits!r}")
    if bits is not None and not 2 <= bits <= 8:
        raise ValueError(f"bits must be in [2, 8], not {bits}")
    chain = read_chain(load_model(model))
    steps = list(chain.steps)
    softmax = steps.pop() if steps and isinstance(steps[-1], Softmax) else None
    for step in steps:
        if isinstance(step, Softmax):
            raise NetworkError(f"{step.label} must be the last node")
    if any(isinstance(step, (Quantise, Dequantise)) for step in steps):
        if bits is not None:
            raise NetworkError(f"the network is quantised already: its weights cannot be given {bits} bits")
        network = import_quantised(chain, steps, calibration)
    else:
        network = quantise_network(
            chain.input,
            chain.shape,
            _float_layers(steps),
            bits=bits or DEFAULT_BITS,
            calibration=calibration,
            per_channel=per_channel,
        )
    return network if softmax is None else _with_softmax(network, softmax)


def _float_layers(steps: Sequence[Step]) -> list[FloatDense]:
    """Return the layers of a float network."""
    layers: list[FloatDense] = []
    for step in steps:
        if isinstance(step, Dense):
            weights = step.weights.real()
            bias = np.zeros(1, np.float32) if step.bias is None else step.bias.real().reshape(-1)
            layers.append(
                FloatDense(
                    name=step.name,
                    output=step.output,
                    weights=weights,
                    bias=np.broadcast_to(bias, len(weights)),
                    relu=False,
                )
            )
        elif isinstance(step, Relu) and layers:
            layers[-1] = replace(layers[-1], output=step.output, relu=True)
        else:
            raise NetworkError(
                f"{step.label} must come behind a {'Gemm' if isinstance(step, Relu) else 'QuantizeLinear'}"
            )
    if not layers:
        raise NetworkError("the network has no MatMul or Gemm")
    return layers


def _with_softmax(network: Network, softmax: Step) -> Network:
    """Return a network with a softmax behind its output."""
    (logits,) = network.outputs
    output = Tensor(name=softmax.output, shape=network.tensor(logits).shape, dtype="float32")
    node = SoftmaxNode(name=softmax.name, input=logits, output=output.name)
    return replace(
        network, tensors=(*network.tensors, output), nodes=(*network.nodes, node), outputs=(output.name,)
    )
