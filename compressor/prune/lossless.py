"""Channels that cannot matter: their removal changes no output."""

from __future__ import annotations

import numpy as np

from compressor.channels.balance import balance
from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup, group
from compressor.channels.plan import PruningPlan, plan_of
from compressor.config import PruneSettings
from compressor.prune.criteria import Weights
from compressor.prune.select import policy_of


def lossless_plan(coupling: Coupling, settings: PruneSettings) -> tuple[PruningPlan, list[ChannelGroup]]:
    """Units all of whose consumers' slices are zero."""
    balance(coupling, np.zeros(len(coupling.units)))
    groups = group(coupling)
    weights = Weights()
    removed = {}
    for member in groups:
        slots = [s for s in member.slots if s.role == "in"]
        if slots:
            energy = np.sum([weights.of_units(member, s, 1) for s in slots], axis=0)
            removed[member.name] = member.units[energy == 0]
    return plan_of(coupling, groups, removed, policy_of(settings)), groups
