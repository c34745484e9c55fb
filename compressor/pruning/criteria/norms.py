"""Magnitude criteria, aggregated over the coupled group (DepGraph, CVPR 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compressor.channels.groups import ChannelGroup, Slot
from compressor.operators.table import operator_of
from compressor.pruning.criteria.base import Scores, Weights, aggregate_scores
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
        return aggregate_scores(parts, weights.aggregate, len(group.units))


L1 = Magnitude(1)
"""Sums of absolute weights."""
L2 = Magnitude(2)
"""Roots of sums of squared weights."""


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
    """``|γ| |W⁺[:, c]|``: the slices that read a channel, and the scale of the normalisation that it passes.

    The L2 form of dependency-aware filter pruning (arXiv 2005.02634); the authors' code takes the mean of absolute
    weights, which :class:`Dependency` has. Exporters fold BatchNormalization into the filters, which divides them by
    the spread of what they compute: their norm then says how small the activations were before, not how large they
    are after. So filters are not looked at, unless no weight reads the channel (docs/criteria.md has the numbers).
    """

    needs: ClassVar[Need | None] = None

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Root of the sum of squares over all consumers, times the root mean square of the scales; float64[n]."""
        slots = weights.kernels(group)
        readers = [s for s in slots if s.role == "in"] or slots
        energy = np.sum([weights.of_units(group, s, 2) for s in readers], axis=0)
        scales = [weights.of_units(group, s, 2) for s in group.slots if s.role == "affine" and _is_scale(s)]
        return np.asarray(np.sqrt(energy * (np.mean(scales, axis=0) if scales else 1.0)))


@dataclass(frozen=True)
class Dependency:
    """``|γ| mean |W⁺[:, c]|``: as :class:`Consumers`, with a mean of absolute weights in place of their norm.

    Dependency-aware filter pruning (arXiv 2005.02634), as in the code of its authors, who rank all channels of a
    network by it divided by the largest of their layer: ``--scope global --normalise max``.
    """

    needs: ClassVar[Need | None] = None

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """Mean absolute weight over all consumers, times the mean of the scales; float64[n]."""
        slots = weights.kernels(group)
        readers = [s for s in slots if s.role == "in"] or slots
        total = np.sum([weights.of_units(group, s, 1) for s in readers], axis=0)
        count = np.sum([weights.of_units(group, s, 0) for s in readers], axis=0)
        scales = [weights.of_units(group, s, 1) for s in group.slots if s.role == "affine" and _is_scale(s)]
        return np.asarray(total / np.maximum(count, 1.0) * (np.mean(scales, axis=0) if scales else 1.0))


def _is_scale(slot: Slot) -> bool:
    """Is it the scale of a normalisation?"""
    uses = [(operator_of(node), index) for node, index in slot.value.uses()]
    return any(operator.normalises is not None and index in operator.scale for operator, index in uses)


@dataclass(frozen=True)
class Lamp:
    """Layer-adaptive magnitude (LAMP, arXiv 2010.07611): energy over the energy of all that rank above it."""

    needs: ClassVar[Need | None] = None

    def score(self, group: ChannelGroup, weights: Weights) -> Scores:
        """``u² / sum of v² over v >= u`` within the group; float64[n]."""
        energy = L2.score(group, weights) ** 2
        order = np.argsort(energy, kind="stable")
        above = np.cumsum(energy[order][::-1])[::-1]
        scores = np.zeros(len(energy))
        scores[order] = np.divide(energy[order], above, out=np.zeros_like(above), where=above > 0)
        return scores
