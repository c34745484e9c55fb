"""The weights whose blocks keep their kinds and signs: what is left to train once blocks are unified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.unification.assignment import FREE, PRUNED, UNIFIED, Kinds
from compressor.unification.codebook import Codebook, SharedValues
from compressor.unification.layout import Blocking
from compressor.unification.moves import as_array_of, library
from compressor.unification.projections import Mixed

Targets = Mapping[str, Mixed | Codebook]
"""The set of every weight, by the name of its initializer."""


def subspace_of(target: Mixed | Codebook, kinds: Kinds, weight: Any) -> Subspace | SharedValues:
    """What is left to train of a weight on its set, with these kinds of blocks, or these codes."""
    if isinstance(target, Codebook):
        return SharedValues(target.layout, kinds, target.values)
    return Subspace(target.layout, kinds, weight)


class Subspace:
    """A unified block is one number times its signs, a pruned one is zero, a free one is anything.

    It is linear, so weights and gradients alike are projected onto it: in a unified block with signs s,
    ``v <- s mean(s v)``. The number may change its sign, and then all signs of its block change.

    Args:
        layout: the blocks.
        kinds: what each of them is.
        weight: has the signs, zero counting as plus; what is projected is of its library, type and device.
    """

    def __init__(self, layout: Blocking, kinds: Kinds, weight: Any) -> None:
        blocks = layout.blocks(weight)
        xp = library(blocks)
        self._layout = layout
        self._signs = xp.copysign(xp.ones_like(blocks), blocks + 0.0)
        # None saves a pass over the weight in every step.
        self._free = as_array_of(kinds == FREE, blocks) if (kinds == FREE).any() else None
        self._kept = as_array_of(kinds != PRUNED, blocks) if (kinds == PRUNED).any() else None
        self._unifies = bool((kinds == UNIFIED).any())
        self._present = None if layout.present is None else as_array_of(layout.present, blocks)

    def project(self, weight: Any) -> Any:
        """The nearest weight in the subspace; one that is in it stays as it is, to the last bit."""
        blocks = self._layout.blocks(weight)
        if self._unifies:
            xp = library(blocks)
            turned = blocks * self._signs
            # Rounding of the mean may leave the range of what it is the mean of.
            mean = xp.minimum(xp.maximum(self._mean(turned), xp.amin(turned, 0)), xp.amax(turned, 0))
            unified = mean * self._signs
            blocks = unified if self._free is None else xp.where(self._free, blocks, unified)
        return self._layout.weight(blocks if self._kept is None else blocks * self._kept)

    def _mean(self, turned: Any) -> Any:
        present = self._present
        return turned.mean(0) if present is None else (turned * present).sum(0) / present.sum(0)
