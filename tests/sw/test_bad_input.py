"""Whatever is put in: a result or an error of the right type; never a crash, a hang, or much memory."""

import importlib
import os
import re
import signal
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import weightstream as ws
from weightstream.codec.adaptive import AdaptiveEncoder
from weightstream.codec.side import read_side
from weightstream.ir.fields import FieldWriter
from weightstream.model import from_bytes

FUZZ = Path(__file__).resolve().parent.parent / "fuzz"
# The files in there are no package.
sys.path.insert(0, str(FUZZ))
fuzz_files = importlib.import_module("fuzz_files")
hostile = importlib.import_module("hostile")
mutations = importlib.import_module("mutations")

GOOD = mutations.good_files()
NETWORK = GOOD["network"]
MATRIX = GOOD["int8"]


def refused(data, error=ws.FormatError):
    """Check that a file is refused with a sentence; return it."""
    with pytest.raises(error) as caught:
        from_bytes(data)
    assert len(str(caught.value)) >= 20
    return str(caught.value)


def outcome(data):
    """Return how a file fares with all codecs; it must be the same."""
    return fuzz_files.examine(data)


# ---- damaged files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_truncated_at_every_byte(name):
    data = GOOD[name]
    for length in range(len(data)):
        assert "too short" in refused(data[:length]) if length < 24 else "truncated" in refused(data[:length])
        if length >= 24:
            # The same with a header that fits: a section must be found too long.
            refused(mutations.seal(data[:length]))
    refused(data + b"\0")
    refused(mutations.seal(data + b"\0"))


@pytest.mark.parametrize("name", GOOD)
def test_every_flipped_bit_is_refused(name):
    data = bytearray(GOOD[name])
    for bit in range(8 * len(data)):
        data[bit >> 3] ^= 1 << (bit & 7)
        refused(data)
        data[bit >> 3] ^= 1 << (bit & 7)


def test_every_flipped_bit_with_a_crc_that_fits():
    data = bytearray(GOOD["binary_quads"])
    outcomes = Counter()
    for bit in range(8 * 24, 8 * len(data)):
        data[bit >> 3] ^= 1 << (bit & 7)
        outcomes[outcome(mutations.seal(bytes(data)))] += 1
        data[bit >> 3] ^= 1 << (bit & 7)
    assert min(outcomes[kind] for kind in ("refused", "corrupt", "decoded")) > 20


def test_random_bytes():
    rng = np.random.default_rng(0)
    for length in (0, 1, 4, 16, 23, 24, 25, 100, 5000):
        refused(rng.bytes(length))
        refused(b"WSTM" + rng.bytes(length), ws.FormatError)


@pytest.mark.parametrize("version", [0, 2, 255, 65535])
def test_foreign_versions_are_named(version):
    data = bytearray(MATRIX)
    struct.pack_into("<H", data, 4, version)
    message = f"the file is of version {version}; this program reads version 1"
    assert refused(bytes(data), ws.VersionError) == message
    # A file of another version may have another length and no CRC.
    assert refused(bytes(data[:30]), ws.VersionError) == message


def test_wrong_magic_is_shown():
    assert "b'\\x89PNG'" in refused(b"\x89PNG" + MATRIX[4:])


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("lie", [(1 << n) + d for n in (16, 20, 31, 32, 62, 63, 64, 69) for d in (-1, 0, 1)])
def test_lies_in_every_number(name, lie):
    sample = mutations.take_apart(GOOD[name])
    writer = FieldWriter()
    writer.number(lie)
    for _, start, end in sample.numbers:
        graph = sample.graph[:start] + bytes(writer.data) + sample.graph[end:]
        data = mutations.assemble(graph, sample.sections)
        if lie < 1 << 62:
            # Rows, or a bias, may be so many.
            fuzz_files.attempt(from_bytes, data)
        else:
            refused(data)


# ---- many mutated files, and hostile ones, with limits -------------------------------------------


@pytest.mark.slow
def test_mutated_files():
    outcomes = Counter()
    for number, kind, result, error in fuzz_files.watch(seed=2, count=2000):
        assert result != "failed", f"file {number} ({kind}): {error}"
        outcomes[result] += 1
    assert sum(outcomes.values()) == 2000
    assert min(outcomes[kind] for kind in ("refused", "corrupt", "decoded")) > 200


@pytest.mark.slow
def test_hostile_files_stay_within_limits(tmp_path):
    paths = []
    for name, (_, make) in hostile.FILES.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(make())
    program = [sys.executable, str(FUZZ / "fuzz_files.py"), "--again", *map(str, paths)]
    result = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    outcomes = dict(line.split()[:2] for line in result.stdout.splitlines())
    assert outcomes == {name: expected for name, (expected, _) in hostile.FILES.items()}


@pytest.mark.skipif("numba" not in fuzz_files.BACKENDS, reason="numba is not installed")
def test_compiled_code_stays_within_its_arrays():
    program = [sys.executable, str(FUZZ / "guarded.py")]
    result = subprocess.run([*program, "4", "400"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-20:] + result.stderr
    # What reads beyond a guarded array is ended.
    assert subprocess.run([*program, "beyond"], capture_output=True).returncode == -signal.SIGSEGV


def test_fuzzing_finds_what_is_wrong(tmp_path, monkeypatch):
    # Without this, a broken harness would look like a codec without faults.
    assert fuzz_files.judge(NETWORK, limited=False, compared=False) == ("decoded", "")
    monkeypatch.setattr(fuzz_files, "from_bytes", lambda data: bytes(1 << 30))
    assert "MemoryError" in fuzz_files.judge(NETWORK, compared=False)[1]
    monkeypatch.setattr(fuzz_files, "from_bytes", lambda data: 1 / 0)
    assert "ZeroDivisionError" in fuzz_files.judge(NETWORK, compared=False)[1]
    monkeypatch.setattr(fuzz_files, "SECONDS", -1)
    monkeypatch.setattr(fuzz_files, "from_bytes", from_bytes)
    assert "it took" in fuzz_files.judge(NETWORK, compared=False)[1]


# ---- side information that makes no sense --------------------------------------------------------


def side(write, rows=4, columns=6, parts=1, taps=1, free_rows=False):
    """Check that side information is refused; return the sentence."""
    encoder = AdaptiveEncoder()
    write(encoder)
    with pytest.raises(ws.FormatError) as caught:
        read_side(encoder.finish(), rows, columns, parts, taps, free_rows)
    return str(caught.value)


def one_level(c):
    """Write a palette of one level."""
    c.choice("palette", 3, 0)
    c.choice("group", 8, 0)
    c.choice("levels", 16, 0)
    c.raw(8, 128)


def models(c, tables=2, rows=1, columns=1):
    """Write a palette, and the beginning of a context model."""
    one_level(c)
    c.choice("tables", 64, tables - 1)
    c.choice("row classes", 16, rows - 1)
    c.choice("column classes", 16, columns - 1)


def neighbours(c, *classes):
    """Write the classes of the 16 symbols as a neighbour."""
    c.choice("neighbour classes", 16, max(classes))
    if not max(classes):
        return
    for symbol, value in enumerate(classes):
        if not symbol or not c.bit("same class", int(value == classes[symbol - 1])):
            c.choice("class", max(classes) + 1, value)


def test_palettes_are_checked():
    def too_high(c):
        c.choice("palette", 3, 0)
        c.choice("group", 8, 0)
        c.choice("levels", 16, 1)
        c.raw(8, 255)
        c.number("gap", 0)

    def too_many(c):
        c.choice("palette", 3, 0)
        c.choice("group", 8, 7)
        c.choice("levels", 16, 15)

    def far(c):
        c.choice("palette", 3, 1)
        c.choice("levels", 16, 1)
        c.raw(8, 0)
        c.number("gap", (1 << 32) - 3)

    def endless(c):
        c.choice("palette", 3, 1)
        c.choice("levels", 16, 1)
        c.raw(8, 0)
        for size in range(1, 33):
            c.bit(("gap", size), 1)

    assert "the level 128" in side(too_high)
    assert "groups of 8 of 16 levels" in side(too_many)
    assert "beyond 127" in side(far)
    assert "beyond 32 bits" in side(endless)
    assert "choice 3 of 3" in side(lambda c: c.choice("palette", 4, 3))


def test_columns_are_checked():
    def repeating(period):
        def write(c):
            models(c, columns=2)
            c.number("column period", period - 1)

        return write

    def unused(c):
        models(c, columns=3)
        c.number("column period", 3)
        c.number("column stride", 0)
        for _ in range(4):
            c.choice("column", 3, 1)

    def crowded(c):
        c.choice("palette", 3, 2)
        c.choice("passes", 4, 3)
        c.choice("group", 8, 0)
        c.raw(4, 15)
        for _ in range(4):
            c.raw(8, 1)
        c.choice("tables", 64, 15)
        c.choice("row classes", 16, 0)
        c.choice("column classes", 16, 4)

    assert "repeat after 7 of 6 columns" in side(repeating(7))
    assert "repeat after 4294967294 of 6" in side(repeating((1 << 32) - 2))
    assert "repeat after 4 of 3" in side(repeating(4), parts=2)
    assert "a map of 3 classes uses 2" in side(unused)
    assert "5 column classes of 4 passes" in side(crowded)


def test_context_maps_are_checked():
    def wide(c):
        models(c, rows=16, columns=16)
        c.number("column period", 5)
        c.number("column stride", 0)
        for value in (0, 3, 9, 15, 1, 2):
            c.choice("column", 16, value)
        neighbours(c, *range(16))
        neighbours(c, *range(16))
        c.choice("distance", 16, 15)

    def table_map(*bits, tables=2):
        def write(c):
            models(c, tables=tables)
            neighbours(c, *[0] * 15, 1)
            neighbours(c, *[0] * 16)
            for context, bit in bits:
                c.bit(context, bit)

        return write

    def unused(c):
        models(c)
        c.choice("neighbour classes", 16, 15)
        c.choice("class", 16, 1)
        for _ in range(15):
            c.bit("same class", 1)

    first, same, other = ("map new", 1), (("map", 1, 0), 1), (("map", 1, 0), 0)
    assert "take more than 12 bits" in side(wide)
    assert "begins with no table" in side(table_map(("map new", 0)))
    assert "uses 1 of 2 tables" in side(table_map(first, same))
    assert "uses 1 of 64 tables" in side(table_map(first, same, tables=64))
    assert "choice" not in side(table_map(first, other, ("map new", 1), tables=3))
    assert "a map of 16 classes uses 2" in side(unused)


def test_rows_and_parts_are_checked():
    def rows(*counts):
        def write(c):
            models(c, tables=2, rows=3)
            neighbours(c, *[0] * 16)
            neighbours(c, *[0] * 16)
            for context, bit in ((("map new"), 1), (("map", 1, 0), 0), ("map new", 1), (("map", 1, 0), 1)):
                c.bit(context, bit)
            for count in counts:
                c.number("rows", count)

        return write

    assert "5 of 4 rows" in side(rows(2, 3), free_rows=True)
    assert "8589934588 of 4 rows" in side(rows((1 << 32) - 2, (1 << 32) - 2), free_rows=True)
    assert "rows of 6 groups cannot have 7 parts" in side(one_level, parts=7)
    assert "rows of 0 groups cannot have 4096 parts" in side(one_level, columns=0, parts=4096)


def test_tables_are_checked():
    def table(mode, *levels, back=None, precision=8):
        def write(c):
            one_level(c)
            c.choice("tables", 64, 0)
            c.choice("precision", 8, precision - 1)
            c.choice("prediction", 3, mode)
            if back:
                c.number("back", back - 1)
            for level in levels:
                c.signed(("level", mode, 0), level)

        return write

    assert "table 0 is empty" in side(table(0, 0))
    assert "impossible level -1" in side(table(1, -1))
    assert "impossible level 257" in side(table(0, 257))
    assert "impossible level 4294967294" in side(table(0, (1 << 32) - 2))
    assert "refers to 1 tables back" in side(table(2, back=1))
    assert "refers to 4294967295 tables back" in side(table(2, back=(1 << 32) - 1))
    assert "after 7 of its 99 bytes" in side_of_length(table(0, 5), 99)


def side_of_length(write, length):
    """Check that side information with bytes behind its end is refused; return the sentence."""
    encoder = AdaptiveEncoder()
    write(encoder)
    with pytest.raises(ws.FormatError) as caught:
        read_side(encoder.finish().ljust(length, b"\1"), 4, 6, 1, 1, False)
    return re.sub(r"after \d+ of", "after 7 of", str(caught.value))


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
