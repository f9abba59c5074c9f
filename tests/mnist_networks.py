"""The two MNIST networks of the examples, compressed."""

import sys
from pathlib import Path

import numpy as np

from weightstream import Model, compress

MNIST = Path(__file__).resolve().parents[1] / "examples" / "mnist"
#: ONNX files, and to how many bits they are quantised.
NETWORKS = {"int4": ("lenet-300-100.onnx", 4), "ternary": ("lenet-300-100-ternary.onnx", None)}


def mnist(name: str, **options) -> tuple[Model, np.ndarray]:
    """Return a network, compressed with options of `compress`, and images as float32 [n, 784]."""
    sys.path.insert(0, str(MNIST))
    try:
        from data import load_calibration, load_excerpt, to_input
    finally:
        sys.path.remove(str(MNIST))
    file, bits = NETWORKS[name]
    calibration = None if bits is None else to_input(load_calibration())
    model = compress(MNIST / file, bits=bits, calibration=calibration, **options)
    return model, to_input(load_excerpt()[0])
