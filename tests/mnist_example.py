"""The MNIST example's networks, compressed, and its images."""

import sys
from pathlib import Path

import numpy as np

from weightstream import Model, compress

MNIST = Path(__file__).resolve().parents[1] / "examples" / "mnist"
INT4, TERNARY = ("lenet-300-100.onnx", 4), ("lenet-300-100-ternary.onnx", None)


def mnist(name: str, bits: int | None, **options) -> tuple[Model, np.ndarray]:
    """Return a network, compressed with options of `compress`, and images for it."""
    sys.path.insert(0, str(MNIST))
    try:
        from data import load_calibration, load_excerpt, to_input
    finally:
        sys.path.remove(str(MNIST))
    calibration = None if bits is None else to_input(load_calibration())
    return compress(MNIST / name, bits=bits, calibration=calibration, **options), to_input(load_excerpt()[0])
