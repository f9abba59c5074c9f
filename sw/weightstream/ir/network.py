"""The integer graph: tensors, operators, and what they compute, exactly.

Activations are int8 or uint8 with a scale and a zero point; weights are integers; sums are int32. An operator
reads and writes the *raw* integers: where a zero point takes part in a sum, it has been folded into the bias.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..codec.matrix import CodedMatrix, Geometry
from ..errors import NetworkError

#: Limits of the arithmetic, for software and gateware alike.
MAX_MULTIPLIER_BITS = 24
MAX_SHIFT = 47
MAX_THRESHOLDS = 15


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An activation tensor; the batch axis is not part of its shape.

    Parameters
    ----------
    name : str
        Unique in its network.
    shape : tuple of int
        Channels first: (channels,) or (channels, height, width).
    dtype : str
        ``int8`` or ``uint8``; ``float32`` behind an operator that the host runs in floating point.
    scale : float
        Real value of one step, as float32.
    zero_point : int
        Integer that stands for zero.

    Raises
    ------
    NetworkError
        A field is out of range.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "uint8"
    scale: float = 1.0
    zero_point: int = 0

    def __post_init__(self):
        if self.dtype not in ("int8", "uint8", "float32"):
            raise NetworkError(f"tensor {self.name!r} must be int8, uint8 or float32, not {self.dtype}")
        if not self.shape or any(n < 1 for n in self.shape):
            raise NetworkError(f"tensor {self.name!r} must have axes of at least 1, not {self.shape}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise NetworkError(f"tensor {self.name!r} must have a positive scale, not {self.scale}")
        if self.dtype != "float32" and not self.low <= self.zero_point <= self.high:
            raise NetworkError(
                f"tensor {self.name!r} has the zero point {self.zero_point}, beyond {self.dtype}"
            )

    @property
    def low(self) -> int:
        """Smallest integer."""
        return -128 if self.dtype == "int8" else 0

    @property
    def high(self) -> int:
        """Largest integer."""
        return 127 if self.dtype == "int8" else 255

    @property
    def size(self) -> int:
        """Values an item of the batch."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantise:
    """``y = clip(zero point + round((sum + bias) * multiplier / 2**shift), low, high)``, row by row.

    Parameters
    ----------
    bias : ndarray of int32, shape (rows,)
        Added to the sums; holds ``- input zero point * sum of the row's weights`` too.
    multiplier : ndarray of int32, shape (rows,)
        1 to 2**24 - 1.
    shift : ndarray of uint8, shape (rows,)
        0 to 47.
    zero_point, low, high : int
        Of the output; low and high clip what the zero point was added to.
    rounding : str
        ``up``: halves up. ``even``: halves to the even neighbour. ``float32``: sum and bias, then the
        product, are rounded to float32 (24 significant bits), then halves to the even neighbour: what
        onnxruntime computes.
    """

    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    zero_point: int
    low: int
    high: int
    rounding: str = "even"

    def reorder(self, order: np.ndarray) -> "Requantise":
        """Return the same with its rows in another order."""
        return Requantise(
            bias=self.bias[order],
            multiplier=self.multiplier[order],
            shift=self.shift[order],
            zero_point=self.zero_point,
            low=self.low,
            high=self.high,
            rounding=self.rounding,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Thresholds:
    """``y = base + step * (number of thresholds that the sum has reached)``, row by row.

    Parameters
    ----------
    values : ndarray of int32, shape (rows, n)
        Up to 15 thresholds a row, rising; a sum reaches a threshold if it is equal or greater. They hold what
        a bias and a zero point would have added.
    base, step : int
        Output below all thresholds; and what each one adds (1 or -1).
    """

    values: np.ndarray
    base: int
    step: int = 1

    def reorder(self, order: np.ndarray) -> "Thresholds":
        """Return the same with its rows in another order."""
        return Thresholds(values=self.values[order], base=self.base, step=self.step)


Activation = Requantise | Thresholds


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """A product with a matrix, and an activation. Dense layers are 1 x 1 kernels.

    Parameters
    ----------
    name : str
        Name of the operator, for reports.
    input, output : str
        Names of tensors.
    geometry : Geometry
        Shape of the matrix.
    activation : Requantise or Thresholds
        From sums to outputs.
    weights : ndarray of int8, shape (rows, columns), or None
        The matrix in natural column order; None once it is coded.
    coded : CodedMatrix or None
        The matrix as streams.
    weight_scale : ndarray of float32, shape (1,) or (rows,)
        Real value of a weight of 1, for reports and exports.
    """

    name: str
    input: str
    output: str
    geometry: Geometry
    activation: Activation
    weights: np.ndarray | None = None
    coded: CodedMatrix | None = None
    weight_scale: np.ndarray = field(default_factory=lambda: np.ones(1, np.float32))

    op = "dense"

    def matrix(self, decode: Callable[[CodedMatrix], np.ndarray] = CodedMatrix.weights) -> np.ndarray:
        """Return the weights, shape (rows, columns), in natural column order.

        Parameters
        ----------
        decode : callable, optional
            Returns the weights of a coded matrix in coded order; called if the node holds only streams.

        Raises
        ------
        NetworkError
            It has no weights.
        """
        if self.weights is not None:
            return self.weights
        if self.coded is None:
            raise NetworkError(f"node {self.name!r} has neither weights nor streams")
        return self.geometry.unflatten(decode(self.coded)).reshape(self.geometry.rows, self.geometry.columns)


@dataclass(frozen=True, kw_only=True)
class Softmax:
    """Softmax over the channels, in float32. The host runs it: no integer form of it is exact."""

    name: str
    input: str
    output: str

    op = "softmax"


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """A matrix alone, with no network around it: what `encode_matrix` writes."""

    name: str
    coded: CodedMatrix

    op = "matrix"


Node = Linear | Softmax | Matrix


@dataclass(frozen=True, kw_only=True)
class Network:
    """Tensors, and operators in an order in which they can run.

    Raises
    ------
    NetworkError
        A name is used twice, or a tensor before it is there.
    """

    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __post_init__(self):
        names = [tensor.name for tensor in self.tensors]
        if len(set(names)) != len(names):
            raise NetworkError("two tensors have the same name")
        if len({node.name for node in self.nodes}) != len(self.nodes):
            raise NetworkError("two nodes have the same name")
        known = set(self.inputs)
        for node in self.nodes:
            if isinstance(node, Matrix):
                continue
            if node.input not in known:
                raise NetworkError(f"node {node.name!r} reads {node.input!r} before it is computed")
            if node.output in known or node.output not in names:
                raise NetworkError(f"node {node.name!r} writes {node.output!r}, which is no free tensor")
            known.add(node.output)
            if isinstance(node, Linear):
                self._check_linear(node)
        if not set(self.outputs) <= known or not known <= set(names):
            raise NetworkError("an input or output of the network is no tensor of it")

    def _check_linear(self, node: Linear) -> None:
        source, target = self.tensor(node.input), self.tensor(node.output)
        if source.dtype == "float32" or target.dtype == "float32":
            raise NetworkError(f"node {node.name!r} computes with integers; its tensors must not be float32")
        if source.size != node.geometry.columns:
            raise NetworkError(
                f"node {node.name!r} has {node.geometry.columns} columns, "
                f"its input {node.input!r} {source.size} values"
            )
        if target.size != node.geometry.rows:
            raise NetworkError(
                f"node {node.name!r} has {node.geometry.rows} rows, "
                f"its output {node.output!r} {target.size} values"
            )

    def tensor(self, name: str) -> Tensor:
        """Return the tensor of a name.

        Raises
        ------
        NetworkError
            There is no such tensor.
        """
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise NetworkError(f"there is no tensor {name!r}")
