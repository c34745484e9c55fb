"""A robustness report in words and tables, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isnan
from types import MappingProxyType

from rich.console import Console

from compressor.core.formatting import count, count_of, quantity
from compressor.render import draw
from compressor.results.detail import Curve
from compressor.results.robustness import Estimate, LikenessRow, RobustnessReport, ShiftedAccuracy

_UNITS = MappingProxyType({"params": "parameters", "macs": "MACs", "bytes": "bytes"})
LIKENESS = MappingProxyType(
    {
        "agreement": "share of samples with the same class as A",
        "distance": "distance between class probabilities and A's",
        "relative_error": "difference from A's output, as a share of it",
    }
)
"""Each measure of likeness in words."""


@dataclass(frozen=True)
class ShiftTable:
    """A table: the first column names the shift."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def render_robustness(report: RobustnessReport, console: Console, *, verbose: bool = False) -> None:
    """Prints what was found, as sentences and tables; ``verbose`` every severity."""
    for line in models(report):
        draw.line(console, line, style="bold")
    draw.line(console, basis(report))
    for found in shift_tables(report, verbose=verbose):
        table = draw.table(found.columns)
        for row in found.rows:
            draw.add_row(table, *row)
        draw.show(console, table, found.title)
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
    """What was measured on, and what ± is, as a sentence."""
    return f"{samples(report)}; ± is how far the longer side of a {report.confidence:.0%} interval reaches."


def samples(report: RobustnessReport) -> str:
    """What was measured on."""
    drawn = f"noise drawn {count(report.draws, 'time')} for each"
    fewer = " (--samples takes more)" if (report.available or 0) > report.samples else ""
    return f"{count_of(report.samples, report.available, 'sample')} of {report.source}{fewer}, {drawn}"


def findings(report: RobustnessReport) -> list[str]:
    """What the numbers come to: one sentence for each compressed model, of its first output, and the prune potential.

    Clean samples are told of, and the last group of shifts: all corruptions, or the strongest noise.
    """
    # Reversed, so that of several outputs the first one stays in the dictionary.
    likeness = {(row.model, row.shift, row.level): row for row in reversed(report.likeness)}
    accuracy = {(row.model, row.shift, row.level): row for row in report.accuracy}
    first, last = ((row.shift, row.level) for row in (report.likeness[0], report.likeness[-1]))
    # The strongest shift beside the clean samples; with one group alone both are the same.
    told = [first] if first == last else [first, last]
    found = []
    for model in report.models[1:]:
        if accuracy:
            original = report.models[0].label
            found.append(_right([(accuracy[model.label, s, k], accuracy[original, s, k]) for s, k in told]))
        else:
            found.append(_alike([likeness[model.label, s, k] for s, k in told]))
    return found + ([_free(report)] if report.potential else [])


def _right(rows: list[tuple[ShiftedAccuracy, ShiftedAccuracy]]) -> str:
    """Accuracy of a model and of the original, on clean and on shifted inputs."""
    shares = [f"{interval_percent(row.accuracy)} (A {100 * original.accuracy.value:.1f}%)" for row, original in rows]
    shifted = rows[-1][0]
    text = f"{shifted.model} is right on {shares[0]} of the samples as they are"
    if shifted.excess_error is None or len(rows) == 1:
        return f"{text}."
    where, more = title(shifted.shift, shifted.level), points(shifted.excess_error)
    return f"{text}, on {shares[1]} under {where}: that costs it {more} points more than A."


def _alike(rows: list[LikenessRow]) -> str:
    """How like A a model is on clean and on shifted inputs."""
    first, last = rows[0], rows[-1]
    under = f" under {title(last.shift, last.level)}"
    if first.agreement is not None and last.agreement is not None:
        text = (
            f"{first.model} gives the same class as A on {interval_percent(first.agreement)} of the samples as they are"
        )
        return f"{text}, on {interval_percent(last.agreement)}{under}." if len(rows) > 1 else f"{text}."
    off = interval_number(first.relative_error)
    text = f"{first.output} of {first.model} is off by {off} of A's on the samples as they are"
    return f"{text}, by {interval_number(last.relative_error)}{under}." if len(rows) > 1 else f"{text}."


def _free(report: RobustnessReport) -> str:
    """The prune potential on clean samples, and where it is least."""
    clean, least = report.potential[0], min(report.potential, key=lambda row: row.value)
    allowed, unit = f"at most {report.margin:.2%} of accuracy lost", _UNITS[report.compression]
    if clean.model is None:
        return f"None of the compressed models keeps A's accuracy on the samples as they are, with {allowed}."
    text = f"With {allowed}, {clean.model} saves {clean.value:.1%} of the {unit} on the samples as they are"
    # A minimum that is the clean samples' own is under no shift.
    if least.value >= clean.value:
        return f"{text}, and no less under any shift."
    return f"{text}; under {title(least.shift, least.level)} it is {least.value:.1%} at most."


def shift_tables(report: RobustnessReport, *, verbose: bool = False) -> list[ShiftTable]:
    """All tables; without ``verbose`` a corruption is one row, the mean of its severities."""
    found = list(_likeness(report, verbose=verbose))
    if report.accuracy:
        found += _accuracy(report, verbose=verbose)
        rows = [
            [title(row.shift, row.level), *(f"{s:.1%}" for s in (row.value, row.low, row.high)), row.model or "-"]
            for row in report.potential
            if _shown(row.shift, row.level, verbose)
        ]
        name = f"Most {_UNITS[report.compression]} saved at no more than {report.margin:.2%} of accuracy lost"
        found.append(ShiftTable(name, ["", "saved", "surely", "perhaps", "by"], rows))
    return found


def _likeness(report: RobustnessReport, *, verbose: bool) -> Iterator[ShiftTable]:
    rows = [row for row in report.likeness if _shown(row.shift, row.level, verbose)]
    labels = [model.label for model in report.models[1:]]
    for output in dict.fromkeys(row.output for row in rows):
        for measure, words in LIKENESS.items():
            cells: dict[tuple[str, float | None], list[str]] = {}
            for row in rows:
                found = getattr(row, measure)
                if row.output == output and found is not None:
                    text = interval_percent(found) if measure == "agreement" else interval_number(found)
                    cells.setdefault((row.shift, row.level), []).append(text)
            if cells:
                yield ShiftTable(
                    f"{output}: {words}", ["", *labels], [[title(*key), *texts] for key, texts in cells.items()]
                )


def _accuracy(report: RobustnessReport, *, verbose: bool) -> Iterator[ShiftTable]:
    """Accuracy of all models, and excess error of the compressed ones."""
    right: dict[tuple[str, float | None], list[str]] = {}
    excess: dict[tuple[str, float | None], list[str]] = {}
    for row in report.accuracy:
        if _shown(row.shift, row.level, verbose):
            right.setdefault((row.shift, row.level), []).append(interval_percent(row.accuracy))
            # On clean samples the excess error is zero by definition.
            if row.excess_error is not None and row.shift != "clean":
                excess.setdefault((row.shift, row.level), []).append(points(row.excess_error))
    labels = [model.label for model in report.models]
    yield ShiftTable("Accuracy", ["", *labels], [[title(*key), *texts] for key, texts in right.items()])
    name = "Excess error: points of accuracy that the shift costs a model more than A"
    if excess:
        yield ShiftTable(name, ["", *labels[1:]], [[title(*key), *texts] for key, texts in excess.items()])


def _shown(shift: str, level: float | None, verbose: bool) -> bool:
    return verbose or level is None or shift in ("clean", "noise")


def title(shift: str, level: float | None) -> str:
    """A shift in words, such as ``impulse noise 3``; the mean of all corruptions is ``all corruptions``."""
    words = {"corruptions": "all corruptions", "jpeg": "JPEG"}.get(shift, shift.replace("-", " "))
    return f"{words} {level:.3g}" if level else words


def interval_percent(found: Estimate) -> str:
    """A share and how far its interval reaches, such as ``93.2 ±1.4%``."""
    return f"{_reach(found, '.1f', 100)}%"


def points(found: Estimate) -> str:
    """``+1.2 ±0.8``, in points of a percent."""
    return _reach(found, "+.1f", 100)


def interval_number(found: Estimate) -> str:
    """A number and how far its interval reaches, such as ``0.123 ±0.004``."""
    return _reach(found, ".3f")


def _reach(found: Estimate, form: str, scale: float = 1.0) -> str:
    """A number and by how much the farther end of its interval is off; alone where one sample tells no interval."""
    far = scale * max(found.high - found.value, found.value - found.low)
    return f"{scale * found.value:{form}}" + ("" if isnan(far) else f" ±{far:{form.lstrip('+')}}")


def show_curves(console: Console, curves: Iterable[Curve]) -> None:
    """Prints where each chart begins and ends, of each model; nothing without charts."""
    shown = [curve for curve in curves if not curve.of_training]
    if not shown:
        return
    table = draw.table(("from clean inputs to the strongest shift", *(line.name for line in shown[0].series)))
    for curve in shown:
        ends = [f"{line.points[0][1]:.3g} -> {line.points[-1][1]:.3g}" for line in curve.series]
        draw.add_row(table, f"{curve.title} ({curve.y_label})", *ends)
    draw.show(console, table, title=f"Robustness: {shown[0].note}".rstrip())
