"""Where the channels of a model that was cut several times stood in the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.labels import UnitArray
from compressor.channels.plan import PruningPlan, Removal, names_all
from compressor.graph.evaluate import Array
from compressor.pruning.surgery import compact


@dataclass
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


class PlanHistory:
    """Collects the plans of several cuts, each made on what the ones before it left, as one plan on the original."""

    def __init__(self) -> None:
        self._removals: dict[tuple[str, tuple[int, ...]], Removal] = {}
        self._left: dict[str, _Left] = {}
        self._policy: Mapping[str, Any] = {}
        self._blocks: list[str] = []
        self._count = 0
        self._complete = True

    @property
    def replays(self) -> bool:
        """Is it sure that a replay, which pairs nothing by scores, removes the same?"""
        return self._count == 1 and self._complete

    def add(self, plan: PruningPlan, cut: ChannelMask, *, last: bool) -> None:
        """Takes note of a cut; before surgery, as it asks for the shapes that the cut starts from."""
        self._count += 1
        self._complete = self._complete and names_all(plan, cut)
        self._policy = plan.policy
        self._blocks += plan.blocks
        for removal in plan.removals:
            place = (removal.initializer, removal.axes)
            first = self._left.get(removal.initializer)
            shape = removal.shape if first is None else first.shape
            # Positions of a later plan count what earlier cuts left; a plan for the user counts the original.
            indices = np.asarray(removal.indices, np.int64)
            if removal.initializer in self._left:
                indices = self._left[removal.initializer].original(removal.axes, indices)
            if place in self._removals:
                indices = np.concatenate([self._removals[place].indices, indices])
            self._removals[place] = replace(removal, indices=tuple(np.unique(indices).tolist()), shape=shape)
        if not last:
            self._follow(cut)

    def _follow(self, cut: ChannelMask) -> None:
        for value in cut.coupling.deferred_labels:
            name, shape = str(value.name), cut.before(value)
            if name not in self._left:
                self._left[name] = _Left(np.arange(np.prod(shape), dtype=np.int32).reshape(shape), shape)
            left = self._left[name]
            # The same slicing that the weights get, so that positions cannot drift from them.
            left.positions = compact(left.positions, cut, value)

    def plan(self) -> PruningPlan:
        """All cuts as one plan."""
        return PruningPlan(tuple(self._removals.values()), self._policy, tuple(sorted(self._blocks)))
