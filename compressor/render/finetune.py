"""A fine-tuning run as text, in the order and the words of the other commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressor.core.formatting import count, metric_value, quantity
from compressor.render import draw
from compressor.render.undone import show_undone

if TYPE_CHECKING:
    from rich.console import Console
from compressor.results.finetune import EpochRow, TuneReport


def render_finetune(report: TuneReport, console: Console, *, verbose: bool = False) -> None:
    """Draws the report as a few lines; with ``verbose`` one for every epoch."""
    draw.line(console, f"{report.input or '(in memory)'} -> {report.output or '(not written)'}", style="bold")
    console.print()
    if report.prepared:
        draw.line(console, f"Samples: {report.prepared}.")
    for text in report.compared:
        draw.line(console, f"{text[:1].upper()}{text[1:]}.")
    for row in report.epochs if verbose else ():
        draw.line(console, _epoch(row, report.metric_name))
    kept = f"weights of epoch {report.best_epoch}" if report.best_epoch else "no epoch was better: weights from before"
    early = ", stopped early" if report.stopped_early else ""
    done = f"{count(len(report.epochs), 'epoch')}, {count(report.steps, 'step')} on {report.device}"
    draw.line(console, f"Trained for {done}{early}{_how(report)}; {kept}.")
    show_undone(console, report.undone)
    if report.max_rel_err is not None:
        text = f"Proof: the written weights give what the trained ones gave in torch; error {report.max_rel_err:.1e}"
        draw.line(console, f"{text} (ONNX Runtime).", style="green")
    for text in _outcome(report):
        draw.line(console, text, style="bold")
    size = "" if report.bytes is None else f"{quantity(report.bytes, 'B')}, "
    took = f"{sum(report.seconds.values()):.1f} s"
    wrote = f"Wrote {report.output} ({size}{took})" if report.output else "Nothing was written."
    draw.line(console, wrote, style="bold")


def _how(report: TuneReport) -> str:
    """What was trained on, towards what and how, in brackets; empty where that is not known."""
    [ran] = report.ran.get("training", [{}])
    parts = [count(ran["samples"], "sample")] if "samples" in ran else []
    parts += [f"loss {ran['loss']}"] if "loss" in ran else []
    parts += [f"{ran['optimiser']} at {ran['learning_rate']:g}"] if {"optimiser", "learning_rate"} <= {*ran} else []
    return f" ({', '.join(parts)})" if parts else ""


def _outcome(report: TuneReport) -> list[str]:
    """Loss and metric before and after, on the same samples."""
    about = "" if report.judged is None else f" ({count(report.judged, 'sample')}{_seen(report)})"
    rows = [f"Loss{about}: before {report.before.loss:.4g}, result {report.after.loss:.4g}."]
    if report.before.metric is not None and report.after.metric is not None:
        before, after = (
            metric_value(found, share=report.share) for found in (report.before.metric, report.after.metric)
        )
        name = report.metric_name or "metric"
        rows.append(f"{name[:1].upper()}{name[1:]}{about}: before {before}, result {after}.")
    return rows


def _seen(report: TuneReport) -> str:
    return ", which training saw too" if report.seen else ""


def _epoch(row: EpochRow, metric_name: str | None) -> str:
    text = f"epoch {row.epoch}: loss {row.loss:.4g}"
    if row.valid is not None:
        text += f", judged {row.valid.loss:.4g}"
        text += f", {metric_name} {row.valid.metric:.4f}" if row.valid.metric is not None else ""
    return f"{text}, {row.images_per_second:,.0f} images/s"
