"""How important a channel is. One class or row a criterion, and a line in ``config/choices.py``."""

from __future__ import annotations

from compressor.config.choices import CRITERIA
from compressor.pruning.criteria.base import Criterion, Scores, Weights
from compressor.pruning.criteria.measurement import Measurement, Need


def criterion(name: str) -> Criterion:
    """The criterion called ``name``; raises UsageError where there is none."""
    record = CRITERIA.find(name)
    instance: Criterion = record() if callable(record) else record
    return instance


__all__ = ["CRITERIA", "Criterion", "Measurement", "Need", "Scores", "Weights", "criterion"]
