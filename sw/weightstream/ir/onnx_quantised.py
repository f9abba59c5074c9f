"""ONNX networks that are quantised already, taken as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError, NetworkError
from ..golden.network import run
from .dense import make_dense
from .network import Linear, Network, Tensor
from .onnx_chain import Chain, Clip, Dense, Dequantise, Quantise, Relu, Step
from .onnx_constants import Grid
from .quantise import check_calibration, fit_grid
from .values import dequantise


def import_quantised(chain: Chain, steps: Iterable[Step], calibration: np.ndarray | None) -> Network:
    """Return the integer network of a quantised graph.

    Parameters
    ----------
    chain : Chain
        The graph.
    steps : iterable of Step
        Those of its steps that are to be computed with integers.
    calibration : ndarray or None
        Real inputs; needed only if the last layer's output is not quantised.

    Raises
    ------
    NetworkError
        A layer is not quantised on both sides, or does not fit the integer arithmetic.
    InputError
        Calibration data are needed and missing, or do not fit.
    """
    assembly = _Assembly(chain)
    for step in steps:
        assembly.take(step)
    assembly.finish(calibration)
    return assembly.network()


@dataclass(kw_only=True)
class _Value:
    """Integers on their way to be a tensor.

    Parameters
    ----------
    name, shape, grid
        As the tensor will have them.
    low, high : int
        What they are clipped to.
    layer : Dense or None
        What they are the quantised output of; None for the input of the network.
    real : bool
        Whether they were dequantised.
    """

    name: str
    shape: tuple[int, ...]
    grid: Grid
    low: int
    high: int
    layer: Dense | None = None
    real: bool = False


class _Assembly:
    """Put layers together, step by step.

    `Dense` begins a layer: `_dense` is set while its sums are real numbers. `Quantise` turns them into
    `_value`, which may still be clipped; so the layer is closed only when the next one begins.
    """

    def __init__(self, chain: Chain):
        self._chain = chain
        self._tensors: list[Tensor] = []
        self._nodes: list[Linear] = []
        #: Range of the last tensor, and the name of the last step's output.
        self._range = (0, 0)
        self._output = chain.input
        self._value: _Value | None = None
        self._dense: Dense | None = None
        self._rectified = False

    def take(self, step: Step) -> None:
        """Take the next step."""
        if isinstance(step, Dense):
            if self._dense is not None or self._value is None or not self._value.real:
                raise NetworkError(f"{step.label} must read what a DequantizeLinear writes")
            if step.weights.grid is None:
                raise NetworkError(f"{step.label} must have quantised weights, as its input is quantised")
            self._close()
            self._dense = step
        elif isinstance(step, Quantise):
            self._quantise(step)
        elif isinstance(step, Dequantise):
            self._dequantise(step)
        elif isinstance(step, Relu):
            if self._dense is not None:
                self._rectified = True
            else:
                value = self._integers(step)
                self._clip(step, int(value.grid.zero_point[0]) if value.real else 0, value.high)
        elif isinstance(step, Clip):
            self._clip(step, step.low, step.high)
        self._output = step.output
        if self._value is not None and self._value.layer is not None:
            self._value.name = step.output

    def finish(self, calibration: np.ndarray | None) -> None:
        """Close the last layer; if its output is real, quantise it by calibration."""
        dense = self._dense
        if dense is not None:
            if calibration is None:
                raise InputError(f"{dense.label} leaves the output unquantised: calibration data are needed")
            x = check_calibration(calibration, self._chain.shape)
            source = self._tensors[-1]
            before = dequantise(source, run(self.network(), x)).reshape(len(x), -1)
            real = before @ dense.weights.real().T
            unit = _unit(dense, source)
            real += _bias(dense, unit) * unit
            scale, zero_point = fit_grid(np.maximum(real, 0) if self._rectified else real, clip=False)
            grid = Grid(scale=np.array([scale], np.float32), zero_point=np.array([zero_point], np.int32))
            self.take(Quantise(name=dense.name, label=dense.label, output=self._output, grid=grid))
        self._close()
        if not self._nodes:
            raise NetworkError("the network has no MatMul or Gemm")

    def network(self) -> Network:
        """Return what is closed so far."""
        return Network(
            tensors=tuple(self._tensors),
            nodes=tuple(self._nodes),
            inputs=(self._chain.input,),
            outputs=(self._tensors[-1].name,),
        )

    def _integers(self, step: Step) -> _Value:
        """Return the current integers, which a step needs."""
        if self._dense is not None or self._value is None:
            raise NetworkError(f"{step.label} must come behind a QuantizeLinear")
        return self._value

    def _quantise(self, step: Quantise) -> None:
        grid = step.grid
        if grid.dtype not in ("int8", "uint8") or len(grid.scale) != 1:
            raise NetworkError(f"{step.label} must have one scale and an int8 or uint8 zero point")
        if self._value is not None and self._dense is None:
            same = _same(grid, self._value.grid) and grid.dtype == self._value.grid.dtype
            if not self._value.real or not same:
                raise NetworkError(
                    f"{step.label} must not quantise once more, to another scale or zero point"
                )
            self._value.real = False
            return
        limits = np.iinfo(grid.dtype)
        self._value = _Value(
            name=self._chain.input,
            shape=self._chain.shape if self._dense is None else self._dense.weights.values.shape[:1],
            grid=grid,
            low=int(grid.zero_point[0]) if self._rectified else limits.min,
            high=limits.max,
            layer=self._dense,
        )
        self._dense, self._rectified = None, False

    def _dequantise(self, step: Dequantise) -> None:
        if self._value is None and self._chain.dtype != "float32":  # the network's input is integers
            grid = replace(step.grid, dtype=self._chain.dtype)
            self._quantise(Quantise(name=step.name, label=step.label, output=step.output, grid=grid))
        value = self._integers(step)
        if value.real or not _same(step.grid, value.grid):
            raise NetworkError(
                f"{step.label} must have the scale and zero point with which its input was quantised"
            )
        value.real = True

    def _clip(self, step: Step, low: int, high: int) -> None:
        value = self._integers(step)
        if value.layer is None:
            raise NetworkError(f"{step.label} must not clip the input of the network")
        if isinstance(step, Clip) and value.real:
            raise NetworkError(
                f"{step.label} must clip integers, between QuantizeLinear and DequantizeLinear"
            )
        limits = np.iinfo(value.grid.dtype)
        if not limits.min <= low <= high <= limits.max:
            raise NetworkError(f"{step.label} must have limits of type {value.grid.dtype}")
        value.low, value.high = (min(max(limit, low), high) for limit in (value.low, value.high))

    def _close(self) -> None:
        """Turn the current value into a tensor, and its layer into a node."""
        value = self._value
        if value is None:
            return
        grid = value.grid
        tensor = Tensor(
            name=value.name,
            shape=value.shape,
            dtype=grid.dtype,
            scale=float(grid.scale[0]),
            zero_point=int(grid.zero_point[0]),
        )
        layer = value.layer
        if layer is not None:
            source = self._tensors[-1]
            self._nodes.append(
                make_dense(
                    layer.name,
                    source,
                    tensor,
                    weights=layer.weights.levels(),
                    weight_scale=_weight_scale(layer),
                    bias=_bias(layer, _unit(layer, source)),
                    input_range=self._range,
                    output_range=(value.low, value.high),
                )
            )
        self._tensors.append(tensor)
        self._range = (value.low, value.high)


def _same(a: Grid, b: Grid) -> bool:
    """Return whether two grids of one scale are the same; types are none of its concern."""
    return np.array_equal(a.scale, b.scale) and np.array_equal(a.zero_point, b.zero_point)


def _weight_scale(dense: Dense) -> np.ndarray:
    """Return the scales of a layer's weights, float32, shape (1,) or (rows,)."""
    assert dense.weights.grid is not None  # else it would not have begun
    return dense.weights.grid.scale


def _unit(dense: Dense, source: Tensor) -> np.ndarray:
    """Return the real value of a sum of 1, float64, shape (1,) or (rows,)."""
    with np.errstate(over="ignore", under="ignore"):
        return (np.float32(source.scale) * _weight_scale(dense)).astype(np.float64)


def _bias(dense: Dense, unit: np.ndarray) -> np.ndarray:
    """Return the bias in steps of the sums, integral float64, shape (rows,)."""
    bias = dense.bias
    rows = len(dense.weights.values)
    if bias is None:
        return np.zeros(rows)
    values = bias.values.reshape(-1)
    if values.dtype.kind in "iu" and (
        bias.grid is None or np.allclose(bias.grid.scale, unit, rtol=1e-6, atol=0)
    ):
        steps = bias.levels().astype(np.float64)
    else:
        steps = np.rint(bias.real().astype(np.float64) / unit)
    return np.broadcast_to(steps.reshape(-1), rows)
