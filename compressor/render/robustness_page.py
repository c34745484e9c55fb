"""The robustness report as one HTML file: findings, curves over noise and severities, and every number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from compressor.core.atomic import write_text
from compressor.render.html import render_template
from compressor.render.robustness import LIKENESS, basis, findings, models, sheets, title
from compressor.results.detail import Curve, Series
from compressor.results.robustness import RobustnessReport

_LINES = 6
"""Lines of a chart: more cannot be told apart."""


@dataclass(frozen=True)
class ChartMeasure:
    """What a chart shows: numbers by model, shift and level."""

    title: str
    label: str
    values: Mapping[tuple[str, str, float | None], float]


def write_robustness(report: RobustnessReport, path: str | Path, *, created: datetime | None = None) -> None:
    """Writes :func:`render_page` to ``path``, whole or not at all.

    Raises:
        UsageError: jinja2 is not installed, or the place cannot be written to.
    """
    write_text(path, render_page(report, created=created))


def render_page(report: RobustnessReport, *, created: datetime | None = None) -> str:
    """The report as the text of an HTML document, the same for the same arguments.

    Raises:
        UsageError: jinja2 is not installed.
    """
    return render_template(
        "robustness.html",
        created,
        report=report,
        kind="Robustness report",
        title=_file(report.models[0].stats.path),
        lead=basis(report),
        models=models(report),
        findings=findings(report),
        curves=noise_charts(report),
        sheets=sheets(report),
        everything=sheets(report, verbose=True),
    )


def noise_charts(report: RobustnessReport) -> list[Curve]:
    """Charts of all measures over the amplitude of noise, and of the first over the severity of each corruption."""
    found = list(_measures(report))
    names = dict.fromkeys(row.shift for row in report.likeness if row.level)
    noise = [_curve(report, measure, f"{measure.title} under noise", "noise") for measure in found if "noise" in names]
    # One chart a corruption, of the first measure alone: all measures of all corruptions would be dozens.
    corrupted = [_curve(report, found[0], _capital(title(name, None)), name) for name in names if name != "noise"]
    return noise + corrupted


def _measures(report: RobustnessReport) -> Iterator[ChartMeasure]:
    """Accuracy, then likeness by output: of classes agreement and distance, of other outputs the relative error."""
    if report.accuracy:
        values = {(r.model, r.shift, r.level): 100 * r.accuracy.value for r in report.accuracy}
        yield ChartMeasure("Accuracy", "accuracy, %", values)
    for output in dict.fromkeys(row.output for row in report.likeness):
        rows = {(r.model, r.shift, r.level): r for r in report.likeness if r.output == output}
        # An output without classes anywhere has no agreement to draw.
        classes = all(row.agreement is not None for row in rows.values())
        for kind in ("agreement", "distance") if classes else ("relative_error",):
            scale = 100 if kind == "agreement" else 1
            values = {key: scale * getattr(row, kind).value for key, row in rows.items()}
            same = 100.0 if kind == "agreement" else 0.0
            # The original agrees with itself, which gives the other lines something to be read against.
            values |= {(report.models[0].label, shift, level): same for _, shift, level in rows}
            label = LIKENESS[kind] + (", %" if kind == "agreement" else "")
            yield ChartMeasure(f"{output}: {kind.replace('_', ' ')}", label, values)


def _curve(report: RobustnessReport, measure: ChartMeasure, name: str, shift: str) -> Curve:
    """One line a model, from the clean inputs on."""
    series = []
    for model in report.models[:_LINES]:
        points = [
            (level, value)
            for (label, kind, level), value in measure.values.items()
            if label == model.label and kind in ("clean", shift) and level is not None
        ]
        if points:
            series.append(Series(name=f"{model.label} {_file(model.stats.path)}", points=points))
    axis = "amplitude of the noise, in standard deviations of the input" if shift == "noise" else "severity; 0 is clean"
    hidden = len(report.models) - _LINES
    note = f"{hidden} more models are in the tables." if hidden > 0 else ""
    return Curve(title=name, x_label=axis, y_label=measure.label, series=series, note=note)


def _capital(text: str) -> str:
    """The first letter in upper case, the others as they are."""
    return text[:1].upper() + text[1:]


def _file(path: str | None) -> str:
    return (path or "").replace("\\", "/").rpartition("/")[2]
