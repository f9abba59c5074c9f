"""Export a network as ONNX of standard operators, which computes the same integers in onnxruntime.

A layer with a requantiser becomes DequantizeLinear, Gemm, QuantizeLinear (and Relu or Clip, where the output
does not use the whole range of its type): the form that onnxruntime runs in integers. A layer with
thresholds, for which there is no such form, becomes MatMulInteger, GreaterOrEqual and ReduceSum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..errors import NetworkError
from .dense import find_weight_scale
from .network import Linear, Network, Node, Requantise, Softmax, Tensor, Thresholds
from .onnx_graph import import_module

if TYPE_CHECKING:
    import onnx

OPSET = 17
#: The version of the file format that came with the operator set, so that older runtimes load the file too.
IR_VERSION = 8


def export_onnx(network: Network) -> onnx.ModelProto:
    """Return a network as an ONNX model, from real inputs to real outputs.

    Raises
    ------
    NetworkError
        A node has no expression in ONNX; the message names it.
    """
    graph = _Graph(network)
    for node in network.nodes:
        if isinstance(node, Softmax):
            graph.real[node.output] = graph.add(
                "Softmax", [graph.dequantise(node.input)], node.output, fixed=True, name=node.name, axis=-1
            )
        elif not isinstance(node, Linear) or node.geometry.kernel != (1, 1):
            _refuse(node, "only dense layers and softmax can")
        elif isinstance(node.activation, Requantise):
            _export_requantised(graph, node, node.activation)
        else:
            _export_thresholds(graph, node, node.activation)
    for name in network.outputs:
        graph.dequantise(name)
    return graph.model()


class _Graph:
    """Nodes and constants, and under which names the tensors' values are to be had.

    The real values of a tensor have its name; but that of an input is of what comes in, not yet quantised.

    Attributes
    ----------
    raw, real : dict of str to str
        Where the integers and the real values of a tensor are, once something computes them.
    """

    def __init__(self, network: Network):
        self._onnx = import_module()
        self._network = network
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._names = {tensor.name for tensor in network.tensors}
        self._grids: dict[str, list[str]] = {}
        self.raw: dict[str, str] = {}
        self.real: dict[str, str] = {}
        for name in network.inputs:
            several = len(self.tensor(name).shape) > 1
            self.quantise(self.add("Flatten", [name], f"{name}.flat") if several else name, name)

    def tensor(self, name: str) -> Tensor:
        """Return a tensor of the network."""
        return self._network.tensor(name)

    def constant(self, name: str, values: Any, dtype: Any) -> str:
        """Add a constant and return its name."""
        name = self._free(name)
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, *, fixed: bool = False, **attributes: Any) -> str:
        """Add a node and return the name of its output: a free one like it, or it if `fixed`."""
        output = output if fixed else self._free(output)
        self._nodes.append(self._onnx.helper.make_node(op, inputs, [output], **attributes))
        return output

    def grid(self, name: str) -> list[str]:
        """Return the names of the scale and the zero point of a tensor."""
        if name not in self._grids:
            tensor = self.tensor(name)
            scale = self.constant(f"{name}.scale", tensor.scale, np.float32)
            self._grids[name] = [scale, self.constant(f"{name}.zero_point", tensor.zero_point, tensor.dtype)]
        return self._grids[name]

    def quantise(self, real: str, name: str) -> None:
        """Quantise real values to the integers of a tensor."""
        self.raw[name] = self.add("QuantizeLinear", [real, *self.grid(name)], f"{name}.q")

    def dequantise(self, name: str) -> str:
        """Return where the real values of a tensor are; they are computed if they are nowhere yet."""
        if name not in self.real:
            inputs = [self.raw[name], *self.grid(name)]
            if name in self._network.inputs:
                self.real[name] = self.add("DequantizeLinear", inputs, f"{name}.dq")
            else:
                self.real[name] = self.add("DequantizeLinear", inputs, name, fixed=True)
        return self.real[name]

    def model(self) -> onnx.ModelProto:
        """Return the whole."""
        helper = self._onnx.helper

        def describe(name: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(
                name, self._onnx.TensorProto.FLOAT, ["N", *self.tensor(name).shape]
            )

        graph = helper.make_graph(
            self._nodes,
            "weightstream",
            [describe(name) for name in self._network.inputs],
            [describe(name) for name in self._network.outputs],
            self._constants,
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(
            graph, producer_name="weightstream", ir_version=IR_VERSION, opset_imports=[opset]
        )

    def _free(self, name: str) -> str:
        """Return a name that nothing has yet, and take it."""
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


def _refuse(node: Node, why: str) -> NoReturn:
    raise NetworkError(f"node {node.name!r} cannot be exported: {why}")


def _weights(node: Linear, target: Tensor) -> np.ndarray:
    """Return the weights of a layer, decoded if need be, int8, shape (rows, columns)."""
    weights = node.matrix()
    if weights.min() < -128 or weights.max() > 127:
        _refuse(node, "its weights must be int8")
    if len(target.shape) != 1:
        _refuse(node, f"its output must have one axis, not {len(target.shape)}")
    return weights.astype(np.int8)


def _export_requantised(graph: _Graph, node: Linear, activation: Requantise) -> None:
    """Add DequantizeLinear (weights, bias), Gemm, QuantizeLinear, and perhaps Relu or Clip."""
    source, target = graph.tensor(node.input), graph.tensor(node.output)
    weights = _weights(node, target)
    scale = find_weight_scale(activation.multiplier, activation.shift, source.scale, target.scale)
    bias = activation.bias + source.zero_point * weights.sum(axis=1, dtype=np.int64)
    if activation.rounding == "up" and activation.shift.any():
        _refuse(node, "it rounds halves up, ONNX to even")
    if np.isnan(scale).any():
        _refuse(node, "no float32 weight scale gives its multipliers")
    if bias.min() < -(1 << 31) or bias.max() >= 1 << 31:
        _refuse(node, "its biases must fit int32 without the input's zero point")

    def constant(name: str, values: np.ndarray, scale: np.ndarray) -> str:
        """Add integers with one scale, or one a row, and return their real values."""
        scale = scale[0] if (scale == scale[0]).all() else scale
        inputs = [
            graph.constant(f"{name}.q", values, values.dtype),
            graph.constant(f"{name}.scale", scale, np.float32),
            graph.constant(f"{name}.zero_point", np.zeros(scale.shape), values.dtype),
        ]
        return graph.add("DequantizeLinear", inputs, name, axis=0)

    inputs = [
        graph.dequantise(node.input),
        constant(f"{node.name}.weight", weights, scale),
        constant(f"{node.name}.bias", bias.astype(np.int32), np.float32(source.scale) * scale),
    ]
    graph.quantise(graph.add("Gemm", inputs, f"{node.name}.out", name=node.name, transB=1), node.output)
    limits = (activation.low, activation.high)
    if limits == (target.zero_point, target.high) != (target.low, target.high):
        # Between two equal quantisers: onnxruntime computes integers if nothing parts Gemm and the first.
        real = graph.add(
            "DequantizeLinear", [graph.raw[target.name], *graph.grid(target.name)], f"{node.name}.real"
        )
        graph.quantise(graph.add("Relu", [real], f"{node.name}.relu"), target.name)
    elif limits != (target.low, target.high):
        names = [graph.constant(f"{node.name}.limit", limit, target.dtype) for limit in limits]
        graph.raw[target.name] = graph.add("Clip", [graph.raw[target.name], *names], f"{target.name}.clip")


def _export_thresholds(graph: _Graph, node: Linear, activation: Thresholds) -> None:
    """Add MatMulInteger, and count for each sum the thresholds that it has reached."""
    target = graph.tensor(node.output)
    weights = graph.constant(f"{node.name}.weight.q", _weights(node, target).T, np.int8)
    sums = graph.add("MatMulInteger", [graph.raw[node.input], weights], f"{node.name}.out", name=node.name)
    axis = graph.constant(f"{node.name}.axis", [2], np.int64)
    column = graph.add("Unsqueeze", [sums, axis], f"{node.name}.column")
    values = graph.constant(f"{node.name}.thresholds", activation.values, np.int32)
    reached = graph.add("GreaterOrEqual", [column, values], f"{node.name}.reached")
    types = import_module().TensorProto
    ones = graph.add("Cast", [reached], f"{node.name}.ones", to=types.INT32)
    count = graph.add("ReduceSum", [ones, axis], f"{node.name}.count", keepdims=0)
    step = graph.constant(f"{node.name}.step", activation.step, np.int32)
    base = graph.constant(f"{node.name}.base", activation.base, np.int32)
    level = graph.add(
        "Add", [graph.add("Mul", [count, step], f"{node.name}.rise"), base], f"{node.name}.level"
    )
    dtype = types.INT8 if target.dtype == "int8" else types.UINT8
    graph.raw[node.output] = graph.add("Cast", [level], f"{node.output}.q", to=dtype)
