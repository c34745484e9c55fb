"""Tables of names: what is built in, what plug-ins add, and what cannot be found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compressor.core.choices import Choices, plugin_at_fault
from compressor.errors import UsageError

BUILTIN = {"pair": "fractions:Fraction", "path": "pathlib:Path"}


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The entry points of a distribution that is on the path: one that works, one that does not, one name too many."""
    info = tmp_path / "addon-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: addon\nVersion: 1.0\n")
    names = "own = addon_module:OWN\nbroken = addon_module:NONE\npath = addon_module:OWN\n"
    (info / "entry_points.txt").write_text(f"[a.group]\n{names}")
    (tmp_path / "addon_module.py").write_text("OWN = 'mine'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "addon_module", raising=False)
    return "a.group"


def test_objects_are_imported_when_asked_for() -> None:
    table = Choices("thing", {**BUILTIN, "missing": "no_such_module:x"})
    assert table["path"] is Path
    assert list(table) == ["pair", "path", "missing"], "naming them imports nothing"
    with pytest.raises(ModuleNotFoundError):
        table["missing"]


def test_plugins_join_and_replace_nothing(group: str) -> None:
    table = Choices("thing", BUILTIN, group)
    assert list(table) == ["pair", "path", "own", "broken"]
    assert len(table) == 4
    assert table["own"] == "mine"
    assert table["path"] is Path


def test_a_broken_plugin_is_named(group: str) -> None:
    with pytest.raises(UsageError, match="thing 'broken' of the package 'addon_module' cannot be loaded"):
        Choices("thing", BUILTIN, group)["broken"]


def test_an_unknown_name_is_answered_with_all() -> None:
    with pytest.raises(UsageError, match="no thing 'x'; there are pair, path"):
        Choices("thing", BUILTIN).find("x")


def test_a_setting_takes_the_names() -> None:
    assert Choices("thing", BUILTIN).literal("none").__args__ == ("none", "pair", "path")


def test_what_a_plugin_raises_is_its_own_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "faulty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[onnx_compressor.criteria]\nfaulty = faulty_module:score\n")
    (tmp_path / "faulty_module.py").write_text("def score(then=None):\n    return then() if then else {}['oops']\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "faulty_module", raising=False)
    score = Choices("criterion", {}, "onnx_compressor.criteria")["faulty"]
    with pytest.raises(KeyError) as caught:
        score()
    assert plugin_at_fault(caught.value) == "faulty_module"
    with pytest.raises(UsageError) as ours:
        score(lambda: Choices("thing", BUILTIN).find("x"))
    assert plugin_at_fault(ours.value) is None
