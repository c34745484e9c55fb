"""What the run of a recipe reports: a row for every stage with the stage's own report, the gates, and the text."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console

from compressor.core.atomic import write_text
from compressor.core.formatting import quantity, share
from compressor.render.draw import line, row, show, table
from compressor.render.html import render_template
from compressor.results.base import PathText, Record
from compressor.results.detail import AccuracyRow, Environment
from compressor.results.records import Document, ModelStats

State = Literal["ran", "kept", "to run"]


class GateRow(Record):
    """A limit, and what was measured."""

    stage: str = Field(description="The stage that sets it; empty for a gate of the whole recipe.")
    name: str = Field(description="max_drop, max_size, min_speedup or max_latency.")
    limit: float = Field(description="Share, bytes, factor or milliseconds.")
    measured: float | None = Field(description="In the same unit; null where nothing was.")
    missed: str = Field(default="", description="How it was missed; empty where it was not.")


class StageRow(Record):
    """One stage: what it made and measured."""

    name: str
    state: State = Field(description="ran; kept, as it had finished before; to run, with --dry-run.")
    folder: PathText | None = Field(default=None, description="Where its result is kept; null where there is none.")
    seconds: float | None = Field(default=None, description="That it took when it ran.")
    model: ModelStats | None = Field(default=None, description="What it made; null for stages that only look.")
    accuracy: float | None = Field(default=None, description="Of that model, top-1; null without labels.")
    speed_up: float | None = Field(default=None, description="Over the model of the recipe, at the first batch size.")
    gates: list[GateRow] = Field(default=[])
    report: dict[str, Any] | None = Field(default=None, description="What its command reports.")


class RecipeReport(Document):
    """The result of running a recipe."""

    schema_name: str = Field(default="onnx-compressor.recipe/1", alias="schema")
    recipe: PathText
    input: ModelStats
    output: ModelStats | None = Field(default=None, description="The result that was put in place; else null.")
    accuracy: AccuracyRow | None = Field(
        default=None, description="Of the model and the last one; null without labels."
    )
    stages: list[StageRow]
    gates: list[GateRow] = Field(default=[], description="Of the whole recipe, once all stages are through.")
    failed: str | None = Field(default=None, description="The gate or comparison that was missed; null when none was.")
    seconds: float = Field(description="Of this run; stages that were kept took theirs before.")
    warnings: list[str] = Field(default=[])
    environment: Environment


COLUMNS = ("stage", "state", "accuracy", "MACs", "params", "bytes", "speed-up", "seconds")


def render_recipe(report: RecipeReport, console: Console) -> None:
    """Prints a table of the stages, the gates, and what became of the result."""
    drawn = table(COLUMNS)
    for cells in stage_cells(report):
        row(drawn, *cells)
    show(console, drawn, title=report.recipe)
    gates = all_gates(report)
    if gates:
        drawn = table(("gate", "limit", "measured", ""))
        for gate in gates:
            row(drawn, *gate_cells(gate))
        show(console, drawn)
    console.print()
    if report.output is None:
        line(console, "Nothing was put in place.", style="bold")
        return
    left = share(report.output.bytes, report.input.bytes)
    text = f"Wrote {report.output.path}, {left} of the bytes of {report.input.path} ({report.seconds:.1f} s)"
    line(console, text, style="bold")


def write_recipe_html(report: RecipeReport, path: Path, created: datetime) -> None:
    """Writes the report as one HTML file that needs nothing else.

    Raises:
        UsageError: the place cannot be written to.
    """
    made = [stage.model for stage in report.stages if stage.model is not None]
    text = render_template(
        "recipe.html",
        created,
        report=report,
        kind="Recipe report",
        title=report.recipe,
        lead=", then ".join(stage.name for stage in report.stages) + ".",
        last=made[-1] if made else None,
        columns=COLUMNS,
        rows=stage_cells(report),
        gates=[gate_cells(gate) for gate in all_gates(report)],
    )
    write_text(path, text)


def all_gates(report: RecipeReport) -> list[GateRow]:
    """Those of the stages, then those of the recipe."""
    return [gate for stage in report.stages for gate in stage.gates] + report.gates


def stage_cells(report: RecipeReport) -> list[tuple[str, ...]]:
    """What stands under :data:`COLUMNS`, for the model that the recipe starts from and every stage."""
    original = report.accuracy.before if report.accuracy is not None else None
    rows: list[tuple[str, ...]] = [("(model)", "", _percent(original), *_sizes(report.input), "", "")]
    for stage in report.stages:
        fast = "" if stage.speed_up is None else f"{stage.speed_up:.2f}x"
        took = "" if stage.seconds is None else f"{stage.seconds:.1f}"
        rows.append((stage.name, stage.state, _percent(stage.accuracy), *_sizes(stage.model), fast, took))
    return rows


def gate_cells(gate: GateRow) -> tuple[str, str, str, str]:
    """Name, limit, measurement and verdict."""
    name = f"{gate.stage}: {gate.name}" if gate.stage else gate.name
    verdict = "MISSED" if gate.missed else "passed"
    return name, _amount(gate.name, gate.limit), _amount(gate.name, gate.measured), verdict


def _sizes(model: ModelStats | None) -> tuple[str, str, str]:
    if model is None:
        return "", "", ""
    return quantity(model.macs), quantity(model.params), quantity(model.bytes, "B")


def _percent(part: float | None) -> str:
    return "" if part is None else f"{part:.2%}"


def _amount(name: str, value: float | None) -> str:
    """A limit or a measurement, in the unit of the gate."""
    if value is None:
        return "-"
    forms = {
        "max_drop": f"{value:.2%}",
        "max_size": f"{value:.0%}" if value <= 1 else quantity(round(value), "B"),
        "min_speedup": f"{value:.3g}x",
        "max_latency": f"{value:.3g} ms",
    }
    return forms[name]
