"""A pruning plan: what goes, by the names in the file. Pure data; saved, compared and replayed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup
from compressor.channels.labels import UnitArray
from compressor.errors import PlanError

SCHEMA = 1


@dataclass(frozen=True)
class Removal:
    """What one group loses.

    Attributes:
        group: the group's name.
        initializer: a weight that holds the group.
        axes: its axes; several where units vary from row to row.
        indices: flat positions along ``axes`` (row-major) that go.
    """

    group: str
    initializer: str
    axes: tuple[int, ...]
    indices: tuple[int, ...]


@dataclass(frozen=True)
class PruningPlan:
    """What goes, and the settings that a replay has to share.

    Attributes:
        removals: one entry for each group that loses something.
        policy: settings of the coupling (``attention``, ``keep_norm_axes``, ``simplify``), which decide what
            hangs together.
    """

    removals: tuple[Removal, ...]
    policy: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The plan as JSON text, the same for the same plan."""
        entries = [
            {"group": r.group, "initializer": r.initializer, "axes": list(r.axes), "indices": list(r.indices)}
            for r in self.removals
        ]
        return json.dumps({"schema": SCHEMA, "policy": dict(self.policy), "removals": entries}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> PruningPlan:
        """Reads :meth:`to_json`.

        Raises:
            PlanError: not a plan, or a plan of another schema.
        """
        try:
            data = json.loads(text)
            if data["schema"] != SCHEMA:
                raise PlanError(f"the plan has schema {data['schema']}, this version reads {SCHEMA}")
            removals = tuple(
                Removal(
                    str(r["group"]),
                    str(r["initializer"]),
                    tuple(map(int, r["axes"])),
                    tuple(map(int, r["indices"])),
                )
                for r in data["removals"]
            )
            return PruningPlan(removals, dict(data["policy"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise PlanError(f"not a pruning plan: {type(error).__name__} {error}") from None

    @staticmethod
    def load(path: str | Path) -> PruningPlan:
        """Reads a plan file; raises PlanError."""
        try:
            return PruningPlan.from_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"cannot read the plan {path}: {error}") from None


def plan_of(
    coupling: Coupling,
    groups: list[ChannelGroup],
    removed: Mapping[str, UnitArray],
    policy: Mapping[str, Any],
) -> PruningPlan:
    """The plan in which group ``name`` loses the units ``removed[name]``.

    Positions are those of the term as it was first labelled, which does not depend on scores, so that a replay
    finds the same one.
    """
    removals = []
    for group in groups:
        units = removed.get(group.name)
        if units is None or not len(units):
            continue
        slot = group.slots[0]
        holders = [t for t in coupling.lazies[slot.value].terms if np.isin(coupling.units.find(t.units), units).any()]
        term = min(holders, key=lambda t: len(t.axes))
        indices = np.flatnonzero(np.isin(coupling.units.find(term.units), units))
        removals.append(Removal(group.name, str(slot.value.name), term.axes, tuple(indices.tolist())))
    return PruningPlan(tuple(removals), policy)


def units_of(plan: PruningPlan, coupling: Coupling) -> UnitArray:
    """The units that ``plan`` removes from this coupling.

    Raises:
        PlanError: the model has no such weight, axis or position, or it is frozen.
    """
    values = coupling.graph.initializers
    found: list[UnitArray] = [np.zeros(0, np.int64)]
    for removal in plan.removals:
        value = values.get(removal.initializer)
        if value is None:
            raise PlanError(f"the plan names {removal.initializer!r}, which the model does not have")
        lazy = coupling.lazy(value)
        term = next((t for t in lazy.terms if t.axes == removal.axes), None) if lazy is not None else None
        if term is None:
            raise PlanError(f"axis {list(removal.axes)} of {removal.initializer!r} cannot be pruned in this model")
        flat = coupling.units.find(term.units).ravel()
        beyond = [i for i in removal.indices if not 0 <= i < flat.size]
        if beyond:
            raise PlanError(f"the plan names position {beyond[0]} of {removal.initializer!r}, which has {flat.size}")
        units = flat[np.asarray(removal.indices, np.int64)]
        if (units == 0).any():
            raise PlanError(f"the plan removes positions of {removal.initializer!r} that cannot go in this model")
        found.append(units)
    return np.unique(np.concatenate(found))
