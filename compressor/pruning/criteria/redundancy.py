"""Criteria that look for filters which others can stand in for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.pruning.criteria.base import Scores, Weights
from compressor.pruning.criteria.measurement import Need
from compressor.pruning.criteria.norms import L2


@dataclass(frozen=True)
class GeometricMedian:
    """Sum of distances to all other filters of the group (FPGM, arXiv 1811.00250): the most central go first."""

    needs: ClassVar[Need | None] = None

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Summed Euclidean distances between concatenated filters; float64[n]."""
        slots = [s for s in weights.kernels(group) if s.role == "out"] or weights.kernels(group)
        rows = [r for s in slots if (r := weights.rows(group, s)) is not None]
        if not rows:
            return L2.score(group, weights)
        # Squares of large float32 weights are no float32.
        filters = np.concatenate(rows, axis=1).astype(np.float64)
        gram = filters @ filters.T
        square = np.diagonal(gram)
        distance = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * gram, 0))
        return np.asarray(distance.sum(axis=1))
