"""Read mutated files: each must be refused by a `FormatError`, or decode alike in every reader.

The files are read in processes of their own, whose memory and time are limited. Run as a script it prints a
line of progress, saves the files that fail, and then ends with exit code 1.
"""

import argparse
import importlib
import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

HERE = Path(__file__).resolve().parent
# Files beside this one, and those of the tests, are no package.
sys.path[:0] = [str(HERE), str(HERE.parent)]
format_reader = importlib.import_module("format_reader")
mutations = importlib.import_module("mutations")
BACKENDS = importlib.import_module("coded_matrices").BACKENDS

import weightstream as ws  # noqa: E402
from weightstream.model import Model, from_bytes  # noqa: E402

#: A file may take so much memory beyond its own size, and so many seconds of the processor.
EXTRA_BYTES = 64 << 20
SECONDS = 5
#: The parent waits longer for a file, and longest for the first one: loops are compiled.
_PATIENCE, _START = 60, 600
#: Symbols that a stream may have to be decoded by numpy, which is as slow with long good files; how long the
#: plain reader is waited for, and what files it gets.
_NUMPY_STEPS = 8000
_READER_SECONDS = 0.25
_READER_BYTES = 1 << 14
#: Shortest text of an error that can be called a sentence.
_SENTENCE = 20


class Failure(Exception):
    """What must not be."""


# ---- one file ------------------------------------------------------------------------------------


def attempt(action: Callable, *arguments) -> tuple[bool, object]:
    """Return whether an action succeeded, and its result or the text of its error; others pass."""
    try:
        return True, action(*arguments)
    except ws.WeightstreamError as error:
        if len(str(error)) < _SENTENCE:
            raise Failure(f"{type(error).__name__} says no more than {error}") from error
        return False, f"{type(error).__name__}: {error}"


def digest(array: np.ndarray) -> tuple:
    """Return what tells an array from others."""
    return array.shape, str(array.dtype), zlib.crc32(np.ascontiguousarray(array))


def _decode(model: Model, run: bool) -> Iterator[tuple[bool, object]]:
    """Yield the outcomes of all that can be done with a model."""
    for coded in model.matrices().values():
        yield attempt(lambda coded=coded: digest(coded.weights()))
    if run:
        shape = model.network.tensor(model.network.inputs[0]).shape
        items = 1 if max(tensor.size for tensor in model.network.tensors) > 1 << 16 else 2
        x = np.random.default_rng(1).integers(0, 128, (items, *shape)).astype(np.uint8)
        with ws.open("numpy") as device, np.errstate(all="ignore"):
            yield attempt(lambda: digest(device.run(model, x, raw=True)))
            yield attempt(lambda: device.run(model, x.astype(np.float32)).shape)


def _steps(model: Model) -> int:
    plans = [coded.plan for coded in model.matrices().values()]
    return sum(plan.tiles * (plan.part_symbols + 4) for plan in plans)


def examine(data: bytes) -> str:
    """Read a file with all codecs; return how it went.

    Raises
    ------
    Failure
        An error is no sentence, or two codecs differ. Errors of other types pass through.
    """
    good, model = attempt(from_bytes, data)
    if not good:
        return "refused"
    assert isinstance(model, Model)
    run = len(model.network.inputs) == 1 and model.network.tensor(model.network.inputs[0]).size <= 1 << 20
    outcomes = {}
    for backend in BACKENDS:
        if backend == "numpy" and len(BACKENDS) > 1 and _steps(model) > _NUMPY_STEPS:
            continue
        with mock.patch.dict(os.environ, WEIGHTSTREAM_CODEC=backend):
            outcomes[backend] = list(_decode(Model(model.network, data), run))
    first, *others = outcomes.values()
    if any(other != first for other in others):
        raise Failure(f"the codecs differ: {outcomes}")
    return "decoded" if all(good for good, _ in first[: len(model.matrices())]) else "corrupt"


def compare(data: bytes, outcome: str) -> None:
    """Hold the outcome of `examine` to the reader written from docs/format.md, unless that takes too long.

    Raises
    ------
    Failure
        They differ.
    """
    good, model = attempt(from_bytes, data) if len(data) < _READER_BYTES else (True, None)
    if good and (model is None or _steps(model) > _NUMPY_STEPS):
        return
    try:
        read = _read_plainly(data)
    except format_reader.BadFile as error:
        if outcome == "decoded":
            raise Failure(f"docs/format.md refuses this file: {error}") from error
        return
    except (TimeoutError, MemoryError):
        return
    if outcome != "decoded":
        raise Failure(f"docs/format.md allows this file; here it is {outcome}: {model}")
    assert model is not None
    for own, coded in zip(read["matrices"], model.matrices().values(), strict=True):
        weights = coded.geometry.unflatten(coded.weights())
        if own["weights"] != weights.reshape(own["rows"], own["columns"]).tolist():
            raise Failure("a reader made from docs/format.md decodes other weights")


def _read_plainly(data: bytes) -> dict:
    """Read a file with the plain reader; raise `TimeoutError` if that takes long."""
    signal.setitimer(signal.ITIMER_REAL, _READER_SECONDS)
    try:
        return format_reader.read(data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _on_alarm(*_: object) -> None:
    raise TimeoutError


# ---- the process that reads ----------------------------------------------------------------------


def prepare() -> list:
    """Compile all that is needed, before memory is limited; return the good files, taken apart."""
    signal.signal(signal.SIGALRM, _on_alarm)
    for name, data in mutations.good_files().items():
        outcome, error = judge(data, limited=False)
        if outcome != "decoded":
            raise Failure(f"{name}.ws, which is good, is {outcome}: {error}")
    return mutations.good_samples()


def judge(data: bytes, limited: bool = True, compared: bool = True) -> tuple[str, str]:
    """Examine a file within the limits; return its outcome, "failed" if it has none, and what went wrong."""
    start = time.process_time()
    try:
        if limited:
            _allow(EXTRA_BYTES + len(data))
        try:
            outcome = examine(data)
        finally:
            _allow(None)
        taken = time.process_time() - start
        if limited and taken > SECONDS:
            raise Failure(f"it took {taken:.1f} s")
        if compared:
            compare(data, outcome)
    except BaseException:
        return "failed", traceback.format_exc()
    return outcome, ""


def _allow(extra: int | None) -> None:
    """Limit the address space to what is taken now and some bytes more; None ends that."""
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (most if extra is None else taken + extra, most))


def work(seed: int, first: int, count: int) -> None:
    """Examine mutated files; say each one's number before it is read, and its outcome after that."""
    samples = prepare()
    print("ready", flush=True)
    for number in range(first, first + count):
        print(number, flush=True)
        kind, data = mutations.mutated(seed, number, samples)
        print(json.dumps([kind, *judge(data)]), flush=True)


def again(paths: list[Path]) -> int:
    """Examine some files; say how each one went, and return the exit code."""
    prepare()
    code = 0
    for path in paths:
        outcome, error = judge(path.read_bytes())
        print(path.name, outcome, error, flush=True)
        code |= outcome == "failed"
    return code


# ---- the process that watches --------------------------------------------------------------------


class _Reader:
    """A process that reads files, and its lines."""

    def __init__(self, seed: int, first: int, count: int):
        environment = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", str(seed), str(first), str(count)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | environment,
        )
        self._rest = b""

    def line(self, seconds: float) -> str | None:
        """Return the next line; None if the process ends, or says nothing for some seconds."""
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            if not select.select([self.process.stdout], [], [], seconds)[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            if not more:
                return None
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    def end(self) -> str:
        """End the process; return what it said last."""
        if self.process.poll() is None:
            self.process.kill()
        errors = self.process.communicate()[1].decode(errors="replace")[-2000:]
        return f"exit code {self.process.returncode}\n{errors}"


def watch(seed: int, count: int, seconds: float = float("inf")) -> Iterator[tuple[int, str, str, str]]:
    """Examine files; yield the number, kind, outcome and error of each.

    A process that dies or hangs is a failure of the file that it was reading; another one reads on.
    """
    until = time.monotonic() + seconds
    number = 0
    while number < count:
        reader = _Reader(seed, number, count - number)
        try:
            if reader.line(_START) != "ready":
                raise Failure(f"the good files cannot be read: {reader.end()}")
            while number < count and time.monotonic() < until:
                if reader.line(_PATIENCE) is None:
                    raise Failure(f"file {number} of seed {seed} cannot be made: {reader.end()}")
                line = reader.line(_PATIENCE)
                if line is None:
                    yield number, "?", "failed", f"the process died or hung: {reader.end()}"
                    number += 1
                    break
                yield (number, *json.loads(line))
                number += 1
            else:
                return
        finally:
            reader.end()


def main() -> int:
    """Run the script; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="files to read")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--save", type=Path, default=HERE.parent.parent / "build" / "fuzz", metavar="DIR")
    parser.add_argument("--again", type=Path, nargs="+", metavar="FILE", help="read these files instead")
    parser.add_argument("--work", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work)
        return 0
    if arguments.again:
        return again(arguments.again)
    outcomes: Counter[str] = Counter()
    samples = mutations.good_samples()
    shown = start = time.monotonic()
    for number, kind, outcome, error in watch(arguments.seed, arguments.count, arguments.seconds):
        outcomes[outcome] += 1
        if outcome == "failed":
            arguments.save.mkdir(parents=True, exist_ok=True)
            path = arguments.save / f"{arguments.seed}-{number}.ws"
            path.write_bytes(mutations.mutated(arguments.seed, number, samples)[1])
            print(f"\n{path.name} ({kind}): {error}")
        if time.monotonic() > shown + 1:
            shown = time.monotonic()
            print(_summary(arguments.seed, outcomes, shown - start), end="\r", flush=True)
    print(_summary(arguments.seed, outcomes, time.monotonic() - start))
    return 1 if outcomes["failed"] else 0


def _summary(seed: int, outcomes: Counter, seconds: float) -> str:
    parts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    return f"seed {seed}: {sum(outcomes.values())} files in {seconds:.0f} s: {parts}"


if __name__ == "__main__":
    sys.exit(main())
