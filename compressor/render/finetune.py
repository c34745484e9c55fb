"""A fine-tuning run as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressor.core.formatting import count, printable, quantity

if TYPE_CHECKING:
    from rich.console import Console
from compressor.results.finetune import EpochRow, TuneReport


def render_finetune(report: TuneReport, console: Console, *, verbose: bool = False) -> None:
    """Draws the report as a few lines; with ``verbose`` one for every epoch."""
    for line in _lines(report, verbose):
        # Not wrapped, as lines are read by programs too, and names may be long.
        console.print(printable(line), soft_wrap=True)


def _lines(report: TuneReport, verbose: bool) -> list[str]:
    rows = [*report.compared]
    if verbose:
        rows += [_epoch(row, report.metric_name) for row in report.epochs]
    if report.judged is not None:
        seen = ", which training saw too" if report.seen else ""
        rows.append(f"before and after, on {count(report.judged, 'sample')}{seen}:")
    rows.append(f"loss      {report.before.loss:.4g} -> {report.after.loss:.4g}")
    if report.before.metric is not None and report.after.metric is not None:
        rows.append(f"{report.metric_name or 'metric':<9} {report.before.metric:.4f} -> {report.after.metric:.4f}")
    kept = f"weights of epoch {report.best_epoch}" if report.best_epoch else "no epoch was better: weights from before"
    early = ", stopped early" if report.stopped_early else ""
    rows.append(f"{report.steps:,} steps in {report.seconds:.1f} s on {report.device}; {kept}{early}")
    if report.max_rel_err is not None:
        rows.append(f"verified in ONNX Runtime: largest error {report.max_rel_err:.1e} of the largest output")
    if report.output is not None and report.bytes is not None:
        rows.append(f"Wrote {report.output} ({quantity(report.bytes, 'B')})")
    return rows


def _epoch(row: EpochRow, metric_name: str | None) -> str:
    text = f"epoch {row.epoch}: loss {row.loss:.4g}"
    if row.valid is not None:
        text += f", judged {row.valid.loss:.4g}"
        text += f", {metric_name} {row.valid.metric:.4f}" if row.valid.metric is not None else ""
    return f"{text}, {row.images_per_second:,.0f} images/s"
