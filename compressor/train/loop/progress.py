"""Where a run of the training loop is, and what became of it so far."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from compressor.train.loop.history import EpochRecord, Judgement


@dataclass
class RunProgress:
    """What a checkpoint holds of a run beside tensors; all of it JSON.

    Attributes:
        before: the judgement of the module as it came.
        epoch: epochs done.
        step: steps done in the epoch that runs.
        loss: sum of their losses.
        best: what is to be low of the weights that are kept: their loss over the judged samples, or a metric.
        best_epoch: whose weights these are.
        least: the least that an epoch came to, whether kept or not.
        waited: epochs since then.
        records: of the epochs that are done.
        halvings: how often the learning rate was halved and training begun anew.
    """

    before: dict[str, Any] = field(default_factory=dict)
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    best: float = float("inf")
    best_epoch: int = 0
    least: float = float("inf")
    waited: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    halvings: int = 0

    @property
    def first(self) -> Judgement:
        """The judgement of the module as it came."""
        return Judgement(**self.before)

    @property
    def epochs(self) -> list[EpochRecord]:
        """Those that are done."""
        return [EpochRecord(**{**r, "valid": Judgement(**r["valid"]) if r["valid"] else None}) for r in self.records]

    def end_epoch(self) -> tuple[float, int]:
        """Counts the epoch that runs as done; the mean of its losses, and its steps."""
        loss, steps = self.loss / self.step, self.step
        self.epoch, self.step, self.loss = self.epoch + 1, 0, 0.0
        return loss, steps

    def compare(self, cost: float) -> bool:
        """Takes note of what the epoch that ended cost; is that the least so far?"""
        better = cost < self.best
        self.least = min(self.least, cost)
        self.waited = 0 if better else self.waited + 1
        return better

    def keep(self, cost: float) -> None:
        """Takes note that the weights of the epoch that ended are the ones to keep."""
        self.best, self.best_epoch = cost, self.epoch

    def record(self, epoch: EpochRecord) -> None:
        """Adds what became of an epoch."""
        self.records.append(asdict(epoch))

    def at_half_the_rate(self, best: float) -> RunProgress:
        """From the start again; ``best`` is what the first weights cost."""
        return RunProgress(self.before, best=best, halvings=self.halvings + 1)
