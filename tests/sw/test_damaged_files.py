"""Damaged and hostile files: a result or a `FormatError`; never a crash, a hang, or much memory."""

import signal
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import fuzz_files
import hostile
import mutations
import needs
import weightstream as ws
from weightstream.ir.fields import FieldWriter
from weightstream.model import from_bytes

FUZZ = Path(fuzz_files.__file__).parent

GOOD = mutations.good_files()
NETWORK, MATRIX = GOOD["network"], GOOD["int8"]


def refused(data, error=ws.FormatError):
    """Check that a file is refused with a sentence; return it."""
    with pytest.raises(error) as caught:
        from_bytes(data)
    assert len(str(caught.value)) >= 20
    return str(caught.value)


def outcome(data):
    """Return how a file fares with all codecs; it must be the same."""
    return fuzz_files.examine(data)


# ---- one thing wrong -----------------------------------------------------------------------------


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


@needs.numba
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
