"""The group envelope: a convex stand-in for "at most k blocks are free" (arXiv:2212.12921), and its proximal map.

A block deviates from its unified or zero form by d. With at most k deviations not zero,
``s_k(d) = min 1/2 Σ ‖d_b‖² / u_b`` over ``0 <= u <= 1, Σ u <= k`` is the convex envelope of ``1/2 ‖d‖²`` there. Its
proximal map of strength h leaves ``u_b / (h + u_b)`` of each deviation, with ``u_b = clip(t ‖d_b‖ - h, 0, 1)`` and t
such that ``Σ u = k``: those up to ``h / t`` vanish, the largest stay but for ``1 / (1 + h)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from compressor.unification.moves import library
from compressor.unification.projections import Mixed, as_array_of

_HALVINGS = 60


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
        if layout.present is not None:
            squares = squares * as_array_of(layout.present, squares)
        share = remaining(squares.sum(0) ** 0.5, strength, allowed)
        return layout.weight(layout.blocks(near) + deviation * share)


def remaining(norms: Any, strength: float, allowed: float) -> Any:
    """The share of each deviation that the proximal map leaves, ``[B]``, when so many may differ from zero."""
    xp = library(norms)
    if allowed <= 0:
        return norms * 0
    low, high = 0.0, 1.0
    while float(_chosen(xp, norms, high, strength).sum()) < min(allowed, int((norms > 0).sum())) and high < 1e30:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(_chosen(xp, norms, middle, strength).sum()) < allowed else (low, middle)
    chosen = _chosen(xp, norms, high, strength)
    return xp.where(chosen > 0, chosen / (strength + xp.where(chosen > 0, chosen, 1)), chosen)


def _chosen(xp: Any, norms: Any, factor: float, strength: float) -> Any:
    return xp.clip(norms * factor - strength, 0.0, 1.0)
