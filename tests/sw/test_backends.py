"""Numpy and numba write the same files, read the same weights, compute the same sums; on any processor."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import make_vectors
import needs
import weightstream as ws
from coded_matrices import gaussian, using
from weightstream.codec.backend import backend
from weightstream.codec.matrix import Geometry, check_weights, code_matrix, code_symbols
from weightstream.codec.palette import Palette
from weightstream.ir.canonical import code_network
from weightstream.model import from_bytes, from_network
from weightstream.spec.layout import Layout, Sharing

TESTS = Path(__file__).resolve().parent.parent
VECTORS = {path.stem: path.read_bytes() for path in sorted((TESTS / "vectors").glob("*.ws"))}


pytestmark = pytest.mark.usefixtures("numpy_backend")


def both(action):
    """Return what an action returns with each backend, numpy first."""
    results = []
    for name in ("numpy", "numba"):
        with using(name):
            results.append(action())
    return results


def check_same_file(weights, **options):
    """Encode with both backends, decode with both; return the file."""
    (numpy_blob, numpy_order), (blob, order) = both(lambda: ws.encode_matrix(weights, **options))
    assert numpy_blob == blob
    assert np.array_equal(numpy_order, order)
    for decoded in both(lambda: ws.decode_matrix(blob)):
        assert np.array_equal(decoded, weights[order])
    return blob


# ---- the same files ------------------------------------------------------------------------------

LAYOUTS = [None, Layout(1, 33), Layout(5, 7)]
MATRICES = {
    "binary": lambda rng: rng.choice(np.array([-1, 1], np.int8), (70, 50)),
    "ternary": lambda rng: gaussian(rng, 90, 33, deviation=0.7, limit=2),
    "int4": lambda rng: gaussian(rng, 100, 40),
    "int8": lambda rng: gaussian(rng, 70, 30, deviation=30, limit=128),
    "scaled-rows": lambda rng: gaussian(rng, 120, 40, deviation=rng.choice([0.6, 4], (120, 1))),
    "scaled-columns": lambda rng: gaussian(rng, 90, 40, deviation=rng.choice([0.6, 4], (1, 40))),
    "walk": lambda rng: np.clip(gaussian(rng, 60, 60, deviation=1).cumsum(axis=1), -8, 7).astype(np.int8),
    "kernels": lambda rng: gaussian(rng, 40, 6, 3, 3).cumsum(axis=3).clip(-8, 7).astype(np.int8),
    "constant": lambda rng: np.full((70, 40), 3, np.int8),
    "no-columns": lambda rng: np.zeros((70, 0), np.int8),
    "no-rows": lambda rng: np.zeros((0, 40), np.int8),
    "one-row": lambda rng: gaussian(rng, 1, 3000),
    "one-column": lambda rng: gaussian(rng, 3000, 1),
}


@needs.numba
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("name", MATRICES)
def test_same_file(name, layout):
    rng = np.random.default_rng([len(name), LAYOUTS.index(layout)])
    weights = MATRICES[name](rng)
    check_same_file(weights, layout=layout, free_rows=bool(rng.integers(2)))


@needs.numba
@settings(max_examples=40)
@given(
    st.tuples(st.integers(0, 70), st.integers(0, 20)),
    st.sampled_from([0.1, 1.0, 3.0, 40.0]),
    st.none() | st.builds(Layout, st.integers(1, 4), st.integers(1, 40)),
    st.booleans(),
    st.integers(0, 1 << 32),
)
def test_same_file_of_any_matrix(shape, spread, layout, free_rows, seed):
    weights = gaussian(np.random.default_rng(seed), *shape, deviation=spread, limit=128)
    check_same_file(weights, layout=layout, free_rows=free_rows)


@needs.numba
@pytest.mark.parametrize("layout", [None, Layout(8, 4)], ids=str)
def test_same_file_of_a_large_matrix(layout):
    # Larger than the samples of the search; tables, classes of rows, many words.
    rng = np.random.default_rng(1)
    check_same_file(gaussian(rng, 700, 500, deviation=rng.choice([0.6, 4], (700, 1))), layout=layout)


@needs.numba
@pytest.mark.parametrize("layout", [None, Layout(4, 8), Layout(16, 4)], ids=str)
def test_same_file_of_a_network(layout):
    numpy_blob, blob = both(lambda: from_network(code_network(make_vectors.network(), layout)).to_bytes())
    assert numpy_blob == blob


# ---- the same sums -------------------------------------------------------------------------------


def check_same_sums(coded, batches=(1, 2, 70)):
    """Multiply with both backends, and by the definition."""
    columns = coded.geometry.columns
    weights = coded.weights().astype(np.int64)
    for batch in batches:
        inputs = np.random.default_rng(batch).integers(-128, 256, (batch, columns)).astype(np.int16)
        for sums in both(lambda inputs=inputs: coded.decoder().multiply(coded.palette, inputs)):
            assert sums.dtype == np.int32
            assert np.array_equal(sums, inputs @ weights.T)


@needs.numba
@pytest.mark.parametrize(
    ("layout", "sharing"),
    [
        (None, Sharing()),
        (Layout(1, 1), Sharing()),
        (Layout(2, 20), Sharing()),
        (Layout(4, 8), Sharing(split_slots=4)),
        (Layout(8, 4), Sharing(split_groups=4)),
        (Layout(8, 8), Sharing(clone_slots=2, clone_groups=2, split_slots=2, split_groups=2)),
        (Layout(3, 5), Sharing(split_slots=5, split_groups=3)),
        (Layout(64, 64), Sharing(split_slots=64)),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["binary", "int8", "scaled-columns"])
def test_same_sums(name, layout, sharing):
    weights = MATRICES[name](np.random.default_rng(2))
    coded, _ = code_matrix(weights, check_weights(weights), layout=layout, sharing=sharing)
    check_same_sums(coded)


@needs.numba
@pytest.mark.parametrize("sharing", [Sharing(), Sharing(split_slots=2)], ids=str)
@pytest.mark.parametrize(("passes", "group"), [(1, 8), (2, 3), (3, 1), (4, 8)])
def test_same_sums_with_wide_palettes(passes, group, sharing):
    rng = np.random.default_rng(passes)
    palette = Palette(rng.integers(-128, 128, (passes, 16, group)).astype(np.int8), 0)
    symbols = rng.integers(0, 16, (50, 90 * passes)).astype(np.uint8)
    geometry = Geometry(rows=50, channels=90 * group - (group > 1))
    coded, _ = code_symbols(symbols, geometry, palette, layout=Layout(2, 8), sharing=sharing)
    assert (palette.dtype == np.int16) == (passes > 1)
    check_same_sums(coded)


@needs.numba
@pytest.mark.parametrize("columns", [255, 256, 257, 1023, 1024, 1025, 2600])
def test_same_sums_at_the_edges_of_blocks(columns):
    weights = gaussian(np.random.default_rng(columns), 40, columns)
    check_same_sums(code_matrix(weights, check_weights(weights), layout=Layout(1, 32))[0], (1, 20))


# ---- which backend -------------------------------------------------------------------------------


def test_environment_chooses(monkeypatch):
    assert backend().decoder.__module__.endswith("decode_numpy")
    monkeypatch.setenv("WEIGHTSTREAM_CODEC", "cuda")
    with pytest.raises(ValueError, match="must be 'numpy' or 'numba', not 'cuda'"):
        backend()


def test_numpy_alone_is_enough(monkeypatch):
    monkeypatch.delenv("WEIGHTSTREAM_CODEC")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert backend().decoder.__module__.endswith("decode_numpy")


# ---- other processors ----------------------------------------------------------------------------

#: Reads the frozen files, runs the network, writes some matrices; prints what must be the same everywhere.
PROGRAM = """
import json, sys, zlib
import numpy as np
import weightstream as ws
from weightstream.codec.vector import has_expand
from weightstream.model import from_bytes
result = {"expand": has_expand()}
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    model = from_bytes(data)
    result[path] = [zlib.crc32(coded.weights().tobytes()) for coded in model.matrices().values()]
    if model.network.inputs:
        x = np.arange(240, dtype=np.uint8).reshape(3, 1, 8, 10)
        result[path].append(zlib.crc32(ws.open("numpy").run(model, x, raw=True)))
rng = np.random.default_rng(3)
for spread in (0.5, 3, 40):
    weights = np.clip(np.rint(rng.normal(0, spread, (200, 64))), -128, 127).astype(np.int8)
    blob, order = ws.encode_matrix(weights)
    assert np.array_equal(ws.decode_matrix(blob), weights[order])
    result[str(spread)] = zlib.crc32(blob)
print(json.dumps(result))
"""


def run_program(**environment):
    """Run the program with some environment; return what it prints."""
    paths = [str(path) for path in sorted((TESTS / "vectors").glob("*.ws"))]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *paths],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@needs.numba
@pytest.mark.slow
@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="Haswell is an x86-64 processor: this runs on one of those"
)
def test_portable_code_does_the_same(tmp_path):
    # Without AVX-512; caches of other processors' code are not used, and not filled.
    portable = run_program(
        WEIGHTSTREAM_CODEC="numba",
        NUMBA_CPU_NAME="haswell",
        NUMBA_CPU_FEATURES="",
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert not portable.pop("expand")
    assert any(tmp_path.rglob("*.nbc"))
    plain = run_program(WEIGHTSTREAM_CODEC="numpy")
    plain.pop("expand")
    assert portable == plain


@needs.numba
def test_frozen_files_decode_alike():
    for data in VECTORS.values():
        for coded in from_bytes(data).matrices().values():
            plain, compiled = both(coded.weights)
            assert plain.dtype == compiled.dtype
            assert np.array_equal(plain, compiled)
