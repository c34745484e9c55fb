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

Place = tuple[str, tuple[int, ...]]
"""An initializer and axes of it."""
Original = Callable[[str, tuple[int, ...], UnitArray], UnitArray]
"""From a place and flat positions in what is left to those in the original; see ``PlanHistory.original``."""


def _unmoved(_initializer: str, _axes: tuple[int, ...], indices: UnitArray) -> UnitArray:
    """Before any cut."""
    return indices


@dataclass(frozen=True)
class LastingNames:
    """What groups are called, by where their first weight holds them in the original.

    Attributes:
        owners: for each place, names by flat position along its axes.
        original: where what is left stood in the original.
    """

    owners: Mapping[Place, Mapping[int, str]] = field(default_factory=dict)
    original: Original = _unmoved

    @staticmethod
    def of(groups: Sequence[ChannelGroup]) -> LastingNames:
        """The names that the groups of the original have."""
        owners: dict[Place, dict[int, str]] = {}
        for group in groups:
            for place, positions in _where(group):
                owners.setdefault(place, {}).update(dict.fromkeys(positions.tolist(), group.name))
        return LastingNames(owners)

    def after(self, original: Original) -> LastingNames:
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
        for (initializer, axes), positions in _where(group):
            owner = self.owners.get((initializer, axes), {})
            before = self.original(initializer, axes, positions[:1])
            return owner.get(int(before[0])) if len(before) else None
        return None


def _where(group: ChannelGroup) -> list[tuple[Place, UnitArray]]:
    """The place of the first weight of a group and the positions that it has there; none of residual blocks."""
    if not group.slots:
        return []
    slot = group.slots[0]
    positions = np.flatnonzero(np.isin(slot.term.units.ravel(), group.units))
    return [((str(slot.value.name), slot.term.axes), positions)]
