"""The report of a recipe, as text and as a page, with any names."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import onnx.parser
import pytest
from rich.console import Console

from compressor.config.recipe import STAGE_GATES
from compressor.render.card import card
from compressor.render.gates import GATE_AMOUNTS
from compressor.render.recipe import render_recipe, write_recipe_html
from compressor.results.detail import AccuracyRow, Environment, UndoneRow
from compressor.results.recipe import RecipeReport, StageRow
from compressor.results.records import GateRow
from tests.render.case import HOSTILE, stats

GRAPH = '<ir_version: 8, opset_import: ["": 17]> g (float[n, 4] x) => (float[n, 4] y) { y = Relu(x) }'
TIME = datetime(2026, 3, 7, 9, 5, tzinfo=UTC)


def report(name: str = "prune", *, missed: bool = False) -> RecipeReport:
    gates = [GateRow(stage="", name="max_size", limit=0.5, measured=0.7 if missed else 0.25, missed="big" * missed)]
    small = stats("small.onnx", 250)
    return RecipeReport(
        recipe=f"{name}.yaml",
        input=stats(f"{name}.onnx", 1000),
        output=None if missed else small,
        accuracy=AccuracyRow(metric="top-1", before=0.95, after=0.9, samples=450),
        stages=[
            StageRow(name=name, state="kept", folder="x", seconds=1.25, model=small, accuracy=0.9, gates=gates),
            StageRow(name="bench", state="ran", folder="y", seconds=2, speed_up=1.5, report={"settings": {"a": name}}),
        ],
        gates=[GateRow(stage="", name="max_latency", limit=2.5, measured=None)],
        failed="big" if missed else None,
        seconds=3.0,
        warnings=[name],
        environment=Environment(python="3.11", system="Linux", device=name),
    )


def text(found: RecipeReport) -> str:
    stream = StringIO()
    render_recipe(found, Console(file=stream, width=80, markup=False, emoji=False, highlight=False))
    return stream.getvalue()


def test_the_table_has_a_row_for_every_stage_and_gate():
    lines = [line.split() for line in text(report()).splitlines()]
    assert ["(model)", "95.00%", "10.0", "k", "1,000", "4,000", "B"] in lines
    assert ["prune", "kept", "90.00%", "2,500", "250", "1,000", "B", "1.2"] in lines
    assert ["bench", "ran", "1.50x", "2.0"] in lines
    assert ["max_size", "50.0%", "25.0%", "met"] in lines
    assert ["max_latency", "2.5", "ms", "-", "not", "measured"] in lines
    assert "Wrote small.onnx, 0.25 of the bytes of prune.onnx (3.0 s)" in text(report())


def test_a_missed_gate_is_said():
    shown = text(report(missed=True))
    assert "MISSED" in shown
    assert "Nothing was put in place." in shown


def test_the_table_fits_80_columns():
    assert max(len(line) for line in text(report()).splitlines()) <= 80


@pytest.mark.parametrize("name", [*HOSTILE, "prune"])
@pytest.mark.parametrize("missed", [True, False])
def test_the_page_is_safe_with_any_name(tmp_path, name, missed):
    path = tmp_path / "page.html"
    write_recipe_html(report(name, missed=missed), path, TIME)
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<script" not in page
    assert "<img" not in page
    assert "\x00" not in page
    assert ("Not put in place" in page) is missed
    assert "7 March 2026, 09:05" in page


def test_json_comes_back_as_it_was():
    assert RecipeReport.model_validate_json(report().to_json()) == report()


def test_every_gate_of_a_stage_has_a_form() -> None:
    assert GATE_AMOUNTS.keys() == STAGE_GATES.keys()
    assert GATE_AMOUNTS["max_distance"](0.0123, True) == "1.23%"


def test_text_page_and_card_tell_what_stages_ran_and_what_was_undone(tmp_path: Path) -> None:
    row = UndoneRow(what="training", measure="loss", on="held-out samples", before=0.5, after=0.75)
    told = {"settings": {}, "undone": [row.model_dump(mode="json")], "ran": {"criterion": "l1"}}
    one, *others = report().stages
    found = report().model_copy(update={"stages": [one.model_copy(update={"report": told}), *others]})
    model = tmp_path / "a.onnx"
    onnx.save(onnx.parser.parse_model(GRAPH), model)
    write_recipe_html(found, tmp_path / "a.html", TIME)
    for shown in (text(found), (tmp_path / "a.html").read_text(), card(model, found)):
        assert "training was no better and is undone" in " ".join(shown.split())
    assert "what ran" in (tmp_path / "a.html").read_text()
    assert "What ran" in card(model, found)
    assert all(gate.name.replace("_", r"\_") in card(model, found) for gate in found.every_gate)
