"""What a fine-tuning run reports."""

from __future__ import annotations

from pydantic import Field

from compressor.core.formatting import metric_change
from compressor.results.base import PathText, Record
from compressor.results.detail import UndoneRow
from compressor.results.records import UNDONE, RunDocument


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


class TuneReport(RunDocument):
    """The result of fine-tuning one model."""

    schema_name: str = Field(default="onnx-compressor.finetune/1", alias="schema")
    input: PathText | None = Field(default=None, description="The model that was trained; null for one in memory.")
    teacher: PathText | None = Field(default=None, description="The original that was imitated; null without one.")
    output: PathText | None = None
    bytes: int | None = Field(default=None, description="Size of the written file and its external data.")
    compared: list[str] = Field(default=[], description="How each output was compared with the original's.")
    prepared: str = Field(default="", description="What samples went through before the model saw them.")
    metric_name: str | None = None
    share: bool = Field(default=False, description="The metric is a share.")
    before: Score
    after: Score
    judged: int | None = Field(default=None, description="Samples that before and after are of.")
    seen: bool | None = Field(default=None, description="Training saw them too, as none were set aside.")
    best_epoch: int = Field(description="Whose weights were kept; 0 for those from before.")
    undone: list[UndoneRow] = Field(default=[], description=UNDONE)
    stopped_early: bool
    steps: int
    epochs: list[EpochRow] = Field(default=[])
    device: str
    max_rel_err: float | None = Field(
        default=None,
        description="Of the written model in ONNX Runtime against the trained module; null if not verified.",
    )

    def headline(self) -> list[tuple[str, str]]:
        """Loss and metric before and after, and how long it trained."""
        rows = [("loss", f"{self.before.loss:.4g} -> {self.after.loss:.4g}")]
        if self.before.metric is not None and self.after.metric is not None:
            rows.append(
                (self.metric_name or "metric", metric_change(self.before.metric, self.after.metric, share=self.share))
            )
        stopped = ", stopped early" if self.stopped_early else ""
        return [*rows, ("epochs", f"{len(self.epochs)}, best {self.best_epoch}{stopped}")]
