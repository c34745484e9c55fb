"""A robustness report in words and tables, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console

from compressor.report import draw
from compressor.report.robustness import (
    Estimate,
    LikenessRow,
    RobustModel,
    RobustnessReport,
    ShiftedAccuracy,
)
from compressor.words import count, quantity

_UNITS = {"params": "parameters", "macs": "MACs", "bytes": "bytes"}
LIKENESS = {
    "agreement": "share of samples with the same class as A",
    "distance": "distance between class probabilities and A's",
    "relative_error": "difference from A's output, as a share of it",
}
"""Each measure of likeness in words."""


@dataclass(frozen=True)
class Sheet:
    """A table: the first column names the shift."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def render_robustness(report: RobustnessReport, console: Console, *, verbose: bool = False) -> None:
    """Prints what was found, as sentences and tables; ``verbose`` every severity."""
    for line in models(report):
        draw.line(console, line, style="bold")
    draw.line(console, basis(report))
    for sheet in sheets(report, verbose=verbose):
        table = draw.table(sheet.columns)
        for row in sheet.rows:
            draw.row(table, *row)
        draw.show(console, table, sheet.title)
    console.print()
    for item in report.left_out:
        draw.line(console, f"Left out: {item.what}: {item.reason}.")
    for finding in findings(report):
        draw.line(console, finding, style="bold")


def models(report: RobustnessReport) -> list[str]:
    """Every model with its sizes, and what compression saves."""
    found = []
    for model in report.models:
        sizes = f"{quantity(model.stats.bytes, 'B')}, {quantity(model.stats.macs)} MACs"
        share = f"{abs(model.saved):.1%} {'more' if model.saved < 0 else 'fewer'} {_UNITS[report.compression]}"
        kind = "the original" if model is report.models[0] else share
        found.append(f"{model.label}: {model.stats.path} ({sizes}), {kind}")
    return found


def basis(report: RobustnessReport) -> str:
    """What was measured on, as a sentence."""
    drawn = f"noise drawn {count(report.draws, 'time')} for each"
    return f"{count(report.samples, 'sample')} of {report.source}, {drawn}; ± is a {report.confidence:.0%} interval."


def findings(report: RobustnessReport) -> list[str]:
    """What the numbers come to, one sentence for each compressed model, and one on the prune potential."""
    likeness = {(row.model, row.shift, row.level): row for row in reversed(report.likeness)}
    accuracy = {(row.model, row.shift, row.level): row for row in report.accuracy}
    noises = [row.level for row in report.likeness if row.shift == "noise" and row.level is not None]
    shift, level = ("noise", max(noises)) if noises else ("corruptions", None)
    shift, level = ("corruptions", None) if ("A", "corruptions", None) in accuracy else (shift, level)
    found = []
    for model in report.models[1:]:
        keys = [(model.label, "clean", 0.0), (model.label, shift, level)]
        if keys[1] in accuracy:
            rows = [(accuracy[key], accuracy[report.models[0].label, key[1], key[2]]) for key in keys]
            found.append(_right(model, rows))
        elif keys[1] in likeness:
            found.append(_alike(model, [likeness[key] for key in keys]))
    return found + ([_free(report)] if report.potential else [])


def _right(model: RobustModel, rows: list[tuple[ShiftedAccuracy, ShiftedAccuracy]]) -> str:
    """Accuracy of the model and of the original, on clean and on shifted inputs."""
    both = [f"{percent(row.accuracy)} (A {100 * original.accuracy.value:.1f}%)" for row, original in rows]
    shifted = rows[1][0]
    assert shifted.excess_error is not None
    return (
        f"{model.label} is right on {both[0]} of the samples as they are and on {both[1]} under "
        f"{title(shifted.shift, shifted.level)}: that costs it {points(shifted.excess_error)} points more than A."
    )


def _alike(model: RobustModel, rows: list[LikenessRow]) -> str:
    where = title(rows[1].shift, rows[1].level)
    if rows[0].agreement is None or rows[1].agreement is None:
        one, two = (number(row.relative_error) for row in rows)
        return f"The output {rows[0].output} of {model.label} is off by {one} of A's as it is, by {two} under {where}."
    one, two = percent(rows[0].agreement), percent(rows[1].agreement)
    return f"{model.label} gives the same class as A on {one} of the samples as they are, on {two} under {where}."


def _free(report: RobustnessReport) -> str:
    worst = min(report.potential, key=lambda row: row.value)
    unit, clean = _UNITS[report.compression], report.potential[0]
    text = f"With at most {report.margin:.2%} of accuracy lost, {clean.value:.1%} of the {unit} are saved on samples "
    return f"{text}as they are, {worst.value:.1%} where that is least ({title(worst.shift, worst.level)})."


def sheets(report: RobustnessReport, *, verbose: bool = False) -> list[Sheet]:
    """All tables; without ``verbose`` a corruption is one row, the mean of its severities."""
    found = list(_likeness(report, verbose=verbose))
    if report.accuracy:
        found.append(_accuracy(report, verbose=verbose))
        rows = [
            [title(row.shift, row.level), *(f"{s:.1%}" for s in (row.value, row.low, row.high)), row.model or "-"]
            for row in report.potential
            if _shown(row.shift, row.level, verbose)
        ]
        name = f"Most {_UNITS[report.compression]} saved at no more than {report.margin:.2%} of accuracy lost"
        found.append(Sheet(name, ["", "saved", "surely", "perhaps", "by"], rows))
    return found


def _likeness(report: RobustnessReport, *, verbose: bool) -> Iterator[Sheet]:
    rows = [row for row in report.likeness if _shown(row.shift, row.level, verbose)]
    labels = [model.label for model in report.models[1:]]
    for output in dict.fromkeys(row.output for row in rows):
        for measure, words in LIKENESS.items():
            cells: dict[tuple[str, float | None], list[str]] = {}
            for row in rows:
                found = getattr(row, measure)
                if row.output == output and found is not None:
                    text = percent(found) if measure == "agreement" else number(found)
                    cells.setdefault((row.shift, row.level), []).append(text)
            if cells:
                yield Sheet(
                    f"{output}: {words}", ["", *labels], [[title(*key), *texts] for key, texts in cells.items()]
                )


def _accuracy(report: RobustnessReport, *, verbose: bool) -> Sheet:
    cells: dict[tuple[str, float | None], list[str]] = {}
    shown = [row for row in report.accuracy if _shown(row.shift, row.level, verbose)]
    for row in shown:
        cells.setdefault((row.shift, row.level), []).append(percent(row.accuracy))
    for row in shown:
        if row.excess_error is not None:
            cells[row.shift, row.level].append(points(row.excess_error))
    labels = [model.label for model in report.models]
    name = "Accuracy, and excess error: points that the shift costs a model more than A"
    columns = ["", *labels, *(f"excess {label}" for label in labels[1:])]
    return Sheet(name, columns, [[title(*key), *texts] for key, texts in cells.items()])


def _shown(shift: str, level: float | None, verbose: bool) -> bool:
    return verbose or level is None or shift in ("clean", "noise")


def title(shift: str, level: float | None) -> str:
    """A shift in words, such as ``impulse noise 3``; the mean of all corruptions is ``all corruptions``."""
    words = {"corruptions": "all corruptions", "jpeg": "JPEG"}.get(shift, shift.replace("-", " "))
    return f"{words} {level:.3g}" if level else words


def percent(found: Estimate) -> str:
    """``93.2 ±1.4%``."""
    return f"{100 * found.value:.1f} ±{50 * (found.high - found.low):.1f}%"


def points(found: Estimate) -> str:
    """``+1.2 ±0.8``, in points of a percent."""
    return f"{100 * found.value:+.1f} ±{50 * (found.high - found.low):.1f}"


def number(found: Estimate) -> str:
    """``0.123 ±0.004``."""
    return f"{found.value:.3f} ±{(found.high - found.low) / 2:.3f}"
