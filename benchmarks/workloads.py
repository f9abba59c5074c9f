"""Networks that benchmarks run, and a simulated accelerator that counts what they take."""

import functools
import sys
from pathlib import Path

import numpy as np

import weightstream as ws
from weightstream.codec.matrix import Geometry
from weightstream.ir.canonical import code_network
from weightstream.ir.network import Linear, Network, Requantise, Tensor
from weightstream.runtime.driver import Accelerator
from weightstream.runtime.sim_port import SimPort
from weightstream.spec.layout import Layout
from weightstream.spec.machine import Machine

MNIST = Path(__file__).resolve().parents[1] / "examples" / "mnist"
#: LeNet-300-100: file, and bits a weight that it is quantised to; None: its weights are integers already.
LENETS = {"int4": ("lenet-300-100.onnx", 4), "ternary": ("lenet-300-100-ternary.onnx", None)}


def random_weights(rng: np.random.Generator, kind: str, rows: int, columns: int) -> np.ndarray:
    """Return weights of a kind: int4 (Laplacian), ternary (half of them 0) or int8 (normal)."""
    if kind == "int4":
        weights = np.clip(rng.laplace(0, 1.4, (rows, columns)).round(), -8, 7)
    elif kind == "ternary":
        weights = rng.choice([-1, 0, 0, 1], (rows, columns))
    else:
        weights = np.clip(rng.normal(0, 30, (rows, columns)).round(), -128, 127)
    return weights.astype(np.int8)


def dense(name: str, source: str, target: str, weights: np.ndarray) -> Linear:
    """Return a layer of weights."""
    rows, columns = weights.shape
    one = np.ones(rows, np.int32)
    activation = Requantise(
        bias=0 * one, multiplier=37 * one, shift=(14 * one).astype(np.uint8), zero_point=128, low=0, high=255
    )
    geometry = Geometry(rows=rows, channels=columns)
    return Linear(
        name=name, input=source, output=target, geometry=geometry, activation=activation, weights=weights
    )


def chain(sizes: list[int], machine: Machine, batch: int, kind: str = "int4") -> ws.Model:
    """Return a network of dense layers, laid out for a machine."""
    rng = np.random.default_rng(sum(sizes))
    tensors = tuple(Tensor(name=f"t{i}", shape=(size,)) for i, size in enumerate(sizes))
    nodes = tuple(
        dense(f"fc{i}", f"t{i}", f"t{i + 1}", random_weights(rng, kind, sizes[i + 1], sizes[i]))
        for i in range(len(sizes) - 1)
    )
    network = Network(tensors=tensors, nodes=nodes, inputs=("t0",), outputs=(tensors[-1].name,))
    return ws.Model(code_network(network, machine, batch=batch), b"")


@functools.cache
def lenet_model(name: str, layout: Layout | Machine | None = None, batch: int = 1) -> ws.Model:
    """Return one of `LENETS`, laid out for a machine and a batch, or as it is by default."""
    file, bits = LENETS[name]
    calibration = None if bits is None else _mnist().to_input(_mnist().load_calibration())
    return ws.compress(MNIST / file, bits=bits, calibration=calibration, layout=layout, batch=batch)


@functools.cache
def mnist_inputs() -> np.ndarray:
    """Return 1,000 images of the test set, as LeNet takes them."""
    return _mnist().to_input(_mnist().load_excerpt()[0])


@functools.cache
def _mnist():
    sys.path.insert(0, str(MNIST))
    try:
        import data
    finally:
        sys.path.remove(str(MNIST))
    return data


def random_inputs(model: ws.Model, batch: int) -> np.ndarray:
    """Return a batch of any inputs."""
    source = model.network.tensor(model.network.inputs[0])
    return np.random.default_rng(1).integers(0, 256, (batch, *source.shape)).astype(np.uint8)


class Bench:
    """A simulated accelerator that measures jobs.

    Parameters
    ----------
    machine : Machine
        What is simulated.
    bandwidth : float
        Bytes that memory moves in a cycle.
    latency : int
        Cycles from the address of a burst to its first beat.
    """

    def __init__(self, machine: Machine, bandwidth: float = 16.0, latency: int = 40):
        self.device = Accelerator(SimPort(machine, bandwidth=bandwidth, latency=latency))

    def job(self, model: ws.Model, x: np.ndarray) -> dict[str, float]:
        """Run a batch, which must give the outputs of numpy, and return what the counters counted."""
        expected = ws.open("numpy").run(model, x, raw=True)
        self.device.load(model, len(x))
        self.device.profile()
        assert np.array_equal(self.device.run(model, x, raw=True), expected), "not the numpy outputs"
        counters = self.device.profile()
        self.device.unload(model)
        return counters
