"""`pynq get-notebooks` delivers what is in docs/notebooks."""

import subprocess
import sys
from pathlib import Path

import pytest

import weightstream

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "docs" / "notebooks"
COMMAND = [Path(sys.executable).with_name("pynq"), "get-notebooks"]
pytestmark = pytest.mark.skipif(
    Path(weightstream.__file__).resolve().parent == ROOT / "sw" / "weightstream",
    reason="a checkout has its notebooks in docs/notebooks: the wheel is tested by make test-pynq",
)


def test_notebooks_are_listed():
    done = subprocess.run([*COMMAND, "-l"], capture_output=True, text=True, check=True)
    assert "weightstream (source: weightstream)" in done.stdout


def test_notebooks_are_delivered_as_they_are(tmp_path):
    subprocess.run([*COMMAND, "weightstream", "-o", "-p", tmp_path], capture_output=True, check=True)
    delivered = {path.name: path.read_bytes() for path in (tmp_path / "weightstream").glob("*.ipynb")}
    assert delivered
    assert delivered == {path.name: path.read_bytes() for path in NOTEBOOKS.glob("*.ipynb")}
