"""Who imports whom, and what no file may hold."""

import ast
import dataclasses
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SW = ROOT / "sw"

# Directories of the machines that files are made on; the home of a PYNQ board is the same on every board.
MACHINE_PATH = re.compile(rb"(?<![\w.~-])/(?:work|root|Users|home(?!/xilinx\b))/[\w.-]+")


def modules(package: str) -> list[Path]:
    """Return the source files of a package."""
    paths = sorted((SW / package.replace(".", "/")).rglob("*.py"))
    assert paths, f"{package} has no files"
    return paths


def imports(path: Path) -> Iterator[str]:
    """Yield the full dotted name of everything that a file imports, in functions too."""
    package = path.relative_to(SW).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of some packages or in one."""
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def is_standard(name: str) -> bool:
    """Whether a dotted name is of the standard library."""
    return name.partition(".")[0] in sys.stdlib_module_names


def is_codec_data(name: str) -> bool:
    """Whether a dotted name is a dataclass of the codec."""
    module, _, attribute = name.rpartition(".")
    return within(module, "weightstream.codec") and dataclasses.is_dataclass(
        getattr(importlib.import_module(module), attribute)
    )


def offenders(package: str, allowed) -> list[str]:
    """Return the imports of a package that are not allowed, each with its file."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in imports(path)
        if not allowed(name)
    ]


def test_spec_imports_standard_library_only():
    assert not offenders(
        "weightstream.spec",
        lambda name: is_standard(name) or within(name, "weightstream.spec", "weightstream.errors"),
    )


def test_golden_takes_only_data_from_codec():
    own = ("numpy", "weightstream.errors", "weightstream.spec", "weightstream.ir", "weightstream.golden")
    assert not offenders(
        "weightstream.golden",
        lambda name: is_standard(name) or within(name, *own) or is_codec_data(name),
    )


def test_codec_does_not_lean_on_golden():
    assert not offenders("weightstream.codec", lambda name: not within(name, "weightstream.golden"))


def test_software_does_not_import_gateware():
    found = offenders("weightstream", lambda name: not within(name, "amaranth", "weightstream_hw"))
    # The one port that simulates it does, inside functions.
    port = "sw/weightstream/runtime/sim_port.py"
    assert [text for text in found if not text.startswith(port)] == []
    taken = ("weightstream_hw.sim.compiled", "weightstream_hw.boards")
    assert all(within(text.split()[-1], *taken) for text in found)


def test_import_takes_numpy_only():
    # Modules without a spec are made at run time by compiled extensions.
    program = (
        "import sys; before = set(sys.modules); import weightstream; "
        "print(*(n for n in set(sys.modules) - before if getattr(sys.modules[n], '__spec__', None)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not result.stderr
    loaded = result.stdout.split()
    assert "weightstream" in loaded
    assert not [n for n in loaded if not is_standard(n) and not within(n, "numpy", "weightstream")]


def test_no_file_holds_a_machine_path():
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("there are no files to list: this runs in a git checkout")
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    found = {
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in paths
        if path.is_file()
        for match in MACHINE_PATH.finditer(path.read_bytes())
    }
    assert not found
