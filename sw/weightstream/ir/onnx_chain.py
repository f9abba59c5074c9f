"""An ONNX graph as a chain of steps, each of one input: what quantised and float networks have in common.

Operators that come in several forms are taken apart (QGemm is DequantizeLinear, Gemm, QuantizeLinear), and
those that change no value (Flatten, Dropout) leave no step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, ClassVar

from ..errors import NetworkError
from .onnx_constants import Constant, Constants, Grid
from .onnx_graph import attributes, describe, import_module, require

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class Step:
    """Base of the steps.

    Parameters
    ----------
    name : str
        Name of the ONNX node, or of what it writes.
    label : str
        What to call it in a message.
    output : str
        Name under which the graph hands its result on.
    """

    name: str
    label: str
    output: str


@dataclass(frozen=True, kw_only=True)
class Dense(Step):
    """``y = weights x + bias`` of real values; weights of shape (rows, columns).

    Without a grid the bias is real values, or integers in steps of the sums.
    """

    weights: Constant
    bias: Constant | None = None


@dataclass(frozen=True, kw_only=True)
class Relu(Step):
    """``y = max(x, 0)`` of real values or integers."""


@dataclass(frozen=True, kw_only=True)
class Clip(Step):
    """``y = clip(x, low, high)`` of integers."""

    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class Quantise(Step):
    """Real values become integers on a grid."""

    grid: Grid


@dataclass(frozen=True, kw_only=True)
class Dequantise(Step):
    """Integers on a grid become real values."""

    grid: Grid


@dataclass(frozen=True, kw_only=True)
class Softmax(Step):
    """Softmax over the channels."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A graph in which every node but the first reads what the one before it writes.

    Parameters
    ----------
    input, output : str
        Names in the graph.
    shape : tuple of int
        Of the input, without the batch.
    dtype : str
        Of the input: ``float32``, ``int8`` or ``uint8``.
    steps : tuple of Step
        In order.
    """

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    steps: tuple[Step, ...]


def read_chain(model: onnx.ModelProto) -> Chain:
    """Read the graph of a model.

    Raises
    ------
    NetworkError
        It is no chain, or a node is not supported; the message names the node.
    """
    graph = model.graph
    constants = Constants(graph)
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise NetworkError(
            f"a network must have one input and one output, not {len(inputs)} and {len(graph.output)}"
        )
    dtype, batch, shape = _input_type(inputs[0])
    reader = _Reader(constants, inputs[0].name, batch, shape)
    for node in graph.node:
        computed = [name for name in node.input if name and name not in constants]
        if not computed:
            constants.fold(node)
        elif computed == [reader.current]:
            reader.read(node)
        else:
            raise NetworkError(
                f"{describe(node)} reads {', '.join(map(repr, computed))} where a chain has "
                f"{reader.current!r}: branches and operators of two inputs are not supported"
            )
    output = graph.output[0].name
    if output != reader.current:
        raise NetworkError(
            f"output {output!r} must be what the last node writes, which is {reader.current!r}"
        )
    return Chain(input=inputs[0].name, output=output, shape=shape, dtype=dtype, steps=tuple(reader.steps))


def _input_type(value: onnx.ValueInfoProto) -> tuple[str, int | None, tuple[int, ...]]:
    """Return the dtype of an input, its batch (None if it is open) and the axes behind it."""
    types = import_module().TensorProto
    dtypes = {types.FLOAT: "float32", types.INT8: "int8", types.UINT8: "uint8"}
    tensor = value.type.tensor_type
    if tensor.elem_type not in dtypes:
        raise NetworkError(f"input {value.name!r} must be of type float, int8 or uint8")
    axes = [axis.dim_value for axis in tensor.shape.dim]  # 0 where an axis has a name or nothing
    if len(axes) < 2 or min(axes[1:]) < 1:
        raise NetworkError(f"input {value.name!r} must have fixed axes behind the batch")
    return dtypes[tensor.elem_type], axes[0] if axes[0] > 0 else None, tuple(axes[1:])


class _Reader:
    """Take node after node; `current` is the value that the last one wrote, `shape` its shape."""

    def __init__(self, constants: Constants, current: str, batch: int | None, shape: tuple[int, ...]):
        self.constants = constants
        self.current = current
        self.batch = batch
        self.shape = shape
        self.steps: list[Step] = []

    def read(self, node: onnx.NodeProto) -> None:
        """Take a node that computes something from the current value."""
        attributes(node)
        if node.op_type not in self._READERS:
            raise NetworkError(f"{describe(node)} is supported on constants only")
        if self.current != node.input[0] and node.op_type != "Add":
            raise NetworkError(f"{describe(node)} must have {self.current!r} as input 1")
        self._READERS[node.op_type](self, node)
        self.current = node.output[0]
        if self.steps:
            self.steps[-1] = replace(self.steps[-1], output=self.current)

    def _append(self, step: type[Step], node: onnx.NodeProto, **fields) -> None:
        # Nodes may share a name, or have none; values do not.
        taken = {other.name for other in self.steps if isinstance(other, step)}
        name = node.name if node.name and node.name not in taken else node.output[0]
        self.steps.append(step(name=name, label=describe(node), output=node.output[0], **fields))

    def _dense(
        self, node: onnx.NodeProto, weights: Constant, rows_first: bool, bias: Constant | None
    ) -> None:
        """Append a dense layer; its weights are (rows, columns), or (columns, rows) if not `rows_first`."""
        if weights.values.ndim != 2 or not weights.values.size:
            raise NetworkError(f"{describe(node)} must have weights of two axes, not {weights.values.shape}")
        if not rows_first:
            weights = weights.transpose()
        rows, columns = weights.values.shape
        if self.shape != (columns,):
            shape = ", ".join(map(str, self.shape))
            raise NetworkError(f"{describe(node)} must read (batch, {columns}), not (batch, {shape})")
        grid = weights.grid
        if grid is not None and len(grid.scale) > 1 and (grid.axis != 0 or len(grid.scale) != rows):
            raise NetworkError(
                f"{describe(node)} must have one scale for all its weights, or one for each output"
            )
        self.shape = (rows,)
        self._append(Dense, node, weights=weights, bias=self._vector(node, bias))

    def _vector(self, node: onnx.NodeProto, bias: Constant | None) -> Constant | None:
        """Return a bias if it has one value for all channels, or one for each along its last axis."""
        if bias is not None and (
            bias.values.size not in (1, *self.shape) or bias.values.size != prod(bias.values.shape[-1:])
        ):
            raise NetworkError(
                f"{describe(node)} must have a bias of shape ({self.shape[0]},), not {bias.values.shape}"
            )
        return bias

    def _gemm(self, node: onnx.NodeProto) -> None:
        known = require(node, alpha=1.0, beta=1.0, transA=0)
        self._dense(node, self.constants.required(node, 1), known["transB"], self.constants.input(node, 2))

    def _matmul(self, node: onnx.NodeProto) -> None:
        self._dense(node, self.constants.required(node, 1), False, None)

    def _quantised(self, node: onnx.NodeProto) -> None:
        """Take QLinearMatMul (a, b, y, each with scale and zero point) or QGemm (c in front of y)."""
        gemm = node.op_type == "QGemm"
        rows_first = gemm and require(node, alpha=1.0, transA=0)["transB"]
        self._append(Dequantise, node, grid=self.constants.grid(node, 1))
        grid = self.constants.grid(node, 4, axis=0 if rows_first else 1)
        weights = Constant(values=self.constants.required(node, 3).values, grid=grid)
        self._dense(node, weights, rows_first, self.constants.input(node, 6) if gemm else None)
        output = 7 if gemm else 6
        if len(node.input) > output:
            self._append(Quantise, node, grid=self.constants.grid(node, output))

    def _add(self, node: onnx.NodeProto) -> None:
        dense = self.steps[-1] if self.steps else None
        if not isinstance(dense, Dense) or dense.bias is not None:
            raise NetworkError(f"{describe(node)} must add a bias right behind a MatMul")
        bias = self.constants.required(node, 1 if node.input[0] == self.current else 0)
        self.steps[-1] = replace(dense, bias=self._vector(node, bias))

    def _relu(self, node: onnx.NodeProto) -> None:
        self._append(Relu, node)

    def _clip(self, node: onnx.NodeProto) -> None:
        low, high = self.constants.limits(node)
        self._append(Clip, node, low=low, high=high)

    def _quantise(self, node: onnx.NodeProto) -> None:
        require(node, block_size=0, output_dtype=0)
        self._append(Quantise, node, grid=self.constants.grid(node, 1))

    def _dequantise(self, node: onnx.NodeProto) -> None:
        require(node, block_size=0, output_dtype=0)
        self._append(Dequantise, node, grid=self.constants.grid(node, 1))

    def _softmax(self, node: onnx.NodeProto) -> None:
        if len(self.shape) != 1 or attributes(node)["axis"] not in (-1, 1):
            raise NetworkError(f"{describe(node)} must run over the channels of (batch, channels)")
        self._append(Softmax, node)

    def _identity(self, node: onnx.NodeProto) -> None:
        """Take what leaves the values as they are."""

    def _dropout(self, node: onnx.NodeProto) -> None:
        training = self.constants.input(node, 2)
        if training is not None and training.values.any():
            raise NetworkError(f"{describe(node)} must not be in training mode")

    def _flatten(self, node: onnx.NodeProto) -> None:
        axis = attributes(node)["axis"]
        if axis not in (1, -len(self.shape)):
            raise NetworkError(f"{describe(node)} must keep the batch: axis 1, not {axis}")
        self.shape = (prod(self.shape),)

    def _reshape(self, node: onnx.NodeProto) -> None:
        asked = self.constants.integers(node, 1).reshape(-1).tolist()
        if 0 in asked:  # an axis to be copied, not one without values
            require(node, allowzero=0)
        size = prod(self.shape)
        axes = [
            self.shape[i - 1] if axis == 0 and 0 < i <= len(self.shape) else axis
            for i, axis in enumerate(asked)
        ]
        batch, rest = axes[:1], axes[1:]
        if batch in ([0], [self.batch]) and rest.count(-1) == 1:
            others = -prod(rest)
            rest = [size // others if axis == -1 else axis for axis in rest] if others > 0 else rest
        if batch not in ([0], [-1], [self.batch]) or not rest or min(rest) < 1 or prod(rest) != size:
            raise NetworkError(
                f"{describe(node)} must keep the batch as first axis and {size} values behind it, "
                f"not reshape to {asked}"
            )
        self.shape = tuple(rest)

    _READERS: ClassVar[dict[str, Callable[[_Reader, onnx.NodeProto], None]]] = {
        "Add": _add,
        "Clip": _clip,
        "DequantizeLinear": _dequantise,
        "Dropout": _dropout,
        "Flatten": _flatten,
        "Gemm": _gemm,
        "Identity": _identity,
        "MatMul": _matmul,
        "QGemm": _quantised,
        "QLinearMatMul": _quantised,
        "QuantizeLinear": _quantise,
        "Relu": _relu,
        "Reshape": _reshape,
        "Softmax": _softmax,
    }
