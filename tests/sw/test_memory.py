"""A layer is run without its matrix ever being there."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import weightstream as ws
from coded_matrices import BACKENDS
from weightstream.codec.matrix import Geometry
from weightstream.ir.canonical import code_network
from weightstream.ir.network import Linear, Network, Requantise, Tensor
from weightstream.model import from_network

MACHINE = ws.Layout(32, 8)
#: Numpy alone is slow where few streams are decoded side by side.
WAYS = [("numpy", "machine")] + [("numba", name) for name in ("large", "machine") if "numba" in BACKENDS]
SIZE = 2048
#: What a run may take: blocks of all streams, and tables (in numpy 16 KB each). The matrix has 4 MB.
EXTRA = {"numpy": 5 << 19, "numba": 1 << 20}


def make_layer(size, contexts):
    """Return a network of one layer; with contexts, its rows are of two kinds and its columns depend."""
    rng = np.random.default_rng(size)
    weights = rng.laplace(0, 1.5, (size, size))
    if contexts:
        weights = weights.cumsum(axis=1) % 14 - 7
        weights[: size // 2] /= 3
    constant = np.ones(size, np.int32)
    activation = Requantise(
        bias=constant,
        multiplier=constant,
        shift=np.full(size, 12, np.uint8),
        zero_point=128,
        low=0,
        high=255,
    )
    tensors = (Tensor(name="x", shape=(size,)), Tensor(name="y", shape=(size,), zero_point=128))
    node = Linear(
        name="layer",
        input="x",
        output="y",
        geometry=Geometry(rows=size, channels=size),
        activation=activation,
        weights=np.clip(np.rint(weights), -8, 7).astype(np.int8),
    )
    network = Network(tensors=tensors, nodes=(node,), inputs=("x",), outputs=("y",))
    return from_network(code_network(network))


@pytest.fixture(scope="module", params=["plain", "contexts"])
def folder(request, tmp_path_factory):
    """Files: a large layer, the same in the streams of a machine, and a small one like it."""
    folder = tmp_path_factory.mktemp(request.param)
    contexts = request.param == "contexts"
    large = make_layer(SIZE, contexts)
    # Both kinds of loops are measured.
    assert large.matrices()["layer"].contexts.by_slot == contexts
    large.save(folder / "large.ws")
    large.relayout(MACHINE).save(folder / "machine.ws")
    make_layer(256, contexts).save(folder / "small.ws")
    return folder


def peak(action):
    """Return the bytes that Python and numpy took at most while something ran."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("backend", "name"), WAYS)
def test_arrays_of_a_run_are_small(folder, backend, name, monkeypatch):
    monkeypatch.setenv("WEIGHTSTREAM_CODEC", backend)
    x = np.zeros((1, SIZE), np.uint8)
    with ws.open("numpy") as device:
        device.run(folder / "small.ws", x[:, :256])
        model = ws.load(folder / f"{name}.ws")
        assert peak(lambda: device.run(model, x)) < EXTRA[backend]
    monkeypatch.setenv("WEIGHTSTREAM_CODEC", BACKENDS[-1])
    assert peak(lambda: model.matrices()["layer"].weights()) >= SIZE * SIZE


#: Runs a small layer, then a large one in little more address space, which arrays of compiled code take too.
PROGRAM = """
import resource, sys
import numpy as np
import weightstream as ws
folder, name, extra = sys.argv[1], sys.argv[2], int(sys.argv[3])
small, large = (ws.load(f"{folder}/{name}.ws") for name in ("small", name))
x = np.ones((1, large.network.tensor("x").size), np.uint8)
def run(model):
    ws.open("numpy").run(model, x[:, :model.network.tensor("x").size])
run(small)
small.matrices()["layer"].weights()
square = np.ones((1000, 1000), np.float32)
square @ square  # BLAS takes its buffers
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra,) * 2)
run(large)
try:
    large.matrices()["layer"].weights()
except MemoryError:
    print("no room for the matrix")
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="this runs on Linux, which can limit address space",
)
@pytest.mark.parametrize(("backend", "name"), WAYS)
def test_process_of_a_run_stays_small(folder, backend, name):
    # Blocks of 64 KB and more are taken from the system, and given back, one by one.
    environment = {
        "WEIGHTSTREAM_CODEC": backend,
        "MALLOC_MMAP_THRESHOLD_": str(1 << 16),
        "MALLOC_ARENA_MAX": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), name, str(EXTRA[backend])],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    # The measure is good: there is no room for the matrix.
    assert result.stdout.strip() == "no room for the matrix"
