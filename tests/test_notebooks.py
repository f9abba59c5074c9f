"""Notebooks as they are committed and delivered; `make test` executes them too."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import weightstream as ws
from weightstream.spec.machine import PRESETS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = ["1_compress", "2_simulate", "3_on_the_board", "4_your_own_matrix"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text("utf-8"))


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell["outputs"]]


def source(cell):
    return "".join(cell["source"])


def test_all_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == NAMES


def test_cells_were_executed_once_and_in_order(notebook):
    counts = [cell["execution_count"] for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    results = [output["execution_count"] for output in outputs(notebook) if "execution_count" in output]
    assert set(results) <= set(counts)


def test_outputs_are_there_and_none_is_an_error(notebook):
    kinds = {kind for output in outputs(notebook) for kind in output.get("data", ())}
    assert {"image/png", "text/html"} <= kinds
    assert {output["output_type"] for output in outputs(notebook)} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    assert {output["name"] for output in outputs(notebook) if output["output_type"] == "stream"} <= {"stdout"}


def test_plots_answer_what_is_asked_above_them(notebook):
    cells = notebook["cells"]
    for place, cell in enumerate(cells):
        if any("image/png" in output.get("data", ()) for output in cell.get("outputs", ())):
            assert cells[place - 1]["cell_type"] == "markdown"


def test_results_are_asserted(notebook):
    assert sum(source(cell).count("\nassert ") for cell in code(notebook)) >= 2


def test_no_trace_of_the_machine_that_ran_them(notebook):
    execute_notebooks = pytest.importorskip("execute_notebooks", reason="needs nbclient and nbformat")
    assert notebook["metadata"] == execute_notebooks.METADATA
    assert [cell["id"] for cell in notebook["cells"]] == [
        f"cell-{i + 1}" for i in range(len(notebook["cells"]))
    ]
    assert all(set(cell["metadata"]) <= {"tags"} for cell in notebook["cells"])
    assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work|usr|Users)/", json.dumps(notebook))


def test_notebooks_keep_to_the_line_length(notebook):
    assert max(len(line) for cell in code(notebook) for line in source(cell).splitlines()) <= 110


def test_the_target_is_a_parameter_and_simulated_by_default():
    notebook = json.loads((FOLDER / "3_on_the_board.ipynb").read_text("utf-8"))
    (cell,) = [cell for cell in code(notebook) if "parameters" in cell["metadata"].get("tags", ())]
    assert source(cell) == 'TARGET = "sim:tiny"'


def test_the_network_that_comes_with_them_is_what_the_first_one_writes():
    pytest.importorskip("onnx", reason="networks are imported with onnx")
    net = ws.compress(ROOT / "examples" / "mnist" / "lenet-300-100-ternary.onnx")
    name = "lenet-300-100-ternary.ws"
    assert net.relayout(PRESETS["pynq_z2"]).to_bytes() == (FOLDER / name).read_bytes()


def test_a_wheel_delivers_them_with_what_they_read(tmp_path):
    pytest.importorskip("hatchling", reason="builds the wheel")
    copy = tmp_path / "source"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "__pycache__", "*.partial"))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    own = {name.removeprefix("weightstream/notebooks/") for name in names if "/notebooks/" in name}
    assert {f"{name}.ipynb" for name in NAMES} | {"lenet-300-100-ternary.ws"} <= own
    sources = "".join(
        source(cell) for path in NOTEBOOKS for cell in code(json.loads(path.read_text("utf-8")))
    )
    read = {f"mnist/{name}" for name in re.findall(r'"([\w-]+\.(?:onnx|npz))"', sources)}
    assert {name for name in own if name.startswith("mnist/")} == read | {"mnist/README.md"}
    assert {"weightstream/model.py", "weightstream_hw/sim/model.cpp"} <= names
    assert not [name for name in names if name.startswith(("docs/", "examples/", "sw/", "hw/"))]
