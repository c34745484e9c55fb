"""What the loop reports while it runs, and what it leaves behind."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from compressor.core.clock import LastingText


@dataclass(frozen=True)
class Judgement:
    """Loss and metric over a whole set."""

    loss: float
    metric: float | None = None


@dataclass(frozen=True)
class Event:
    """Progress: at steps, several times a second at most, and at the end of every epoch.

    Attributes:
        kind: what happened.
        epoch: that is running, from 1.
        epochs: of the whole run.
        step: steps done in the whole run.
        steps: of the whole run.
        loss: mean of the epoch so far.
        learning_rate: of the last step.
        metric_name: what ``metric`` is; None without one.
        metric: of the last batch; at the end of an epoch of the validation samples.
        valid_loss: at the end of an epoch, where samples are set aside.
        images_per_second: samples that went through training, per second.
        eta_seconds: estimated time to the end.
        judged_on: at the end of an epoch, the samples that ``metric`` and ``valid_loss`` are of, in words; reports may
            compare on others.
    """

    kind: Literal["step", "epoch"]
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    metric_name: str | None = None
    metric: float | None = None
    valid_loss: float | None = None
    images_per_second: float = 0.0
    eta_seconds: float = 0.0
    judged_on: str | None = None

    def in_words(self, more: str = "") -> str:
        """How far training is, for a line that is shown while it runs; ``more`` stands behind loss and metric."""
        on = "" if self.judged_on is None else f" on {self.judged_on}"
        metric = "" if self.metric is None else f", {self.metric_name} {self.metric:.4g}{on}"
        return (
            f"epoch {self.epoch}/{self.epochs}, loss {self.loss:.4g}{metric}{more}, "
            f"{self.images_per_second:.0f} samples/s, {self.eta_seconds:.0f} s left"
        )

    def told(self, phase: str, more: str = "") -> str:
        """:meth:`in_words` behind the phase that trains; of a finished epoch, a text that logs keep."""
        text = f"{phase}: {self.in_words(more)}"
        return text if self.kind == "step" else LastingText(text, f"phase={phase} {self.as_line()}")

    def as_line(self) -> str:
        """The same as ``key=value`` pairs, for logs."""
        pairs = {name: value for name, value in self.as_json().items() if name not in ("kind", "metric_name")}
        if self.metric_name is not None and "metric" in pairs:
            pairs[self.metric_name.replace(" ", "_")] = pairs.pop("metric")
        texts = {name: json.dumps(value) if name == "judged_on" else value for name, value in pairs.items()}
        return " ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in texts.items())

    def as_json(self) -> dict[str, Any]:
        """Its fields, without those that are not known."""
        # Absent and not null, so that lines of steps stay short.
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class EpochRecord:
    """One epoch; ``valid`` is None where no samples are set aside."""

    epoch: int
    loss: float
    learning_rate: float
    seconds: float
    images_per_second: float
    valid: Judgement | None = None


@dataclass
class History:
    """What a run of training did.

    Attributes:
        before: loss and metric of the module as it came, over the validation samples, or else over some
            training samples.
        after: the same for the weights that were kept.
        metric_name: what the metric is; None without one.
        epochs: one record each.
        best_epoch: whose weights were kept; 0 for those from before.
        chosen: it is the best of several by the samples set aside, which ``after`` is of, too.
        decided_by: what the best epoch was chosen by: loss, or the metric that was asked for.
        best_tried: the best of that which any epoch came to, whether kept or not; None where none was judged.
        stopped_early: patience ran out, or an extension had nothing more to gain.
        steps: of the optimiser.
        seconds: that it took.
        device: where it ran.
        notes: what the user should know of how it went.
        learning_rate: that it began with, the last time that it began.
    """

    before: Judgement
    after: Judgement
    metric_name: str | None
    epochs: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0
    chosen: bool = False
    decided_by: str = "loss"
    best_tried: float | None = None
    stopped_early: bool = False
    steps: int = 0
    seconds: float = 0.0
    device: str = "cpu"
    notes: list[str] = field(default_factory=list)
    learning_rate: float = 0.0
