"""What a fine-tuning run reports, as a record and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from compressor.core.formatting import printable, quantity
from compressor.results.base import PathText, Record
from compressor.results.records import Document

if TYPE_CHECKING:
    from rich.console import Console


class Score(Record):
    """Loss and metric over the judged samples."""

    loss: float
    metric: float | None = None


class EpochRow(Record):
    """One epoch of training."""

    epoch: int
    loss: float = Field(description="Mean over the training samples, while the weights changed.")
    valid: Score | None = Field(default=None, description="After the epoch; null where no samples are set aside.")
    learning_rate: float
    images_per_second: float


class TuneReport(Document):
    """The result of fine-tuning one model."""

    schema_name: str = Field(default="onnx-compressor.finetune/1", alias="schema")
    input: PathText | None = Field(default=None, description="The model that was trained; null for one in memory.")
    teacher: PathText | None = Field(default=None, description="The original that was imitated; null without one.")
    output: PathText | None = None
    bytes: int | None = Field(default=None, description="Size of the written file and its external data.")
    compared: list[str] = Field(default=[], description="How each output was compared with the original's.")
    metric_name: str | None = None
    before: Score
    after: Score
    best_epoch: int = Field(description="Whose weights were kept; 0 for those from before.")
    stopped_early: bool
    steps: int
    epochs: list[EpochRow] = Field(default=[])
    device: str
    max_rel_err: float | None = Field(
        default=None,
        description="Of the written model in ONNX Runtime against the trained module; null if not verified.",
    )
    seconds: float
    warnings: list[str] = Field(default=[])
    settings: dict[str, Any] = Field(default={})


def render(report: TuneReport, console: Console, *, verbose: bool = False) -> None:
    """Draws the report as a few lines; with ``verbose`` one for every epoch."""
    for line in _lines(report, verbose):
        console.print(printable(line), soft_wrap=True)


def _lines(report: TuneReport, verbose: bool) -> list[str]:
    rows = [*report.compared]
    if verbose:
        rows += [_epoch(row, report.metric_name) for row in report.epochs]
    rows.append(f"loss      {report.before.loss:.4g} -> {report.after.loss:.4g}")
    if report.before.metric is not None and report.after.metric is not None:
        rows.append(f"{report.metric_name or 'metric':<9} {report.before.metric:.4f} -> {report.after.metric:.4f}")
    kept = f"weights of epoch {report.best_epoch}" if report.best_epoch else "no epoch was better: weights from before"
    early = ", stopped early" if report.stopped_early else ""
    rows.append(f"{report.steps:,} steps in {report.seconds:.1f} s on {report.device}; {kept}{early}")
    if report.max_rel_err is not None:
        rows.append(f"verified in ONNX Runtime: largest error {report.max_rel_err:.1e} of the largest output")
    if report.output is not None and report.bytes is not None:
        rows.append(f"wrote {report.output} ({quantity(report.bytes, 'B')})")
    return rows


def _epoch(row: EpochRow, metric_name: str | None) -> str:
    text = f"epoch {row.epoch}: loss {row.loss:.4g}"
    if row.valid is not None:
        text += f", judged {row.valid.loss:.4g}"
        text += f", {metric_name} {row.valid.metric:.4f}" if row.valid.metric is not None else ""
    return f"{text}, {row.images_per_second:,.0f} images/s"
