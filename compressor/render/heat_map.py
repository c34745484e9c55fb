"""A sensitivity report as a heat map: what each group loses, by the share of its channels that is gone."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from compressor.core.formatting import metric_value
from compressor.results.sensitivity import GroupSensitivity, Point, SensitivityReport

_COLUMNS = 9
"""Columns that a phone still shows side by side."""


@dataclass(frozen=True)
class HeatCell:
    """One cell.

    Attributes:
        text: the loss in words; a dash where nothing was measured.
        heat: how strongly it is coloured, 0 to 100.
        safe: within the report's limit.
    """

    text: str
    heat: float
    safe: bool


@dataclass(frozen=True)
class HeatMap:
    """The table.

    Attributes:
        columns: shares of channels that are gone, in words.
        rows: name of each group in the order of the model, and its cells.
        measure: what the numbers are.
    """

    columns: list[str]
    rows: list[tuple[str, list[HeatCell]]]
    measure: str


def heat_map(report: SensitivityReport) -> HeatMap:
    """Losses of accuracy where there are labels, else distances of the outputs, on one scale for all cells.

    A cell shows the point nearest to its column, where one lies within half of the gap to the next column.
    """
    columns = _columns(report)
    losses = [_loss(point, report.accuracy) for group in report.groups for point in group.points]
    # Capped at one, so that a single exploding group does not leave all others pale.
    top = max((min(loss, 1.0) for loss in losses if loss is not None and isfinite(loss)), default=0.0)
    judged = report.accuracy is not None
    return HeatMap(
        [f"{share:.0%}" for share in columns],
        [(group.name, [_cell(group, x, columns, report, top) for x in columns]) for group in report.groups],
        "accuracy lost" if judged else "distance of the outputs, as a share of their norm",
    )


def _columns(report: SensitivityReport) -> list[float]:
    """The ratios that were asked for; without them, the shares that were measured. At most nine, spread evenly."""
    asked = report.settings.get("ratios")
    found = sorted({round(float(ratio), 2) for ratio in asked}) if isinstance(asked, (list, tuple)) and asked else None
    if found is None:
        shares = {round(p.removed / group.channels, 2) for group in report.groups for p in group.points}
        found = sorted(shares)
    if len(found) <= _COLUMNS:
        return found
    return [found[round(index * (len(found) - 1) / (_COLUMNS - 1))] for index in range(_COLUMNS)]


def _cell(
    group: GroupSensitivity, share: float, columns: list[float], report: SensitivityReport, top: float
) -> HeatCell:
    # The nearest other column bounds how far a point may be from its own.
    gap = min((abs(share - other) for other in columns if other != share), default=1.0)
    near = min(group.points, key=lambda point: abs(point.removed / group.channels - share), default=None)
    loss = None if near is None else _loss(near, report.accuracy)
    # Widths are rounded, so that a point hardly ever lies on its column exactly.
    if near is None or loss is None or abs(near.removed / group.channels - share) > gap / 2 + 1e-9:
        return HeatCell("–", 0.0, False)
    part = min(loss, 1.0) if isfinite(loss) else 1.0
    judged = report.accuracy is not None
    words = metric_value(loss, share=report.share) if judged else f"{loss:.2g}"
    text = words if isfinite(loss) else "∞"
    heat = min(100.0, 100 * max(part, 0.0) / top) if top > 0 else 0.0
    return HeatCell(text, round(heat, 1), near.removed <= group.safe)


def _loss(point: Point, accuracy: float | None) -> float | None:
    if accuracy is None:
        return point.distance
    return None if point.accuracy is None else accuracy - point.accuracy
