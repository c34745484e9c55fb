"""The run of a recipe as text and as a page."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rich.console import Console

from compressor.core.atomic import write_text
from compressor.core.formatting import metric_value, quantity, share
from compressor.render.draw import add_row, counted_at, line, show, sizes_counted, table
from compressor.render.gates import gate_cells, gate_name, gates_unsure, show_gates
from compressor.render.html import render_template
from compressor.render.undone import show_undone, undone_texts
from compressor.results.recipe import RecipeReport
from compressor.results.records import ModelStats

HEADINGS = ("stage", "state", "accuracy", "MACs", "params", "bytes", "speed-up", "seconds")


def render_recipe(report: RecipeReport, console: Console) -> None:
    """Prints a table of the stages, the gates, and what became of the result."""
    drawn = table(HEADINGS)
    for cells in stage_cells(report):
        add_row(drawn, *cells)
    show(console, drawn, title=report.recipe)
    counted_at(console, report.input.macs_at)
    show_gates(console, report.every_gate, [gate_name(gate) for gate in report.every_gate])
    show_undone(console, report.undone)
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
        columns=HEADINGS,
        rows=stage_cells(report),
        counted=sizes_counted(report.input.macs_at),
        gates=[gate_cells(gate, gate_name(gate)) for gate in report.every_gate],
        unsure=gates_unsure(report.every_gate),
        undone=undone_texts(report.undone),
    )
    write_text(path, text)


def stage_cells(report: RecipeReport) -> list[tuple[str, ...]]:
    """What stands under :data:`HEADINGS`, for the model that the recipe starts from and every stage."""
    row = report.accuracy
    # Without a measured metric the gate on accuracy is a share.
    share = row is None or row.share
    first = _measured(None if row is None else row.before, share=share)
    rows: list[tuple[str, ...]] = [("(model)", "", first, *_sizes(report.input), "", "")]
    for stage in report.stages:
        fast = "" if stage.speed_up is None else f"{stage.speed_up:.2f}x"
        took = "" if stage.seconds is None else f"{stage.seconds:.1f}"
        measured = _measured(stage.accuracy, share=share)
        rows.append((stage.name, stage.state, measured, *_sizes(stage.model), fast, took))
    return rows


def _sizes(model: ModelStats | None) -> tuple[str, str, str]:
    if model is None:
        return "", "", ""
    return quantity(model.macs), quantity(model.params), quantity(model.bytes, "B")


def _measured(value: float | None, *, share: bool) -> str:
    return "" if value is None else metric_value(value, share=share)
