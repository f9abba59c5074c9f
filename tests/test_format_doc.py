"""docs/format.md is true: a reader written from it alone agrees with weightstream, on old and new files."""

import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import format_reader
import make_vectors
import weightstream as ws
from coded_matrices import BACKENDS, gaussian
from weightstream.codec.matrix import Geometry, check_weights, code_matrix, code_symbols
from weightstream.codec.palette import Palette
from weightstream.errors import FormatError, VersionError
from weightstream.golden import network as golden
from weightstream.ir.canonical import code_network
from weightstream.ir.file import read_network, write_network
from weightstream.ir.network import Linear, Matrix, Network, Requantise
from weightstream.spec.layout import Layout, Sharing

HERE = Path(__file__).resolve().parent
DOCUMENT = (HERE.parent / "docs" / "format.md").read_text("utf-8")
LAYOUTS = [Layout(1, 1), Layout(1, 32), Layout(4, 8)]

#: SHA-256 of the weights in tests/vectors, as `make_vectors.digest` makes it: what docs/format.md promises.
DIGESTS = {
    "binary_quads": "4f941a3859f39ebaa027440892e44414c10e69fd831d14f8816654f61960967a",
    "ternary_pairs": "1f28185c036001df81b3ff0ba6b5bfa59049d2708b5f110fc3b741a3534fa96c",
    "int4_contexts": "1471cae05081ef0efcafd558c4df756b3f4c0f83659000552e7274c0187c75a4",
    "int8": "f243ff54220e0de28184eb0a9eb7b17b327ca4b32deff14ef0321752ed3aae6f",
    "convolution": "ceb58de1754bc9f40ed7b1089d0c461888006afa0341d0e7c5e3f979d3862968",
    "named_rows": "1a8d851e2730a955bb3f0f40cefc328efc213f52aef83a92f0941278fd3dddaa",
    "lanes_and_parts": "62d50e5fc51c596fe6e49332faf0ea726f35e1c407869973883e893425f0bde2",
    "additive": "87804d8d2931958a0be25ff867f0af207ac658ee880787a0a64308dbe2ffb7ad",
    "network": "64d50bcaf0c86c8e111137dc5b6962c4c95b8b6b62cd81c278eb46a521744880",
}


pytestmark = pytest.mark.usefixtures("numpy_backend")


# ---- helpers -------------------------------------------------------------------------------------


def vector(name):
    """Return the bytes of a frozen file."""
    return (HERE / "vectors" / f"{name}.ws").read_bytes()


def sealed(data, **header):
    """Return a file with some fields of its header changed, and the CRC that fits."""
    fields = dict(
        zip(("version", "zero", "length", "crc", "graph"), struct.unpack("<HHQII", data[4:24]), strict=True)
    )
    fields |= header
    fields["crc"] = 0
    data = data[:4] + struct.pack("<HHQII", *fields.values()) + data[24:]
    return data[:16] + struct.pack("<I", zlib.crc32(data[:16] + data[20:])) + data[20:]


def decoded(data):
    """Return the weights of all matrices as weightstream reads them, as lists in natural column order."""
    result = []
    for node in read_network(data).nodes:
        if isinstance(node, Linear | Matrix):
            geometry = node.coded.geometry
            weights = geometry.unflatten(node.coded.weights())
            result.append(weights.reshape(geometry.rows, geometry.columns).tolist())
    return result


def read(data):
    """Return what the independent reader makes of a file; weightstream must agree."""
    result = format_reader.read(data)
    assert [matrix["weights"] for matrix in result["matrices"]] == decoded(data)
    return result


def check(weights, **options):
    """Hold the independent reader to an encoded matrix; return what it read of it."""
    blob, order = ws.encode_matrix(weights, **options)
    (matrix,) = read(blob)["matrices"]
    assert matrix["weights"] == weights[order].reshape(matrix["rows"], matrix["columns"]).tolist()
    assert matrix["four_axes"] == (weights.ndim == 4)
    return matrix


def run(network, x):
    """Compute the dense nodes of a network that the independent reader read, as section 4 says."""
    values = {network["inputs"][0]: [[int(v) for v in item.reshape(-1)] for item in x]}
    dense = [node for node in network["nodes"] if node["op"] == "dense"]
    for node in dense:
        rows = list(
            zip(network["matrices"][node["matrix"]]["weights"], node["activation"]["rows"], strict=True)
        )
        values[node["output"]] = [
            [activate(node["activation"], record, dot(weights, item)) for weights, record in rows]
            for item in values[node["input"]]
        ]
    return values[dense[-1]["output"]]


def dot(weights, item):
    """Return a sum of products."""
    return sum(w * v for w, v in zip(weights, item, strict=True))


def float32(value):
    """Round to 24 significant bits, halves to even."""
    return struct.unpack("f", struct.pack("f", value))[0]


def activate(a, record, total):
    """Return an output of a dense node."""
    if a["kind"] == "thresholds":
        return a["base"] + a["step"] * sum(threshold <= total for threshold in record)
    bias, multiplier, shift = record
    if a["rounding"] == "float32":
        y = round(float32(float32(total + bias) * multiplier / 2**shift))
        return min(max(a["zero_point"] + y, a["low"]), a["high"])
    p = (total + bias) * multiplier
    h = 2**shift // 2
    y = (p + h) >> shift
    if a["rounding"] == "even" and shift > 0 and (p + h) % 2**shift == 0 and y % 2:
        y -= 1
    return min(max(a["zero_point"] + y, a["low"]), a["high"])


# ---- new files -----------------------------------------------------------------------------------

MATRICES = {
    "binary-quads": lambda rng: rng.choice(np.array([-1, 1], np.int8), (30, 26)),
    "ternary-pairs": lambda rng: make_vectors.ternary(int(rng.integers(99)), 40, 21),
    "one-level": lambda rng: np.full((20, 10), -77, np.int8),
    "int4": lambda rng: gaussian(rng, 30, 20),
    "scaled": lambda rng: make_vectors.structured(int(rng.integers(99)), 48, 30, 6),
    "correlated-rows": lambda rng: (
        gaussian(rng, 3, 24)[rng.integers(0, 3, 60)] // rng.integers(1, 3, (60, 1))
    ),
    "int8": lambda rng: gaussian(rng, 20, 24, deviation=30, limit=128),
    "flat-int8": lambda rng: rng.integers(-128, 128, (12, 20)),
    "kernels": lambda rng: make_vectors.smooth_kernels(int(rng.integers(99)), 14, 5),
    "smooth-channels": lambda rng: (
        gaussian(rng, 16, 10, 3, 3, deviation=1).cumsum(axis=1).clip(-8, 7).astype(np.int8)
    ),
    "one-weight": lambda rng: np.array([[3]], np.int8),
    "no-rows": lambda rng: np.zeros((0, 5), np.int8),
    "no-columns": lambda rng: np.zeros((5, 0, 3, 3), np.int8),
}


@pytest.mark.parametrize("free_rows", [True, False], ids=["free", "named"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("make", MATRICES.values(), ids=MATRICES.keys())
def test_document_reads_matrices(make, layout, free_rows):
    rng = np.random.default_rng([LAYOUTS.index(layout), free_rows])
    matrix = check(make(rng), layout=layout, free_rows=free_rows)
    assert matrix["free_rows"] is free_rows
    if make in (MATRICES["scaled"], MATRICES["kernels"], MATRICES["int8"]):
        assert matrix["tables"] > 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "sharing",
    [
        Sharing(split_slots=4, split_groups=2),
        Sharing(clone_slots=2, clone_groups=4),
        Sharing(clone_slots=2, clone_groups=2, split_slots=2, split_groups=2),
    ],
    ids=["parts", "clones", "both"],
)
def test_document_reads_shared_streams(sharing, seed):
    rng = np.random.default_rng(seed)
    weights = list(MATRICES.values())[3 + seed](rng)
    free_rows = bool(seed % 2)
    coded, order = code_matrix(
        weights, check_weights(weights), layout=Layout(4, 8), sharing=sharing, free_rows=free_rows
    )
    (matrix,) = read(make_vectors.matrix_file(coded))["matrices"]
    assert matrix["weights"] == weights[order].tolist()
    assert matrix["parts"] == sharing.parts


@pytest.mark.parametrize(("passes", "group", "first"), [(3, 4, 0), (4, 8, 5), (1, 5, 15)])
def test_document_reads_any_palette(passes, group, first):
    rng = np.random.default_rng(passes)
    values = rng.integers(-128, 128, (passes, 16, group)).astype(np.int8)
    values[:, :first] = 0
    symbols = rng.integers(first, 16, (20, 9 * passes)).astype(np.uint8)
    geometry = Geometry(rows=20, channels=9 * group - 2 + (group == 5))
    coded, _ = code_symbols(symbols, geometry, Palette(values, first), layout=Layout(2, 4))
    (matrix,) = read(make_vectors.matrix_file(coded))["matrices"]
    assert max(map(max, matrix["weights"])) > (127 if passes > 1 else 0)


def test_document_reads_networks():
    # The order of free rows changes with the layout, and the records follow.
    network = make_vectors.network()
    x = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 10)).astype(np.uint8)
    expected = golden.run(network, x).tolist()
    for layout in (None, Layout(8, 4), Layout(16, 2)):
        coded = code_network(network, layout)
        data = write_network(coded)
        result = read(data)
        for own, tensor in zip(result["tensors"], network.tensors, strict=True):
            assert (own["name"], tuple(own["shape"]), own["dtype"]) == (
                tensor.name,
                tensor.shape,
                tensor.dtype,
            )
            if tensor.dtype != "float32":
                assert (own["scale"], own["zero_point"]) == (tensor.scale, tensor.zero_point)
        assert [result["tensors"][i]["name"] for i in result["inputs"] + result["outputs"]] == [
            "x",
            "probabilities",
        ]
        assert [(node["op"], node["name"]) for node in result["nodes"]] == [
            (n.op, n.name) for n in network.nodes
        ]
        for own, node in zip(result["nodes"][:3], coded.nodes, strict=False):
            a = node.activation
            records = [a.bias, a.multiplier, a.shift] if isinstance(a, Requantise) else list(a.values.T)
            assert own["activation"]["rows"] == [[int(v) for v in row] for row in zip(*records, strict=True)]
        assert run(result, x) == expected
        parts = {matrix["parts"] for matrix in result["matrices"]}
        assert (layout is None) == (parts == {1})
    outputs = np.array(expected)
    assert len(np.unique(outputs)) > 10


def test_document_reads_records_below_zero():
    network = make_vectors.network()
    first, second, *rest = network.nodes
    first = replace(first, activation=replace(first.activation, bias=np.full(12, -(2**31), np.int32)))
    values = np.arange(-48, 0, dtype=np.int32).reshape(16, 3)
    second = replace(second, activation=replace(second.activation, values=values))
    data = write_network(code_network(replace(network, nodes=(first, second, *rest))))
    requantise, thresholds = (node["activation"]["rows"] for node in read(data)["nodes"][:2])
    assert {record[0] for record in requantise} == {-(2**31)}
    assert sorted(thresholds) == values.tolist()


def test_document_tells_how_far_a_file_is_padded():
    # Matrices without rows take no time, and the side information of a wide one is that of a narrow one.
    narrow, _ = code_matrix(np.zeros((0, 1), np.int8), Geometry(rows=0, channels=1))
    empty = replace(narrow, geometry=Geometry(rows=0, channels=1 << 20))
    nodes = tuple(Matrix(name=str(i), coded=empty) for i in range(5))
    data = write_network(Network(tensors=(), nodes=nodes, inputs=(), outputs=()))
    assert len(data) == -(-(5 * ((1 << 20) + 1) - (1 << 22)) // 512)
    assert [matrix["columns"] for matrix in read(data)["matrices"]] == [1 << 20] * 5
    for bad in (data[:-1], data + b"\0", data[:-1] + b"\1"):
        refused(sealed(bad, length=len(bad)))


# ---- frozen files --------------------------------------------------------------------------------


def test_every_vector_is_pinned():
    assert (
        {path.stem for path in (HERE / "vectors").glob("*.ws")} == set(DIGESTS) == set(make_vectors.VECTORS)
    )
    assert all(len(vector(name)) <= 2048 for name in DIGESTS)


@pytest.mark.parametrize("name", DIGESTS)
def test_vector_decodes_to_pinned_weights(name):
    result = read(vector(name))
    assert make_vectors.digest([matrix["weights"] for matrix in result["matrices"]]) == DIGESTS[name]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", DIGESTS)
def test_vector_is_what_is_written(name, backend, monkeypatch):
    monkeypatch.setenv("WEIGHTSTREAM_CODEC", backend)
    assert make_vectors.VECTORS[name]() == vector(name)


# ---- what is refused -----------------------------------------------------------------------------


def refused(data):
    """Both readers must refuse a file."""
    with pytest.raises(format_reader.BadFile):
        format_reader.read(data)
    with pytest.raises(FormatError):
        decoded(data)


def test_other_version_is_refused_by_name():
    data = sealed(vector("int8"), version=2)
    with pytest.raises(VersionError, match="^the file is of version 2; this program reads version 1$"):
        read_network(data)
    with pytest.raises(
        format_reader.OtherVersion, match="^the file is of version 2; this reader reads version 1$"
    ):
        format_reader.read(data)


@pytest.mark.parametrize("name", DIGESTS)
def test_truncated_and_damaged_files_are_refused(name):
    data = vector(name)
    rng = np.random.default_rng(len(data))
    for length in (0, 23, *rng.integers(24, len(data), 4)):
        refused(data[:length])
        refused(sealed(data[:length], length=length) if length >= 24 else data[:length])
    for at in rng.integers(0, len(data), 6):
        refused(data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :])


@pytest.mark.parametrize("name", DIGESTS)
def test_altered_files_fare_alike(name):
    data = vector(name)
    rng = np.random.default_rng(len(data))
    graph_end = 24 + struct.unpack("<I", data[20:24])[0]
    for _ in range(10):
        at = int(rng.integers(graph_end, len(data)))
        altered = sealed(data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :])
        try:
            weights = decoded(altered)
        except FormatError:
            refused(altered)
        else:
            assert [matrix["weights"] for matrix in format_reader.read(altered)["matrices"]] == weights


# ---- the worked example --------------------------------------------------------------------------


def test_worked_example_is_what_is_written():
    blocks = re.findall(r"```text\n(.*?)\n```", DOCUMENT, re.DOTALL)
    matrix, file, side, symbols = (block.splitlines() for block in blocks)
    assert [[int(v) for v in row.split()] for row in matrix] == make_vectors.EXAMPLE
    shown = b""
    for line in file:
        offset, data = re.fullmatch(r"([0-9a-f]{2})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  .*)?", line).groups()
        assert int(offset, 16) == len(shown)
        shown += bytes.fromhex(data)
    data, side_notes, symbol_notes = make_vectors.example()
    assert shown == data
    assert side == side_notes
    assert symbols[1:] == symbol_notes[: len(symbols) - 1]
