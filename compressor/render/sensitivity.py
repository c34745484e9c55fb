"""A sensitivity sweep as text."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from compressor.core.default_metric import DEFAULT_METRIC
from compressor.core.formatting import count, count_of, metric_value, share
from compressor.render import draw
from compressor.results.sensitivity import GroupSensitivity, Point, SensitivityReport, ledger_of


def render_sensitivity(
    report: SensitivityReport, console: Console, *, place: Path | None = None, verbose: bool = False
) -> None:
    """Prints what each group can lose, and the file that says so; ``verbose`` adds every point."""
    table = draw.table(("group", "channels", "can go", "share", "MACs left", "distance", metric_name(report)))
    for group in report.groups:
        draw.add_row(table, group.name, f"{group.channels:,}", *_cells(report, group, group.at_safe))
        for point in group.points if verbose else ():
            draw.add_row(table, "", "", *_cells(report, group, point))
    draw.show_whole(console, table)
    console.print()
    what = count_of(report.samples, report.available, "sample" if report.synthetic is None else "made-up sample")
    dense = ""
    if report.accuracy is not None:
        dense = f"; {metric_name(report)} of the original: {metric_value(report.accuracy, share=report.share)}"
    draw.line(console, f"What can go alone so that {report.limit}; measured on {what}{dense}.")
    if not any(group.at_safe for group in report.groups):
        draw.line(console, f"Nothing can go within that: {_nearest(report)} Allow more, or measure smaller --ratios.")
    elif not all(group.at_safe for group in report.groups):
        draw.line(console, "Where nothing can go, the smallest ratio lost more; -v shows what each ratio lost.")
    if report.synthetic is not None:
        draw.made_up_line(console, report.synthetic)
    text = f"{count(report.measured, 'measurement')}, {report.jobs} at a time"
    if report.remembered:
        text += f"; {report.remembered:,} more were remembered from an earlier run"
    seconds = f"({sum(report.seconds.values()):.1f} s)"
    if place is None:
        draw.line(console, f"{text} {seconds}.", style="bold")
        return
    draw.line(console, f"{text}; kept in {ledger_of(place)}, from which the next run goes on.")
    draw.line(console, f"Wrote {place} {seconds}", style="bold")


def _nearest(report: SensitivityReport) -> str:
    """What moves the outputs least of all that was measured."""
    measured = [(point.distance, group, point) for group in report.groups for point in group.points]
    if not measured:
        return "no ratio takes a channel."
    _, group, point = min(measured, key=lambda found: found[0])
    _, _, _, distance, accuracy = _cells(report, group, point)
    told = f" and {metric_name(report)} {accuracy}" if point.accuracy is not None else ""
    return f"least is lost by {count(point.removed, 'channel')} of {group.name}, with distance {distance}{told}."


def metric_name(report: SensitivityReport) -> str:
    """What text calls the metric of a report."""
    return "accuracy" if report.metric == DEFAULT_METRIC else report.metric


def _cells(report: SensitivityReport, group: GroupSensitivity, point: Point | None) -> tuple[str, ...]:
    # Not even the smallest ratio was safe, so that nothing can go.
    if point is None:
        return "0", "0.00", "1.000", "-", "-"
    accuracy = "-" if point.accuracy is None else metric_value(point.accuracy, share=report.share)
    part = share(point.removed, group.channels)
    return f"{point.removed:,}", part, f"{point.macs:.3f}", f"{point.distance:.3g}", accuracy
