"""What some tests need beside the base install. A skip says what is missing, and what makes the test run."""

import importlib.util
import shutil

import pytest

#: What installs each package.
_INSTALLS = {
    "amaranth_boards": 'pip install "weightstream[synth]"',
    "numba": 'pip install "weightstream[fast]"',
    "onnx": 'pip install "weightstream[onnx]"',
    "onnxruntime": "make venv, or pip install onnxruntime",
    "rich": 'pip install "weightstream[cli]"',
    "serial": 'pip install "weightstream[serial]"',
    "tkinter": "Debian's python3-tk, or another Python that was built with Tcl",
    "typer": 'pip install "weightstream[cli]"',
}


def package(name: str):
    """Return a module of another package, or skip the test, or the whole file, that asks for it."""
    top = name.partition(".")[0]
    return pytest.importorskip(name, reason=f"{top} is not installed; what makes this run: {_INSTALLS[top]}")


#: Marks a test of the compiled codec.
numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None,
    reason=f"numba is not installed; what makes this run: {_INSTALLS['numba']}",
)


def simulators(*of_icarus: pytest.MarkDecorator):
    """Return the simulators of cocotb as parameters: one that is not installed skips its tests.

    Tests on Icarus get the marks that are given, too.
    """
    icarus = pytest.mark.skipif(
        shutil.which("iverilog") is None,
        reason="Icarus is not installed; what makes this run: iverilog on PATH (apt install iverilog)",
    )
    return ["verilator", pytest.param("icarus", marks=[icarus, *of_icarus])]
