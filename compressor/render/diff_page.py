"""What differs between two models as one HTML file: the structure before and after, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from compressor.core.atomic import write_text
from compressor.core.formatting import count, quantity
from compressor.render.html import render_template
from compressor.render.page import CROSS, DASH, change, layer_skyline, left
from compressor.results.detail import LayerRow
from compressor.results.records import DiffReport, InitializerChange

_LAYERS = 400
"""Layers listed, in the order of the graph; the drawing above the list holds all."""


@dataclass(frozen=True)
class LayerDiff:
    """A layer in both models.

    Attributes:
        name: of its node.
        note: its operator.
        weight: name of what it multiplies with, or empty.
        state: same, smaller, larger, other weight, only in A or only in B.
        shapes: of the weight, in words, where it differs.
        macs: multiply-accumulates in words, in A and in B.
        change: of these.
        rail: share of the costliest layer, in percent, in A.
        fill: the same in B.
    """

    name: str
    note: str
    weight: str
    state: str
    shapes: str
    macs: tuple[str, str]
    change: str
    rail: float
    fill: float


def write_diff(report: DiffReport, path: str | Path, *, created: datetime | None = None) -> None:
    """Writes :func:`render_diff_page` to ``path``, whole or not at all.

    Raises:
        UsageError: jinja2 is not installed, or the place cannot be written to.
    """
    write_text(path, render_diff_page(report, created=created))


def render_diff_page(report: DiffReport, *, created: datetime | None = None) -> str:
    """The report as the text of an HTML document, the same for the same arguments.

    Raises:
        UsageError: jinja2 is not installed.
    """
    names = [(stats.path or "model in memory").replace("\\", "/").rpartition("/")[2] for stats in (report.a, report.b)]
    layers = list(layer_changes(report))
    states = {state: sum(layer.state == state for layer in layers) for state in {layer.state for layer in layers}}
    told = [f"{number:,} {state}" for state, number in sorted(states.items(), key=lambda item: -item[1])]
    return render_template(
        "diff.html",
        created,
        report=report,
        kind="Difference",
        title=f"{names[0]} and {names[1]}",
        lead=f"{count(len(layers), 'layer')} that multiply: {', '.join(told)}." if layers else "No layer multiplies.",
        layers=layers[:_LAYERS],
        hidden=len(layers) - len(layers[:_LAYERS]),
        sky=layer_skyline(report.layers),
    )


def layer_changes(report: DiffReport) -> Iterator[LayerDiff]:
    """Every layer that costs something, in the order of A; those that only B has come last."""
    weights = {item.name: item for item in report.initializers}
    top = max((max(row.macs_before or 0, row.macs_after or 0) for row in report.layers), default=0)
    for row in report.layers:
        weight = weights.get(row.weight)
        before, after = row.macs_before, row.macs_after
        yield LayerDiff(
            name=row.name,
            note=row.op_type,
            weight=row.weight,
            state=_state(row, weight),
            shapes="" if weight is None or weight.shape_a == weight.shape_b else _shapes(weight),
            macs=(DASH if before is None else quantity(before), DASH if after is None else quantity(after)),
            change=change(after, before) if before and after is not None else "",
            rail=left(before or 0, top),
            fill=left(after or 0, top),
        )


def _state(row: LayerRow, weight: InitializerChange | None) -> str:
    if row.macs_before is None or row.macs_after is None:
        return "only in B" if row.macs_before is None else "only in A"
    if row.macs_before != row.macs_after:
        return "smaller" if row.macs_after < row.macs_before else "larger"
    return "same" if weight is None else "other weight"


def _shapes(weight: InitializerChange) -> str:
    return " → ".join(
        "absent" if shape is None else CROSS.join(map(str, shape)) or "scalar"
        for shape in (weight.shape_a, weight.shape_b)
    )
