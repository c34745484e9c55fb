"""How important a channel is. One class a criterion, in a file of this folder, and a line in ``config/choices.py``."""

from __future__ import annotations

from compressor.config.choices import CRITERIA
from compressor.pruning.criteria.base import Criterion, Scores, Weights
from compressor.pruning.criteria.measurement import Measurement, Need


def criterion(name: str) -> Criterion:
    """The criterion called ``name``; raises UsageError where there is none."""
    found: Criterion = CRITERIA.find(name)()
    return found


__all__ = ["CRITERIA", "Criterion", "Measurement", "Need", "Scores", "Weights", "criterion"]
