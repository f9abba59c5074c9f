"""What can be said where pynq is not installed, and what packages promise to PYNQ."""

import importlib.util
import sys
from pathlib import Path

import pytest

import weightstream as ws
from weightstream.board.names import VLNV
from weightstream.errors import TargetError

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def test_missing_pynq_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(
        TargetError, match=r"^target 'pynq' needs pynq, .* pip install 'weightstream\[board\]'$"
    ):
        ws.open("pynq")


def test_missing_dependency_of_pynq_is_named(monkeypatch):
    def refuse(name, *arguments, **keywords):
        raise ModuleNotFoundError("No module named 'pkg_resources'", name="pkg_resources")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(TargetError, match="^target 'pynq' needs pkg_resources, "):
        ws.open("pynq:x.bit")


def test_entry_points_name_modules_that_are_there():
    text = PROJECT.read_text("utf-8")
    for group, module in (
        ("pynq.lib", "weightstream.board.ip"),
        ("pynq.overlays", "weightstream.board.overlays"),
    ):
        section = text.partition(f'[project.entry-points."{group}"]\n')[2].partition("\n\n")[0]
        assert section == f'weightstream = "{module}"'
        assert importlib.util.find_spec(module) is not None


def test_version_of_the_core_is_what_pynq_reads():
    # pynq takes two numbers, no more and no fewer.
    assert VLNV.count(":") == 3 and VLNV.rpartition(":")[2].count(".") == 1
