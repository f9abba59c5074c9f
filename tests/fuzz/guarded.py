"""Decode mutated files while every array that compiled code addresses ends at a page that cannot be touched.

What reads or writes behind an array ends the process. Arguments: a seed and a number of files; or ``beyond``,
to try that out.
"""

import contextlib
import ctypes
import importlib
import mmap
import os
import random
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
mutations = importlib.import_module("mutations")

import weightstream as ws  # noqa: E402
from weightstream.codec import decode_numba  # noqa: E402
from weightstream.model import from_bytes  # noqa: E402

_run = decode_numba.run
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def guard(array: np.ndarray) -> np.ndarray:
    """Return a copy whose last byte is the last one before a page that cannot be touched."""
    pages = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
    result = np.frombuffer(memory, array.dtype, array.size, pages - array.nbytes).reshape(array.shape)
    result[...] = array
    behind = np.frombuffer(memory, np.uint8, offset=pages).ctypes.data
    assert _libc.mprotect(behind, mmap.PAGESIZE, 0) == 0
    return result


class _Guarding:
    """Numpy whose new arrays are guarded."""

    def __getattr__(self, name):
        return getattr(np, name)

    def zeros(self, *arguments):
        return guard(np.zeros(*arguments))

    def empty(self, *arguments):
        return guard(np.empty(*arguments))

    def full(self, *arguments):
        return guard(np.full(*arguments))

    def ascontiguousarray(self, *arguments):
        return guard(np.ascontiguousarray(*arguments))


def run(streams, tables, contexts, rows, work, *tiles):
    """Call the compiled loops with guarded tables and rows."""
    tables, rows = (
        type(group)(*[guard(part) if isinstance(part, np.ndarray) else part for part in group])
        for group in (tables, rows)
    )
    return _run(streams, tables, contexts, rows, work, *tiles)


def decode(data: bytes) -> None:
    """Decode and run what is in a file, whose bytes are guarded too; its errors do not matter."""
    try:
        model = from_bytes(memoryview(guard(np.frombuffer(data, np.uint8))))  # type: ignore[arg-type]
    except ws.FormatError:
        return
    plans = [coded.plan for coded in model.matrices().values()]
    if sum((plan.rows + 1) * (plan.part_symbols + 1) * plan.sharing.parts for plan in plans) > 1 << 20:
        return
    for coded in model.matrices().values():
        inputs = np.ones((1 + len(data) % 40, coded.geometry.columns), np.int16)
        with contextlib.suppress(ws.FormatError):
            coded.weights()
        with contextlib.suppress(ws.FormatError):
            coded.decoder().multiply(coded.palette, inputs)


def main() -> None:
    """Run the script."""
    if sys.argv[1:] == ["beyond"]:
        ctypes.string_at(guard(np.zeros(5, np.uint8)).ctypes.data, 6)
        return
    seed, count = map(int, sys.argv[1:])
    os.environ["WEIGHTSTREAM_CODEC"] = "numba"
    decode_numba.np = _Guarding()  # type: ignore[assignment]
    decode_numba.run = run
    samples = mutations.good_samples()
    for data in mutations.good_files().values():
        decode(data)
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        decode(rng.choice((mutations.wild, mutations.wild, mutations.sections))(rng, samples))
        print(number, flush=True)


if __name__ == "__main__":
    main()
