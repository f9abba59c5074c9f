"""The two MNIST networks of the examples, compressed for a machine."""

import sys
from pathlib import Path

import numpy as np

from weightstream import Model, compress
from weightstream.spec.machine import Machine

MNIST = Path(__file__).resolve().parents[1] / "examples" / "mnist"
#: ONNX files, and to how many bits they are quantised.
NETWORKS = {"int4": ("lenet-300-100.onnx", 4), "ternary": ("lenet-300-100-ternary.onnx", None)}


def mnist(name: str, machine: Machine, batch: int) -> tuple[Model, np.ndarray]:
    """Return a network, and the images of the test excerpt as float32 [n, 784]."""
    sys.path.insert(0, str(MNIST))
    try:
        from data import load_calibration, load_excerpt, to_input
    finally:
        sys.path.remove(str(MNIST))
    file, bits = NETWORKS[name]
    calibration = None if bits is None else to_input(load_calibration())
    model = compress(MNIST / file, bits=bits, calibration=calibration, layout=machine, batch=batch)
    return model, to_input(load_excerpt()[0])
