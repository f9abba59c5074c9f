"""Paths, files of the wrong kind, and arguments: what is wrong is said by an error of the right type."""

import os

import numpy as np
import pytest

import mutations
import weightstream as ws
from weightstream.model import from_bytes

GOOD = mutations.good_files()
NETWORK, MATRIX = GOOD["network"], GOOD["int8"]


# ---- paths, and files of the wrong kind ----------------------------------------------------------


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "empty.ws").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ws.FormatError, match="a file of 0 bytes is too short"):
        ws.load(tmp_path / "empty.ws")
    for path in ("missing.ws", "", "pipe", "missing/net.ws", "empty.ws/net.ws", "x" * 5000, "a\0b"):
        with pytest.raises(ws.WeightstreamError, match="^cannot read "):
            ws.load(f"{tmp_path}/{path}")
    with pytest.raises(ws.WeightstreamError, match="it is no regular file"):
        ws.load("/dev/zero")
    with pytest.raises(TypeError):
        ws.load(None)


def test_a_sparse_file_is_not_read_into_memory(tmp_path):
    path = tmp_path / "huge.ws"
    with path.open("wb") as stream:
        stream.truncate((1 << 36) + 1)
    with pytest.raises(ws.FormatError, match="too large for a weightstream file"):
        ws.load(path)


def test_matrices_and_networks_are_told_apart(tmp_path):
    with pytest.raises(ws.FormatError, match="the file holds a network, not one matrix: use load"):
        ws.decode_matrix(NETWORK)
    with ws.open("numpy") as device, pytest.raises(ws.NetworkError, match="has one input, not 0"):
        device.run(from_bytes(MATRIX), np.zeros((1, 4), np.uint8))
    with pytest.raises(ws.TargetError, match="'board'"):
        ws.open("board")


@pytest.mark.parametrize("blob", [None, 5, 10**12, "net.ws", [1, 2], np.zeros(4)])
def test_decode_matrix_takes_bytes(blob):
    with pytest.raises(TypeError, match="blob must be bytes"):
        ws.decode_matrix(blob)


def test_decode_matrix_takes_all_kinds_of_bytes():
    expected = ws.decode_matrix(MATRIX)
    for kind in (bytearray, memoryview):
        assert np.array_equal(ws.decode_matrix(kind(MATRIX)), expected)


# ---- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros((2, 2)), "must be integers, not float64: quantise them first"),
        (np.full((2, 2), np.nan, np.float32), "must be integers, not float32"),
        (np.zeros((2, 2), bool), "must be integers, not bool"),
        (np.zeros((2, 2), complex), "must be integers, not complex128"),
        (np.array([[10**30]]), "must be integers, not object"),
        (np.array([["a"]]), "must be integers, not <U1"),
        (None, "must be integers, not object"),
        ([[1], [2, 3]], "rows have different lengths"),
        (np.zeros((), int), r"not of shape \(\)"),
        (np.zeros(3, int), r"not of shape \(3,\)"),
        (np.zeros((2, 2, 2), int), r"not of shape \(2, 2, 2\)"),
        (np.zeros((1, 1, 1, 1, 1), int), r"not of shape \(1, 1, 1, 1, 1\)"),
        (np.array([[-129]]), r"in \[-128, 127\], not in \[-129, -129\]"),
        (np.array([[0, 128]]), r"not in \[0, 128\]"),
        (np.array([[2**64 - 1]], np.uint64), "not in .*18446744073709551615"),
        (np.array([[-(2**63)]]), "not in .*-9223372036854775808"),
        (np.broadcast_to(np.int8(1), ((1 << 20) + 1, 1)), "at most 1048576 rows"),
        (np.broadcast_to(np.int8(1), (1, (1 << 20) + 1)), "and 1048576 columns"),
        (np.broadcast_to(np.int8(1), (1 << 40, 1 << 20)), "at most 1048576 rows"),
        (np.zeros((2, 3, 0, 3), np.int8), "kernels must be"),
        (np.zeros((1, 1, 1, 70000), np.int8), "kernels must be"),
    ],
)
def test_encode_matrix_says_what_is_wrong(weights, message):
    with pytest.raises(ws.MatrixError, match=message):
        ws.encode_matrix(weights)


@pytest.mark.parametrize("arguments", [(1.5, 1), ("1", 1), (None, 1), (True, 1), (1, [2])])
def test_layouts_are_made_of_ints(arguments):
    with pytest.raises(TypeError, match="must be an int"):
        ws.Layout(*arguments)


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0), (65, 1), (1, 65), (-1, 1), (1 << 63, 1)])
def test_layouts_have_limits(arguments):
    with pytest.raises(ws.LayoutError, match=r"must be in \[1, 64\]"):
        ws.Layout(*arguments)


@pytest.mark.parametrize("layout", [(1, 32), 32, "1 x 32"])
def test_encode_matrix_takes_layouts(layout):
    with pytest.raises(TypeError, match="layout must be a Layout or None"):
        ws.encode_matrix(np.zeros((2, 2), int), layout=layout)


def inputs():
    """Yield inputs that do not fit the network, which takes uint8 of the shape (1, 8, 10)."""
    shape = (2, 1, 8, 10)
    yield np.zeros((2, 80), np.uint8), r"shape \(batch, 1, 8, 10\), not \(2, 80\)"
    yield np.zeros(shape[1:], np.uint8), r"not \(1, 8, 10\)"
    yield np.zeros((), np.uint8), r"not \(\)"
    yield np.zeros((0, 1, 8, 11), np.uint8), r"not \(0, 1, 8, 11\)"
    yield np.full(shape, -1), r"must be uint8, not in \[-1, -1\]"
    yield np.full(shape, 256), r"must be uint8, not in \[256, 256\]"
    yield np.full(shape, 2**64 - 1, np.uint64), "must be uint8"
    yield np.full(shape, np.nan), "holds NaN"
    yield np.full(shape, -np.inf, np.float32), "holds infinity"
    yield np.zeros(shape, bool), "integers or floats, not bool"
    yield np.zeros(shape, complex), "integers or floats, not complex128"
    yield np.zeros(shape, object), "integers or floats, not object"
    yield np.zeros(shape, "U1"), "integers or floats, not <U1"


@pytest.mark.parametrize(("x", "message"), list(inputs()))
def test_run_says_what_is_wrong_with_inputs(x, message):
    with ws.open("numpy") as device, pytest.raises(ws.InputError, match=message):
        device.run(from_bytes(NETWORK), x)


def test_run_takes_an_empty_batch():
    with ws.open("numpy") as device:
        assert device.run(from_bytes(NETWORK), np.zeros((0, 1, 8, 10), np.uint8)).shape == (0, 10)


def test_run_refuses_corrupt_streams():
    sample = mutations.take_apart(NETWORK)
    changed = [(kind, b"\xff" * len(data) if kind == "lanes" else data) for kind, data in sample.sections]
    model = from_bytes(mutations.assemble(sample.graph, changed))
    with ws.open("numpy") as device, pytest.raises(ws.FormatError, match="corrupt"):
        device.run(model, np.zeros((1, 1, 8, 10), np.uint8))
