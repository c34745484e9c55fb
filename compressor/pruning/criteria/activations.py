"""Criteria of activations: what the readers of a unit see of it on data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.pruning.criteria.base import Scores, Weights
from compressor.pruning.criteria.measurement import Need
from compressor.pruning.criteria.norms import unless_silent


@dataclass(frozen=True)
class Activation:
    """Root mean square of the unit's activations, as its readers see them."""

    needs: ClassVar[Need | None] = Need.ENERGY

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units: float64[n]."""
        return unless_silent(np.sqrt(np.mean(weights.measured(group), axis=0)), group, weights)


@dataclass(frozen=True)
class Wanda:
    """``|W[:, j]| |a_j|``, root of the sum of squares over readers (Wanda, arXiv 2306.11695, eq. 1, by channel)."""

    needs: ClassVar[Need | None] = Need.INPUT

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units: float64[n]."""
        return unless_silent(np.sqrt(np.mean(weights.measured(group), axis=0)), group, weights)


@dataclass(frozen=True)
class Pfp:
    """``max |W[:, j] a_j(x)|`` over samples, positions and readers (provable filter pruning, arXiv 1911.07412)."""

    needs: ClassVar[Need | None] = Need.PEAK

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units: float64[n]."""
        return unless_silent(weights.measured(group).max(axis=0), group, weights)


@dataclass(frozen=True)
class Chip:
    """Nuclear norm of the feature map, less that without the channel (CHIP, arXiv 2110.13981, eq. 3), mean over
    images."""

    needs: ClassVar[Need | None] = Need.RANK

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units: float64[n]."""
        return unless_silent(np.maximum(weights.measured(group).mean(axis=0), 0.0), group, weights)
