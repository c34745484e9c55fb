"""Magnitude criteria, aggregated over the coupled group (DepGraph, methods P1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.pruning.criteria.base import Scores, Weights, combine
from compressor.pruning.criteria.measurement import Need


@dataclass(frozen=True)
class Magnitude:
    """L1 or L2 norm of everything a channel owns: filters and the consumers' slices.

    Attributes:
        power: 1 or 2.
    """

    needs: ClassVar[Need | None] = None
    power: int

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Norm per slot, each slot divided by its mean, then aggregated; float64[n]."""
        parts = [weights.of_units(group, s, self.power) ** (1 / self.power) for s in weights.kernels(group)]
        return combine(parts, weights.aggregate, len(group.units))


@dataclass(frozen=True)
class Product:
    """``|filters| * |consumers|`` (dependency-aware filter pruning, arXiv 2005.02634).

    A channel matters only through its consumers, and the product does not change when a positive factor moves
    across a ReLU from one layer to the next.
    """

    needs: ClassVar[Need | None] = None

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Product of the two L2 norms; a side without weights counts as 1; float64[n]."""
        result = np.ones(len(group.units))
        for role in ("out", "in"):
            slots = [s for s in weights.kernels(group) if s.role == role]
            if slots:
                result *= np.sqrt(np.sum([weights.of_units(group, s, 2) for s in slots], axis=0))
        return result


@dataclass(frozen=True)
class Consumers:
    """L2 norm of the slices that read a channel; of its filters only where no weight reads it.

    Exporters fold BatchNormalization into the filters: there they are divided by the spread of what they compute,
    so that their norm says how small the activations were before, not how large they are after. Weights that read
    the channel tell nothing of that kind (docs/criteria.md has the numbers).
    """

    needs: ClassVar[Need | None] = None

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Root of the sum of squares over all consumers; float64[n]."""
        slots = weights.kernels(group)
        readers = [s for s in slots if s.role == "in"] or slots
        return np.asarray(np.sqrt(np.sum([weights.of_units(group, s, 2) for s in readers], axis=0)))


@dataclass(frozen=True)
class Lamp:
    """Layer-adaptive magnitude (LAMP, arXiv 2010.07611): energy over the energy of all that rank above it."""

    needs: ClassVar[Need | None] = None

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """``u² / sum of v² over v >= u`` within the group; float64[n]."""
        energy = Magnitude(2).score(group, weights) ** 2
        order = np.argsort(energy, kind="stable")
        above = np.cumsum(energy[order][::-1])[::-1]
        scores = np.zeros(len(energy))
        scores[order] = np.divide(energy[order], above, out=np.zeros_like(above), where=above > 0)
        return scores
