"""A sensitivity report as one HTML file: what each group can lose, and its curve."""

from __future__ import annotations

from itertools import islice
from math import isfinite
from pathlib import Path

from compressor.core.atomic import write_text
from compressor.core.formatting import share
from compressor.render.charts import LINES
from compressor.render.heat_map import heat_map
from compressor.render.html import render_template
from compressor.render.page import Bar
from compressor.render.sensitivity import metric_name
from compressor.results.detail import Curve, Series
from compressor.results.sensitivity import GroupSensitivity, SensitivityReport


def write_plot(report: SensitivityReport, path: Path) -> None:
    """Writes :func:`render_plot` to ``path``, whole or not at all.

    Raises:
        UsageError: jinja2 is not installed, or the place cannot be written to.
    """
    write_text(path, render_plot(report))


def render_plot(report: SensitivityReport) -> str:
    """The report as the text of an HTML document that needs nothing else, the same for the same report.

    Raises:
        UsageError: jinja2 is not installed.
    """
    path = report.input.path or "model in memory"
    return render_template(
        "sensitivity.html",
        None,
        report=report,
        kind="Sensitivity",
        title=path.replace("\\", "/").rpartition("/")[2] or path,
        lead="What the model loses when one group of channels is pruned and everything else stays whole.",
        bars=bars(report),
        metric=metric_name(report),
        curves=group_charts(report),
        heat=heat_map(report),
    )


def bars(report: SensitivityReport) -> list[Bar]:
    """One row a group, in the order of the model: the share that can go."""
    found = []
    for group in report.groups:
        at = group.at_safe
        found.append(
            Bar(
                name=group.name,
                note="",
                before=f"{group.channels:,}",
                after=f"{group.safe:,}",
                change="1" if at is None else share(at.macs, 1.0),
                rail=100.0,
                fill=round(100 * group.safe / group.channels, 2),
            )
        )
    return found


def group_charts(report: SensitivityReport) -> list[Curve]:
    """Charts of at most six groups, those that lose most first: the metric where it was measured, else distance."""
    judged = report.accuracy is not None
    # Those that can lose least first; of equals the one that loses more on the way.
    ordered = iter(sorted(report.groups, key=lambda group: (group.safe / group.channels, -_mean(group))))
    found: list[Curve] = []
    while several := list(islice(ordered, LINES)):
        first = LINES * len(found) + 1
        found.append(
            Curve(
                title=f"{first} to {first + len(several) - 1} of {len(report.groups)}",
                x_label="share of the group's channels removed",
                y_label=metric_name(report) if judged else "distance of the outputs, share of their norm",
                series=[Series(name=group.name, points=_points(group, report.accuracy)) for group in several],
            )
        )
    return found


def _mean(group: GroupSensitivity) -> float:
    # Capped, so that one point that exploded does not rank a group alone.
    return sum(min(point.distance, 1.0) for point in group.points) / len(group.points)


def _points(group: GroupSensitivity, accuracy: float | None) -> list[tuple[float, float]]:
    """From the untouched model on; points that moved infinitely far are left out."""
    # The untouched model has distance zero, or the original's accuracy.
    found = [(0.0, accuracy or 0.0)]
    for point in group.points:
        value = point.distance if accuracy is None else point.accuracy
        if value is not None and isfinite(value):
            found.append((point.removed / group.channels, value))
    return found
