"""Projections of a weight onto what is allowed: the nearest weight that satisfies a constraint.

Every projection is one class with ``project(weight) -> weight``, on numpy arrays and torch tensors of float32 or
float64 alike; it is idempotent, and leaves its argument alone. (Micro-structured weight unification and pruning,
arXiv:2106.08301; distances in `assignment`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from compressor.unification import assignment
from compressor.unification.assignment import FREE, PRUNED, UNIFIED, Kinds
from compressor.unification.layout import Blocking
from compressor.unification.moves import as_array_of, library, on_host


@dataclass(frozen=True)
class Mixed:
    """Of each layer's blocks some become zero, some get one absolute value, the rest is free: of all such choices
    the one nearest to the weight.

    Attributes:
        layout: the blocks.
        unify: share of the blocks that are unified.
        prune: share of the blocks that are zero; it and the sum of both are rounded down to whole blocks.
        curvature: positive importance of each weight in the distance Σ h (w - z)², of the weight's shape, in numpy;
            None: all one. With it the shared value is Σ h |w| / Σ h.
    """

    layout: Blocking
    unify: float = 1.0
    prune: float = 0.0
    curvature: Any = None

    @cached_property
    def _measured(self) -> dict[Any, Any]:
        """How much each weight of the blocks matters, by the device it was wanted on."""
        return {None: importance(self.layout, self.curvature)}

    def _h(self, blocks: Any) -> Any:
        found, device = self._measured, None if isinstance(blocks, np.ndarray) else blocks.device
        if device not in found:
            # Kept by device, as a projection is made in every step.
            found[device] = None if found[None] is None else as_array_of(found[None], blocks)
        return found[device]

    @property
    def counts(self) -> tuple[int, int]:
        """How many blocks are pruned and unified."""
        total = self.layout.count
        pruned = assignment.whole(self.prune, total)
        # Rounded as a sum, so that shares that add up to one leave no block free.
        return pruned, assignment.whole(self.unify + self.prune, total) - pruned

    def ties(self) -> Any:
        """The outputs, counted over groups, whose filters may only be scaled together: int64[outputs], numbers from 0
        that are the same for those; None: each alone.

        Where all blocks become of one kind these are the rows of blocks; where kinds are chosen by size, all outputs.
        """
        groups, outputs, _, _ = self.layout.view.canonical
        # Some blocks are chosen by their size, which scaling filters against each other would change.
        if self.layout.count not in self.counts:
            return np.zeros(groups * outputs, np.int64)
        if self.layout.spans[0] == 1:
            return None
        rows = np.add.outer(np.arange(groups) * outputs, np.arange(outputs) // self.layout.spans[0])
        return np.unique(rows, return_inverse=True)[1].reshape(-1).astype(np.int64)

    def project(self, weight: Any) -> Any:
        """The nearest weight with so many zero and unified blocks."""
        blocks = self.layout.blocks(weight)
        return self.layout.weight(self._impose(blocks, self._kinds(blocks)))

    def kinds(self, weight: Any) -> Kinds:
        """What becomes of each block: uint8[B] of PRUNED, UNIFIED, FREE."""
        return self._kinds(self.layout.blocks(weight))

    def impose(self, weight: Any, kinds: Kinds) -> Any:
        """The nearest weight whose blocks are of these kinds."""
        return self.layout.weight(self._impose(self.layout.blocks(weight), kinds))

    def _kinds(self, blocks: Any) -> Kinds:
        pruned, unified = self.counts
        total = self.layout.count
        if total in (pruned, unified):
            return np.full(total, PRUNED if pruned else UNIFIED, np.uint8)
        damage_pruned, damage_unified = (on_host(d) for d in damages(blocks, self._h(blocks)))
        return assignment.assign_kinds(damage_pruned, damage_unified, pruned, unified)

    def _impose(self, blocks: Any, kinds: Kinds) -> Any:
        shared = shared_values(blocks, self._h(blocks))
        xp = library(blocks)
        values = xp.copysign(shared, blocks + 0.0)  # + 0.0: the sign of -0.0 counts as +
        # The common case costs no mask.
        if (kinds == UNIFIED).all():
            return values
        if (kinds == FREE).any():
            values = xp.where(as_array_of(kinds == FREE, blocks), blocks, values)
        return values * as_array_of(kinds != PRUNED, blocks)


def importance(layout: Blocking, curvature: Any) -> Any:
    """How much each weight of the blocks ``[n, B]`` matters, in numpy; None where all do alike."""
    h, present = None if curvature is None else layout.blocks(curvature), layout.present
    return h if present is None else present if h is None else h * present


def shared_values(blocks: Any, h: Any = None) -> Any:
    """The absolute value that each block ``[n, B]`` gets: mean |w|, or Σ h |w| / Σ h; shape ``[B]``.

    Never outside the range of |w|, so that a block which is unified already keeps its value to the last bit.
    """
    xp, size = library(blocks), abs(blocks)
    if h is None:
        mean = size.mean(0)
    else:
        total = h.sum(0)
        # Where importance is zero all over a block, plain means are as good as any.
        mean = xp.where(total > 0, (h * size).sum(0) / xp.where(total > 0, total, 1), size.mean(0))
    return xp.minimum(xp.maximum(mean, xp.amin(size, 0)), xp.amax(size, 0))


def damages(blocks: Any, h: Any = None) -> tuple[Any, Any]:
    """Squared distance of each block to zero and to its unified form: D_p = Σ h w², D_u = Σ h (|w| - a)²."""
    gap = abs(blocks) - shared_values(blocks, h)
    if h is None:
        return (blocks * blocks).sum(0), (gap * gap).sum(0)
    return (h * blocks * blocks).sum(0), (h * gap * gap).sum(0)
