"""Between real values and raw integers; and the operators that the host runs on real values."""

import numpy as np

from ..errors import InputError, NetworkError
from .network import Network, Softmax, Tensor


def quantise(
    x: np.ndarray, *, scale: float | np.ndarray, zero_point: int | np.ndarray, low: int, high: int
) -> np.ndarray:
    """Compute ``clip(round(x / scale) + zero point, low, high)``, halves to even, as QuantizeLinear does.

    Parameters
    ----------
    x : ndarray of float, any shape
        Real values; the quotient is a float32.
    scale, zero_point : number or ndarray
        Of all values, or arrays that broadcast against them.
    low, high : int
        Limits of the result.

    Returns
    -------
    ndarray of int16, same shape
    """
    with np.errstate(over="ignore"):  # infinity saturates
        quotient = x.astype(np.float32) / np.asarray(scale, np.float32)
    return np.clip(np.rint(quotient) + np.asarray(zero_point, np.float32), low, high).astype(np.int16)


def check_finite(x: np.ndarray, what: str, error: type[Exception] = InputError) -> None:
    """Raise an error that begins with `what` if a value is NaN or infinite."""
    if not np.isfinite(x).all():
        raise error(f"{what} must be finite, but holds {'NaN' if np.isnan(x).any() else 'infinity'}")


def check_shape(x: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    """Raise an `InputError` that begins with `what` unless `x` is of shape (batch, *shape)."""
    if x.ndim == 0 or x.shape[1:] != shape:
        expected = ", ".join(["batch", *map(str, shape)])
        raise InputError(f"{what} must be of shape ({expected}), not {x.shape}")


def to_raw(tensor: Tensor, x: np.ndarray) -> np.ndarray:
    """Return the raw integers of a batch.

    Parameters
    ----------
    tensor : Tensor
        What the values belong to.
    x : ndarray, shape (batch, *tensor shape)
        Real values if they are floating point, which are quantised; else raw integers.

    Returns
    -------
    ndarray of the tensor's dtype, same shape

    Raises
    ------
    InputError
        Wrong shape or type, NaN, infinity, or integers beyond the tensor's dtype.
    """
    x = np.asarray(x)
    what = f"input {tensor.name!r}"
    check_shape(x, tensor.shape, what)
    if x.dtype.kind in "iu":
        if x.size and not tensor.low <= int(x.min()) <= int(x.max()) <= tensor.high:
            raise InputError(f"{what} must be {tensor.dtype}, not in [{int(x.min())}, {int(x.max())}]")
        return x.astype(tensor.dtype)
    if x.dtype.kind != "f":
        raise InputError(f"{what} must be integers or floats, not {x.dtype}")
    return quantise_input(tensor, x)


def quantise_input(tensor: Tensor, x: np.ndarray) -> np.ndarray:
    """Quantise finite real values of any shape to the tensor's dtype; others raise `InputError`."""
    check_finite(x, f"input {tensor.name!r}")
    raw = quantise(x, scale=tensor.scale, zero_point=tensor.zero_point, low=tensor.low, high=tensor.high)
    return raw.astype(tensor.dtype)


def dequantise(tensor: Tensor, raw: np.ndarray) -> np.ndarray:
    """Return the real values of raw integers, float32, as DequantizeLinear does."""
    return (raw.astype(np.int32) - tensor.zero_point).astype(np.float32) * np.float32(tensor.scale)


def softmax(x: np.ndarray) -> np.ndarray:
    """Return the softmax over the channels (axis 1), float32."""
    with np.errstate(over="ignore"):  # exp(-inf) is 0
        powers = np.exp(x - x.max(axis=1, keepdims=True), dtype=np.float32)
    return powers / powers.sum(axis=1, keepdims=True)


def network_input(network: Network) -> Tensor:
    """Return the one input of a network.

    Raises
    ------
    NetworkError
        There is more than one input, or none.
    """
    if len(network.inputs) != 1:
        raise NetworkError(f"a network that can run has one input, not {len(network.inputs)}")
    return network.tensor(network.inputs[0])


def integer_output(network: Network) -> Tensor:
    """Return the tensor in which the integers of a network end: its output, or what feeds the softmax.

    Raises
    ------
    NetworkError
        There is more than one output, or none.
    """
    if len(network.outputs) != 1:
        raise NetworkError(f"a network that can run has one output, not {len(network.outputs)}")
    name = network.outputs[0]
    for node in reversed(network.nodes):
        if isinstance(node, Softmax) and node.output == name:
            name = node.input
    return network.tensor(name)


def finish(network: Network, raw: np.ndarray) -> np.ndarray:
    """Return the real output, float32, from the integer output: dequantise, and run what the host runs."""
    y = dequantise(integer_output(network), raw)
    for node in network.nodes:
        if isinstance(node, Softmax):
            y = softmax(y)
    return y
