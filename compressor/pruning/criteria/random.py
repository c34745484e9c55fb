"""The control arm of every comparison."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.pruning.criteria.base import Scores, Weights
from compressor.pruning.criteria.measurement import Need


@dataclass(frozen=True)
class Random:
    """Uniform random scores, the same for the same seed and group."""

    needs: ClassVar[Need | None] = None

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Importance of each of the group's n units, drawn at random: float64[n] in [0, 1)."""
        return np.random.default_rng([weights.seed, zlib.crc32(group.name.encode())]).random(len(group.units))
