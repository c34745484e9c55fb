"""The robustness report as one HTML file: findings, curves over noise and severities, and every number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from compressor.core.atomic import write_text
from compressor.core.formatting import count
from compressor.render.charts import LINES
from compressor.render.html import render_template
from compressor.render.robustness import LIKENESS, basis, findings, models, shift_tables, title
from compressor.results.detail import Curve, Series
from compressor.results.robustness import Estimate, RobustnessReport

PointWithInterval = tuple[float, float, float]
"""A number and the ends of its interval."""


@dataclass(frozen=True)
class ChartMeasure:
    """What a chart shows: numbers by model, shift and level."""

    title: str
    label: str
    values: Mapping[tuple[str, str, float | None], PointWithInterval]


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
        curves=_noise_charts(report),
        multiples=corruption_charts(report),
        shift_tables=shift_tables(report),
        everything=shift_tables(report, verbose=True),
    )


def robustness_charts(report: RobustnessReport) -> list[Curve]:
    """Charts of all measures over the amplitude of noise, and of the first over the severity of each corruption."""
    return [*_noise_charts(report), *corruption_charts(report)]


def _noise_charts(report: RobustnessReport) -> list[Curve]:
    if not any(row.shift == "noise" and row.level for row in report.likeness):
        return []
    return [_curve(report, measure, f"{measure.title} under noise", "noise") for measure in _measures(report)]


def corruption_charts(report: RobustnessReport) -> list[Curve]:
    """One chart a corruption, of the first measure alone, as all measures of all corruptions would be dozens."""
    names = dict.fromkeys(row.shift for row in report.likeness if row.level and row.shift != "noise")
    return [_curve(report, next(_measures(report)), _capital(title(name, None)), name) for name in names]


def _measures(report: RobustnessReport) -> Iterator[ChartMeasure]:
    """Accuracy, then likeness by output: of classes agreement and distance, of other outputs the relative error."""
    if report.accuracy:
        values = {(r.model, r.shift, r.level): _scaled(r.accuracy, 100) for r in report.accuracy}
        yield ChartMeasure("Accuracy", "accuracy, %", values)
    for output in dict.fromkeys(row.output for row in report.likeness):
        rows = {(r.model, r.shift, r.level): r for r in report.likeness if r.output == output}
        # An output without classes anywhere has no agreement to draw.
        classes = all(row.agreement is not None for row in rows.values())
        for kind in ("agreement", "distance") if classes else ("relative_error",):
            scale = 100 if kind == "agreement" else 1
            values = {key: _scaled(getattr(row, kind), scale) for key, row in rows.items()}
            same = (100.0,) * 3 if kind == "agreement" else (0.0,) * 3
            # The original agrees with itself, which gives the other lines something to be read against.
            values |= {(report.models[0].label, shift, level): same for _, shift, level in rows}
            label = LIKENESS[kind] + (", %" if kind == "agreement" else "")
            yield ChartMeasure(f"{output}: {kind.replace('_', ' ')}", label, values)


def _curve(report: RobustnessReport, measure: ChartMeasure, name: str, shift: str) -> Curve:
    """One line a model, from the clean inputs on."""
    series = []
    for model in report.models[:LINES]:
        points = [
            (level, value)
            for (label, kind, level), value in measure.values.items()
            if label == model.label and kind in ("clean", shift) and level is not None
        ]
        if points:
            called = f"{model.label} {_file(model.stats.path)}"
            line, bounds = [(x, y) for x, (y, _, _) in points], [(low, high) for _, (_, low, high) in points]
            series.append(Series(name=called, points=line, bounds=bounds))
    axis = "amplitude of the noise, in standard deviations of the input" if shift == "noise" else "severity; 0 is clean"
    hidden = len(report.models) - LINES
    note = f"{count(hidden, 'more model')} in the tables." if hidden > 0 else ""
    return Curve(title=name, x_label=axis, y_label=measure.label, series=series, note=note)


def _scaled(estimate: Estimate, scale: float) -> PointWithInterval:
    return scale * estimate.value, scale * estimate.low, scale * estimate.high


def _capital(text: str) -> str:
    """The first letter in upper case, the others as they are."""
    return text[:1].upper() + text[1:]


def _file(path: str | None) -> str:
    return (path or "").replace("\\", "/").rpartition("/")[2]
