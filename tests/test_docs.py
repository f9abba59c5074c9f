"""What the README and the docstrings show must work."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import weightstream.model

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_readme_first_example_runs():
    (block, *_) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\d\.\d\d bits a weight\n", done.stdout)


def test_docstring_examples_run():
    failed, tried = doctest.testmod(weightstream.model)
    assert (failed, tried > 0) == (0, True)


def test_readme_names_commands_that_exist():
    typer = pytest.importorskip("typer")
    from weightstream.cli.app import app

    commands = typer.main.get_command(app).commands
    shown = re.findall(r"^weightstream ([\w-]+) (.*?)(?:  #.*)?$", README, re.M)
    assert {name for name, _ in shown} <= set(commands)
    for name, rest in shown:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in rest.split() if word.startswith("-")} <= options


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_docs_name_files_that_exist(page):
    for name in re.findall(r"`((?:tests|docs|benchmarks|examples|sw)/[\w./*]+)`", page.read_text()):
        assert list(ROOT.glob(name.rstrip("/"))), name


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_docs_name_tests_that_exist(page):
    named = set(re.findall(r"`(test_\w+)`", page.read_text()))
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named <= set(re.findall(r"^(?:async )?def (test_\w+)", text, re.M))


def test_readme_links_to_pages_that_exist():
    for name in re.findall(r"\b(?:docs|examples)/[\w./]+\.md", README):
        assert (ROOT / name).is_file(), name
