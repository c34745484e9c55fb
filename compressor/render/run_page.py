"""A run that trained, unified or quantised a model as one HTML file: numbers, gates, curves, what was printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from io import StringIO
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from rich.console import Console

from compressor.core.atomic import write_text
from compressor.render.gates import gate_cells, gates_unsure
from compressor.render.html import render_template
from compressor.render.undone import undone_texts
from compressor.results.detail import EPOCHS, Curve, Series
from compressor.results.environment import environment
from compressor.results.finetune import TuneReport
from compressor.results.quantize import QuantizeReport
from compressor.results.records import ModelStats, RunDocument
from compressor.results.unify import UnifyReport

KINDS: Mapping[type[RunDocument], str] = MappingProxyType(
    {TuneReport: "Training report", UnifyReport: "Unification report", QuantizeReport: "Quantization report"}
)
"""Report -> what its page is called."""
_COLUMNS = 80
"""Characters of a line of what was printed."""


def write_run(
    report: RunDocument, path: Path, draw: Callable[[Console], None], created: datetime | None = None
) -> None:
    """Writes :func:`render_run` to ``path``, whole or not at all.

    Raises:
        UsageError: jinja2 is not installed, or the place cannot be written to.
    """
    write_text(path, render_run(report, draw, created))


def render_run(report: RunDocument, draw: Callable[[Console], None], created: datetime | None = None) -> str:
    """The report as the text of an HTML document, the same for the same arguments on a machine.

    Args:
        report: of a kind in :data:`KINDS`.
        draw: prints it.
        created: the time that the page shows; none is shown if left out.

    Raises:
        UsageError: jinja2 is not installed.
    """
    printed = StringIO()
    draw(Console(file=printed, width=_COLUMNS, markup=False, emoji=False, highlight=False))
    device = getattr(report, "device", "cpu")
    source, written = (_place(getattr(report, name, None)) for name in ("input", "output"))
    return render_template(
        "run_page.html",
        created,
        report=report,
        environment=environment(None if device == "cpu" else device),
        kind=KINDS[type(report)],
        title=_file_name(source) or "Model in memory",
        lead=f"{'Written to' if written else 'Not written'} {_file_name(written)}".rstrip() + ".",
        headline=report.headline(),
        gates=[gate_cells(gate) for gate in report.gates],
        unsure=gates_unsure(report.gates),
        undone=undone_texts(getattr(report, "undone", [])),
        curves=training_charts(report) if isinstance(report, TuneReport) else [],
        printed=[line.rstrip() for line in printed.getvalue().splitlines()],
    )


def _place(model: ModelStats | str | None) -> str:
    return (model.path if isinstance(model, ModelStats) else model) or ""


def _file_name(path: str) -> str:
    # Reports may come from another system, with its separators.
    return PurePosixPath(path.replace("\\", "/")).name


def training_charts(report: TuneReport) -> list[Curve]:
    """Loss by epoch, and the metric where there is one; epoch 0 is before training."""
    judged = [(0.0, report.before), *((float(row.epoch), row.valid) for row in report.epochs if row.valid is not None)]
    aside = "samples of --val-data" if report.settings.get("val_data") else "samples set aside"
    on = aside if len(judged) > 1 else "samples that are trained on"
    learnt = Series(name="training samples", points=[(float(row.epoch), row.loss) for row in report.epochs])
    loss = Series(name=on, points=[(epoch, score.loss) for epoch, score in judged])
    note = f"The weights of epoch {report.best_epoch} were kept."
    drawn = [Curve(title="Loss", x_label=EPOCHS, y_label="loss", series=[learnt, loss], note=note)]
    points = [(epoch, score.metric) for epoch, score in judged if score.metric is not None]
    if points and report.metric_name is not None:
        series = [Series(name=on, points=points)]
        drawn.append(Curve(title=report.metric_name, x_label=EPOCHS, y_label=report.metric_name, series=series))
    return drawn
