"""The JSON schema of recipes: true to the settings, kept in docs/, and right about the examples."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from compressor.config.choices import STAGES
from compressor.config.recipe import GATES, MANAGED, READ, Recipe, schema, settings_of, stage_kind
from compressor.recipe.progress import ResolvedRecipe
from compressor.recipe.reading import read_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted([*(ROOT / "examples" / "recipes").glob("*.yaml"), ROOT / "examples" / "pipeline" / "recipe.yaml"])
NAMES = [path.name for path in RECIPES]


@pytest.mark.recovers
def test_the_published_schema_is_the_one_of_the_settings():
    published = json.loads((ROOT / "docs" / "recipe.schema.json").read_text(encoding="utf-8"))
    assert published == schema(), "run: onnx-compress run --schema > docs/recipe.schema.json"


def test_the_schema_knows_every_setting_and_no_other():
    found = schema()
    assert set(found["properties"]) == set(Recipe.model_fields)
    for kind in map(settings_of, STAGES):
        definition = found["$defs"][kind.__name__]
        assert set(definition["properties"]) == set(kind.model_fields) - set(MANAGED)
        assert definition["additionalProperties"] is False
    assert set(found["properties"]["gates"]["properties"]) == set(GATES)
    assert len(found["properties"]["stages"]["patternProperties"]) == len(STAGES)


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_examples_can_be_read(path: Path):
    resolved = ResolvedRecipe.of(path, read_recipe(path))
    assert resolved.original.is_file()
    assert path.read_text(encoding="utf-8").startswith(
        "# yaml-language-server: $schema=../../docs/recipe.schema.json\n"
    )


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_examples_fit_the_schema(path: Path):
    assert not list(validator().iter_errors(loaded(path)))


@pytest.mark.parametrize(
    ("place", "value", "right"),
    [
        (("stages", "prune", "target_macs"), "50%", True),
        (("stages", "prune", "target_macs"), 1.5, False),
        (("stages", "prune", "layer_ratio"), {"a*": 0.5}, True),
        (("stages", "prune", "ratoi"), 0.5, False),
        (("stages", "prune", "resume"), True, False),
        (("stages", "prune-2"), None, True),
        (("stages", "prune2"), {}, False),
        (("stages", "bench"), {"batch": "1,8", "max_latency": "2ms"}, True),
        (("gates", "max_size"), "1.5MB", True),
        (("gates", "min_speed_up"), 1, False),
        ("seed", -1, False),
        ("modle", "a.onnx", False),
    ],
)
def test_the_schema_accepts_what_people_write(place: str | tuple[str, ...], value: object, right: bool):
    recipe: dict[str, Any] = {"model": "a.onnx", "stages": {"prune": {}}, "gates": {}}
    *outer, last = (place,) if isinstance(place, str) else place
    held = recipe
    for key in outer:
        held = held[key]
    held[last] = value
    assert validator().is_valid(recipe) is right


@cache
def validator() -> Any:
    """Of the schema as it is without the default of ``recover``, for all tests that ask."""
    jsonschema, document = pytest.importorskip("jsonschema"), schema()
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def loaded(path: Path) -> Any:
    """As editors read it, with YAML's own numbers."""
    return pytest.importorskip("yaml").safe_load(path.read_text(encoding="utf-8"))


WRITTEN = {"metrics", "latency_cache"}
"""Paths that a stage writes, or that only remember what was measured."""


@pytest.mark.parametrize("name", STAGES)
def test_the_key_of_a_stage_heeds_every_file_that_it_reads(name: str):
    kind = settings_of(name)
    paths = {field for field, found in kind.model_fields.items() if "Path" in str(found.annotation)}
    assert paths <= {*READ, *MANAGED, *WRITTEN}, "add it to READ, or a changed file would give the old result"


def test_the_name_of_a_kind_may_hold_hyphens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("compressor.config.recipe.STAGES", {"prune": 0, "report": 0, "report-size": 0})
    names = ("prune", "prune-2", "report-size", "report-size-2", "report-2")
    assert [stage_kind(name) for name in names] == ["prune", "prune", "report-size", "report-size", "report"]
