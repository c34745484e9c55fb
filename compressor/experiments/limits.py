"""How much a change may lose."""

from __future__ import annotations

from dataclasses import dataclass, field

from compressor.core.compare import at_most
from compressor.core.default_metric import DEFAULT_METRIC
from compressor.core.formatting import metric_value
from compressor.core.notation import Percent
from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.metrics.evaluator import Evaluator
from compressor.results.sensitivity import OutputChange


@dataclass(frozen=True)
class Limits:
    """What may be lost; what is None does not count.

    Attributes:
        max_drop: of the metric.
        max_distance: of the outputs, as a share of their norm.
        evaluator: the metric.
    """

    max_drop: float | None = None
    max_distance: float | None = None
    evaluator: Evaluator = field(default_factory=Evaluator)

    def check(self, samples: Dataset) -> None:
        """Raises UsageError where the samples do not tell what is asked for, or nothing exceeds a limit."""
        self.evaluator.check_limit(self.max_drop, samples)
        if self.max_drop is not None and not self.evaluator.measures(samples):
            raise UsageError(
                f"--max-drop needs samples with labels for {self.evaluator.name}; give --data with labels, or "
                "--max-distance"
            )

    def allow(self, change: OutputChange, accuracy: float | None) -> bool:
        """Is the change within the limits?

        Args:
            change: with an accuracy where ``max_drop`` is set.
            accuracy: of the original.
        """
        near = self.max_distance is None or at_most(change.distance, self.max_distance)
        if self.max_drop is None or accuracy is None or change.accuracy is None:
            return near
        return near and at_most(self.evaluator.row(accuracy, change.accuracy).lost_by(self.max_drop), self.max_drop)

    def __str__(self) -> str:
        """The limits as a clause."""
        parts = []
        if self.max_drop is not None:
            name = "accuracy" if self.evaluator.text == DEFAULT_METRIC else self.evaluator.name
            percent = self.evaluator.share or self.evaluator.relative or isinstance(self.max_drop, Percent)
            verb = "drops" if self.evaluator.higher_is_better else "rises"
            parts.append(f"{name} {verb} by at most {metric_value(self.max_drop, share=percent)}")
        if self.max_distance is not None:
            parts.append(f"outputs move by at most {self.max_distance:g} of their norm")
        return " and ".join(parts)
