"""Names of groups that last over the steps of a run.

A group is named after the weight that holds its filters, and where several stand in one weight, by the order of their
first positions there. A cut changes that order, or freezes one of them; shares, rows of the report and sensitivities
are looked up by name, so that a group keeps the name that its positions had in the original.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from compressor.channels.groups import ChannelGroup
from compressor.channels.labels import UnitArray

InitializerAxes = tuple[str, tuple[int, ...]]
"""An initializer and axes of it."""
OriginalPositions = Callable[[str, tuple[int, ...], UnitArray], UnitArray]
"""From a place and flat positions in what is left to those in the original; see ``PlanHistory.original``."""


def _unmoved(_initializer: str, _axes: tuple[int, ...], indices: UnitArray) -> UnitArray:
    """Positions in the original where nothing was cut yet: those that they are."""
    return indices


@dataclass(frozen=True)
class LastingNames:
    """What groups are called, by where their first weight holds them in the original.

    Attributes:
        owners: for each place the flat positions along its axes that a group has, and its name.
        original: where what is left stood in the original.
    """

    owners: Mapping[InitializerAxes, Sequence[tuple[UnitArray, str]]] = field(default_factory=dict)
    original: OriginalPositions = _unmoved

    @staticmethod
    def of(groups: Sequence[ChannelGroup]) -> LastingNames:
        """The names that the groups of the original have."""
        owners: dict[InitializerAxes, list[tuple[UnitArray, str]]] = {}
        for group in groups:
            # That of residual blocks has no weight, and is alone.
            if group.slots:
                owners.setdefault(_place(group), []).append((_positions(group), group.name))
        return LastingNames(owners)

    def after(self, original: OriginalPositions) -> LastingNames:
        """The same once more was cut."""
        return replace(self, original=original)

    def given(self, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
        """Groups of what is left under the names that they had; those that had none keep theirs."""
        taken: set[str] = set()
        named = []
        for group in groups:
            name = self._of(group)
            # Of a group that fell apart the first part keeps the name.
            if name is None or name in taken:
                name = group.name if group.name not in taken else f"{group.name}'"
            taken.add(name)
            named.append(group if name == group.name else replace(group, name=name))
        return named

    def _of(self, group: ChannelGroup) -> str | None:
        if not group.slots:
            return None
        place = _place(group)
        first = self.original(*place, _positions(group)[:1])
        return next((name for positions, name in self.owners.get(place, ()) if np.isin(first, positions).any()), None)


def _place(group: ChannelGroup) -> InitializerAxes:
    """Where the first weight of a group holds it."""
    slot = group.slots[0]
    return str(slot.value.name), slot.term.axes


def _positions(group: ChannelGroup) -> UnitArray:
    """The flat positions that a group has there."""
    return np.flatnonzero(np.isin(group.slots[0].term.units.ravel(), group.units))
