"""What the README and the docstrings show must work."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import needs
import weightstream.model

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page_name(page):
    return str(page.relative_to(ROOT))


def links(page):
    """Return the files that a page links to, or names by a path from the root of the repository."""
    text = page.read_text("utf-8")
    relative = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)
    named = re.findall(r"(?<![\w./-])(?:docs|examples)/[\w./]+\.md\b", text)
    return {(page.parent / name).resolve() for name in relative} | {ROOT / name for name in named}


def test_readme_first_example_runs():
    (block, *_) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\d\.\d\d bits a weight\n", done.stdout)


def test_docstring_examples_run():
    failed, tried = doctest.testmod(weightstream.model)
    assert (failed, tried > 0) == (0, True)


@pytest.mark.parametrize(
    ("program", "module"),
    [("weightstream", "weightstream.cli.app"), ("weightstream-hw", "weightstream_hw.cli")],
    ids=["software", "gateware"],
)
def test_readme_names_commands_that_exist(program, module):
    typer = needs.package("typer")
    needs.package("rich")
    commands = typer.main.get_command(importlib.import_module(module).app).commands
    shown = re.findall(rf"^{program} ([\w-]+)(.*?)(?:  #.*)?$", README, re.M)
    assert len(shown) >= 4
    assert {name for name, _ in shown} <= set(commands)
    for name, rest in shown:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in rest.split() if word.startswith("-")} <= options


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_examples_of_pages_run(page):
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert (failed, tried) == (0, page.read_text("utf-8").count(">>> "))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_pages_name_files_that_exist(page):
    for name in re.findall(
        r"`((?:tests|docs|benchmarks|examples|sim|sw|hw)/[\w./*]+)`", page.read_text("utf-8")
    ):
        assert list(ROOT.glob(name.rstrip("/"))), name


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_of_pages_resolve(page):
    for target in links(page):
        assert target.is_file(), target


def test_every_page_can_be_reached_from_the_readme():
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        ahead += [target for target in links(page) - reached if target.suffix == ".md"]
    assert set(PAGES) <= reached


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_docs_name_tests_that_exist(page):
    named = set(re.findall(r"`(test_\w+)`", page.read_text()))
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named <= set(re.findall(r"^(?:async )?def (test_\w+)", text, re.M))
