"""The constants of an ONNX graph: initialisers, and what nodes compute from constants alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NetworkError
from .onnx_graph import attributes, describe, import_module, require
from .values import check_finite, quantise

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Scale and zero point, of a tensor or of its slices along an axis.

    Parameters
    ----------
    scale : ndarray of float32, shape (n,)
        Real value of a step.
    zero_point : ndarray of int32, shape (1,) or (n,)
        Integer that stands for zero.
    dtype : str
        Type of the zero points, which is that of the integers.
    axis : int
        What the n slices are counted along, if n > 1.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    dtype: str = "uint8"
    axis: int = 0

    def spread(self, values: np.ndarray, ndim: int) -> np.ndarray:
        """Return `scale` or `zero_point` so that it broadcasts against an array of `ndim` axes."""
        if len(values) == 1:
            return values
        return values.reshape([-1 if i == self.axis else 1 for i in range(ndim)])


@dataclass(frozen=True, kw_only=True, eq=False)
class Constant:
    """A constant tensor.

    Parameters
    ----------
    values : ndarray of float32, bool or an integer type
        Real values, or integers.
    grid : Grid or None
        What the integers stand for, once they were dequantised.
    """

    values: np.ndarray
    grid: Grid | None = None

    def levels(self) -> np.ndarray:
        """Return the integers without their zero point, int32."""
        if self.grid is None:
            return self.values.astype(np.int32)
        return self.values - self.grid.spread(self.grid.zero_point, self.values.ndim)

    def real(self) -> np.ndarray:
        """Return the real values, float32."""
        if self.grid is None:
            return self.values.astype(np.float32)
        with np.errstate(over="ignore"):
            return self.levels().astype(np.float32) * self.grid.spread(self.grid.scale, self.values.ndim)

    def transpose(self, axes: list[int] | None = None) -> Constant:
        """Return the constant with its axes in another order; by default in reverse."""
        order = axes or list(reversed(range(self.values.ndim)))
        grid = self.grid
        if grid is not None and len(grid.scale) > 1:
            grid = replace(grid, axis=order.index(grid.axis))
        return Constant(values=self.values.transpose(order), grid=grid)


class Constants:
    """The constants of a graph by name; each initialiser is read when it is first asked for."""

    def __init__(self, graph: onnx.GraphProto):
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._values: dict[str, Constant] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._values or name in self._tensors

    def __getitem__(self, name: str) -> Constant:
        if name not in self._values:
            self._values[name] = Constant(values=_read_tensor(self._tensors[name], f"tensor {name!r}"))
        return self._values[name]

    def input(self, node: onnx.NodeProto, index: int) -> Constant | None:
        """Return an input of a node, or None if it was left out; a computed one raises `NetworkError`."""
        name = node.input[index] if index < len(node.input) else ""
        if name and name not in self:
            raise NetworkError(f"{describe(node)} must have a constant as input {index + 1}, not {name!r}")
        return self[name] if name else None

    def required(self, node: onnx.NodeProto, index: int) -> Constant:
        """Return an input of a node that must be there.

        Raises
        ------
        NetworkError
            It is not there.
        """
        constant = self.input(node, index)
        if constant is None:
            raise NetworkError(f"{describe(node)} must have an input {index + 1}")
        return constant

    def integers(self, node: onnx.NodeProto, index: int) -> np.ndarray:
        """Return an input of a node that must be there and hold integers.

        Raises
        ------
        NetworkError
            They are no integers.
        """
        constant = self.required(node, index)
        if constant.values.dtype.kind not in "iu" or constant.grid is not None:
            raise NetworkError(f"{describe(node)} must have integers as input {index + 1}")
        return constant.values

    def limits(self, node: onnx.NodeProto) -> tuple[int, int]:
        """Return the limits of a Clip of integers.

        Raises
        ------
        NetworkError
            There are not two of them, or not in order.
        """
        low, high = self.integers(node, 1), self.integers(node, 2)
        if low.size != 1 or high.size != 1 or low.item() > high.item():
            raise NetworkError(f"{describe(node)} must have two limits in order")
        return low.item(), high.item()

    def grid(self, node: onnx.NodeProto, first: int, *, axis: int = 0) -> Grid:
        """Return the grid that a node's inputs `first` (scale) and `first + 1` (zero point) say.

        Raises
        ------
        NetworkError
            Scales are not positive, zero points of another type, or not as many.
        """
        scale = self.required(node, first).values.reshape(-1)
        if scale.dtype.kind != "f" or not scale.size or not scale.min() > 0:
            raise NetworkError(f"{describe(node)} must have positive scales")
        zero_point = self.input(node, first + 1)
        if zero_point is None:
            return Grid(scale=scale, zero_point=np.zeros(1, np.int32), axis=axis)
        zeros = zero_point.values.reshape(-1)
        dtype = str(zeros.dtype)
        if dtype not in ("int8", "uint8") and (dtype != "int32" or zeros.any()):
            raise NetworkError(
                f"{describe(node)} must have int8 or uint8 zero points (int32: zeros), not {dtype}"
            )
        if len(zeros) not in (1, len(scale)):
            raise NetworkError(f"{describe(node)} has {len(scale)} scales, but {len(zeros)} zero points")
        return Grid(scale=scale, zero_point=zeros.astype(np.int32), dtype=dtype, axis=axis)

    def fold(self, node: onnx.NodeProto) -> None:
        """Compute a node whose inputs are all constants.

        Raises
        ------
        NetworkError
            Its operator is not supported on constants.
        """
        known = attributes(node)
        if node.op_type == "Constant":
            if known["value"] is None:
                raise NetworkError(f"{describe(node)} must hold a tensor in its attribute 'value'")
            result = Constant(values=_read_tensor(known["value"], f"tensor {node.output[0]!r}"))
        elif node.op_type == "Identity":
            result = self.required(node, 0)
        elif node.op_type == "Transpose":
            constant = self.required(node, 0)
            if known["perm"] and sorted(known["perm"]) != list(range(constant.values.ndim)):
                raise NetworkError(
                    f"{describe(node)} must have a permutation of the axes, not {known['perm']}"
                )
            result = constant.transpose(known["perm"])
        elif node.op_type == "QuantizeLinear":
            result = self._quantise(node)
        elif node.op_type == "Clip":
            values = self.integers(node, 0)
            result = Constant(
                values=np.clip(values.astype(np.int64), *self.limits(node)).astype(values.dtype)
            )
        elif node.op_type == "DequantizeLinear":
            values = self.integers(node, 0)
            result = Constant(values=values, grid=self._slices(node, values))
        else:
            raise NetworkError(f"{describe(node)} is not supported on constants alone")
        self._values[node.output[0]] = result

    def _quantise(self, node: onnx.NodeProto) -> Constant:
        real = self.required(node, 0).real()
        grid = self._slices(node, real)
        if grid.dtype == "int32":
            raise NetworkError(f"{describe(node)} must quantise to int8 or uint8")
        limits = np.iinfo(grid.dtype)
        levels = quantise(
            real,
            scale=grid.spread(grid.scale, real.ndim),
            zero_point=grid.spread(grid.zero_point, real.ndim),
            low=limits.min,
            high=limits.max,
        )
        return Constant(values=levels.astype(grid.dtype))

    def _slices(self, node: onnx.NodeProto, values: np.ndarray) -> Grid:
        """Return the grid of a QuantizeLinear or DequantizeLinear of constants."""
        known = require(node, block_size=0, output_dtype=0)
        # A vector has but one axis, whatever the default says.
        axis = known["axis"] % values.ndim if values.ndim > 1 else 0
        grid = self.grid(node, 1, axis=axis)
        if len(grid.scale) > 1 and values.shape[axis : axis + 1] != grid.scale.shape:
            raise NetworkError(
                f"{describe(node)} has {len(grid.scale)} scales for axis {axis} of a tensor of shape "
                f"{values.shape}"
            )
        return grid


def _read_tensor(tensor: onnx.TensorProto, what: str) -> np.ndarray:
    """Return a tensor's values."""
    onnx = import_module()
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise NetworkError(f"{what} is in another file: import the network by its path")
    try:
        values = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # of any type: the data do not fit their description
        raise NetworkError(f"{what} cannot be read: {error}") from error
    if str(values.dtype) not in ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool"):
        raise NetworkError(f"{what} must be of a float type, int8, uint8, int32 or int64, not {values.dtype}")
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        check_finite(values, what, NetworkError)
    return values
