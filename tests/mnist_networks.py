"""The two MNIST networks of the examples, compressed."""

import numpy as np

from weightstream import Model
from workloads import LENETS, lenet_model, mnist_inputs

#: Their names.
NETWORKS = tuple(LENETS)


def mnist(name: str, **options) -> tuple[Model, np.ndarray]:
    """Return a network, compressed with options of `compress`, and images as float32 [n, 784]."""
    return lenet_model(name, **options), mnist_inputs()
