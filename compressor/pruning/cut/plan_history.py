"""Where the channels of a model that was cut several times stood in the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.labels import UnitArray
from compressor.channels.plan import PruningPlan, Removal, names_all
from compressor.core.arrays import Array
from compressor.pruning.cut.surgery import compact


@dataclass(frozen=True)
class _Left:
    """What is left of an initializer: the flat position that each entry had in the original, of this shape."""

    positions: Array
    shape: tuple[int, ...]

    def original(self, axes: tuple[int, ...], indices: UnitArray) -> UnitArray:
        """Flat positions along ``axes`` of the original for those of what is left."""
        # Positions along the axes are the same for every index of the others, so that index 0 stands for all.
        others = tuple(slice(None) if a in axes else 0 for a in range(len(self.shape)))
        entries = self.positions[others].ravel()[indices].astype(np.int64)
        places = np.unravel_index(entries, self.shape)
        return np.asarray(np.ravel_multi_index([places[a] for a in axes], [self.shape[a] for a in axes]), np.int64)


@dataclass(frozen=True)
class PlanHistory:
    """The plans of several cuts, each made on what the ones before it left, as one plan on the original."""

    _removals: Mapping[tuple[str, tuple[int, ...]], Removal] = field(default_factory=dict)
    _left: Mapping[str, _Left] = field(default_factory=dict)
    _policy: Mapping[str, Any] = field(default_factory=dict)
    _blocks: tuple[str, ...] = ()
    _count: int = 0
    _complete: bool = True

    @property
    def replays(self) -> bool:
        """Is it sure that a replay, which pairs nothing by scores, removes the same?"""
        return self._count == 1 and self._complete

    def original(self, initializer: str, axes: tuple[int, ...], indices: UnitArray) -> UnitArray:
        """Flat positions that those of what is left of an initializer along ``axes`` had in the original."""
        left = self._left.get(initializer)
        return indices if left is None else left.original(axes, indices)

    def with_cut(self, plan: PruningPlan, cut: ChannelMask, *, last: bool) -> PlanHistory:
        """The history with one more cut.

        Args:
            plan: of the cut.
            cut: the same, for every value of the model that was cut.
            last: none comes after it, so that nobody asks where the rest stood.
        """
        removals = dict(self._removals)
        for removal in plan.removals:
            place = (removal.initializer, removal.axes)
            first = self._left.get(removal.initializer)
            shape = removal.shape if first is None else first.shape
            # Positions of a later plan count what earlier cuts left; a plan for the user counts the original.
            indices = np.asarray(removal.indices, np.int64)
            if first is not None:
                indices = first.original(removal.axes, indices)
            if place in removals:
                indices = np.concatenate([removals[place].indices, indices])
            removals[place] = replace(removal, indices=tuple(np.unique(indices).tolist()), shape=shape)
        return PlanHistory(
            removals,
            self._left if last else self._followed(cut),
            plan.policy,
            (*self._blocks, *plan.blocks),
            self._count + 1,
            self._complete and names_all(plan, cut),
        )

    def _followed(self, cut: ChannelMask) -> dict[str, _Left]:
        """What is left of every initializer after one more cut."""
        left = dict(self._left)
        for value in cut.coupling.deferred_labels:
            name, shape = str(value.name), cut.before(value)
            old = left.get(name) or _Left(np.arange(np.prod(shape), dtype=np.int32).reshape(shape), shape)
            # The same slicing that the weights get, so that positions cannot drift from them.
            left[name] = replace(old, positions=compact(old.positions, cut, value))
        return left

    def plan(self) -> PruningPlan:
        """All cuts as one plan."""
        return PruningPlan(tuple(self._removals.values()), self._policy, tuple(sorted(self._blocks)))
