"""Random weights and contexts, and the codecs that code them: for all tests of decoders."""

import contextlib
import importlib.util
import os
from unittest import mock

import numpy as np

from weightstream.codec import matrix
from weightstream.codec.contexts import ContextModel

BACKENDS = ["numpy"] + ["numba"] * (importlib.util.find_spec("numba") is not None)
NO_CONTEXTS = ContextModel()


@contextlib.contextmanager
def using(backend):
    """Code with a backend."""
    with mock.patch.dict(os.environ, WEIGHTSTREAM_CODEC=backend):
        yield


@contextlib.contextmanager
def given_contexts(model, row_class=None):
    """Let the encoder take a context model, and classes of rows; without a model it searches as always."""
    with contextlib.ExitStack() as stack:
        if model is not None:
            chosen = mock.patch.object(matrix, "search_contexts", lambda *_, **__: (model, row_class, 0.0))
            stack.enter_context(chosen)
        yield


def gaussian(rng, *shape, deviation=2.0, limit=8):
    """Return weights of a normal distribution, in [-limit, limit): by default of 4 bits."""
    return np.clip(np.rint(rng.normal(0, deviation, shape)), -limit, limit - 1).astype(np.int8)


def ternary(rng, rows, columns, density=0.3):
    """Return sparse weights of -1, 0, 1."""
    return (rng.integers(-1, 2, (rows, columns)) * (rng.random((rows, columns)) < density)).astype(np.int8)


def class_map(rng, classes, length):
    """Return a random map in which every class occurs."""
    rest = rng.integers(0, classes, max(length - classes, 0))
    return rng.permutation(np.concatenate([np.arange(classes), rest])).astype(np.uint8)


def random_model(rng, rows=1, columns=1, previous=1, back=1, distance=1, tables=6):
    """Return a context model with so many classes and at most so many tables."""
    return ContextModel(
        row_classes=rows,
        columns=class_map(rng, columns, columns + 3) if columns > 1 else np.zeros(1, np.uint8),
        previous=class_map(rng, previous, 16),
        back=class_map(rng, back, 16),
        distance=distance,
        tables=rng.integers(0, tables, (rows, columns, previous, back)).astype(np.uint8),
    )
