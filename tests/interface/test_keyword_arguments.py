"""Typed keywords say what the settings do."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import compressor
from compressor.cli.main import COMMANDS
from compressor.config import PruneSettings
from tests.interface import write_keywords

FUNCTIONS = [name for name in dir(compressor) if inspect.isfunction(getattr(compressor, name))]


def test_keywords_are_written_from_the_settings() -> None:
    written = write_keywords.PLACE.read_text(encoding="utf-8")
    assert written == write_keywords.text(), "run python -m tests.interface.write_keywords"


def test_interpreters_complete_every_setting() -> None:
    found = inspect.signature(compressor.prune).parameters
    assert set(PruneSettings.model_fields) <= set(found)
    assert found["round_to"].default == PruneSettings.model_fields["round_to"].default
    assert not any(p.kind is p.VAR_KEYWORD for p in found.values())


def test_public_names_are_loaded_from_where_type_checkers_look() -> None:
    """And from their own module or package, which no other one has to load first."""
    text = Path(compressor.__file__).read_text(encoding="utf-8")
    named = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom) and n.names[0].asname]
    seen = {alias.asname: node.module for node in named for alias in node.names}
    assert seen.pop("errors") == "compressor"
    assert seen == dict(compressor._PLACES)
    assert set(compressor.__all__) == {*seen, "errors", "__version__"}
    assert all(getattr(compressor, name).__module__.startswith(place) for name, place in seen.items())


def test_every_command_has_its_function() -> None:
    assert set(COMMANDS) <= set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_described(name: str) -> None:
    assert "Raises" in (inspect.getdoc(getattr(compressor, name)) or "") or name in ("load", "diff")
