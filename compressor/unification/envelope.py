"""The group envelope: a convex stand-in for "at most k blocks are free" (arXiv:2212.12921), and its proximal map.

A block deviates from its unified or zero form by d; :mod:`compressor.core.group_envelope` has the map of deviations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from compressor.core.group_envelope import remaining
from compressor.unification.moves import as_array_of
from compressor.unification.projections import Mixed


@dataclass(frozen=True)
class Envelope:
    """A set of mixed blocks, and the proximal map of its envelope.

    Attributes:
        target: the set.
    """

    target: Mixed

    def project(self, weight: Any) -> Any:
        """The nearest weight in the set."""
        return self.target.project(weight)

    @cached_property
    def full(self) -> Mixed:
        """The same set without free blocks: where deviations are measured from."""
        if self.target.unify:
            # What is neither pruned nor free is unified; rounding of shares then leaves none free.
            return replace(self.target, unify=1 - self.target.prune)
        return replace(self.target, prune=1.0)

    def prox(self, weight: Any, strength: float, softness: float) -> Any:
        """The proximal map.

        Args:
            weight: numpy or torch, float32 or float64.
            strength: h above; the larger, the fewer deviations are left, down to as many as are allowed.
            softness: 0 allows the free blocks of the set, 1 allows all blocks to be free, linearly between.
        """
        layout = self.target.layout
        free = layout.count - sum(self.target.counts)
        allowed = free + softness * (layout.count - free)
        near = self.full.project(weight)
        deviation = layout.blocks(weight - near)
        squares = deviation * deviation
        # Weights that only fill up a block at the edge do not count in its deviation.
        if layout.present is not None:
            squares = squares * as_array_of(layout.present, squares)
        share = remaining(squares.sum(0) ** 0.5, strength, allowed)
        return layout.weight(layout.blocks(near) + deviation * share)
