"""How much a change may lose."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.results.sensitivity import Change


@dataclass(frozen=True)
class Limits:
    """What may be lost; what is None does not count.

    Attributes:
        max_drop: of accuracy.
        max_distance: of the outputs, as a share of their norm.
    """

    max_drop: float | None = None
    max_distance: float | None = None

    def check(self, samples: Dataset) -> None:
        """Raises UsageError where the samples do not tell what is asked for."""
        if self.max_drop is not None and not samples.labelled:
            raise UsageError("--max-drop needs samples with labels; give --data with labels, or --max-distance")

    def allow(self, change: Change, accuracy: float | None) -> bool:
        """Is the change within the limits?

        Args:
            change: with an accuracy where ``max_drop`` is set.
            accuracy: of the original.
        """
        near = self.max_distance is None or change.distance <= self.max_distance
        lost = 0.0 if accuracy is None or change.accuracy is None else accuracy - change.accuracy
        return near and (self.max_drop is None or lost <= self.max_drop + 1e-12)

    def __str__(self) -> str:
        """The limits as a clause."""
        parts = []
        if self.max_drop is not None:
            parts.append(f"accuracy drops by at most {self.max_drop:.2%}")
        if self.max_distance is not None:
            parts.append(f"outputs move by at most {self.max_distance:g} of their norm")
        return " and ".join(parts)
