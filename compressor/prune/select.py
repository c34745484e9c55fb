"""From a coupling and settings to a plan: which units go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from compressor.channels.balance import balance
from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup, group
from compressor.channels.labels import UnitArray
from compressor.channels.plan import PruningPlan, plan_of
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune
from compressor.ops.rule import OpRule
from compressor.prune.budget import Limits, Names, Removed, line_up, reach, take
from compressor.prune.cost import CostModel
from compressor.prune.criteria import Criterion, Scores, Weights, criterion

Rules = Mapping[tuple[str, str], OpRule]


def policy_of(settings: PruneSettings) -> dict[str, object]:
    """The settings that decide what hangs together; a replayed plan brings its own."""
    return {
        "attention": settings.attention,
        "keep_norm_axes": settings.keep_norm_axes,
        "simplify": settings.simplify,
    }


def choose(
    coupling: Coupling, settings: PruneSettings, rules: Rules, size: int
) -> tuple[PruningPlan, list[ChannelGroup]]:
    """Scores every group, balances joint terms, and fills the budget.

    Args:
        coupling: as run; balancing merges units in it.
        settings: how much and which.
        rules: the operator table, for counting cost.
        size: bytes of the original file, for ``target_size``.

    Raises:
        NothingToPrune: the graph has no group, or the globs leave none.
        TargetOutOfReach: the target cannot be met.
    """
    weights = Weights(settings.aggregate)
    judge = criterion(settings.criterion, settings.seed)
    groups = group(coupling)
    if not groups:
        raise NothingToPrune(
            "no channel of this model can be removed; --explain lists what was frozen and why"
        )
    balance(coupling, _unit_scores(coupling, groups, judge, weights))
    groups = group(coupling)
    scores = {g.name: judge.score(g, weights) for g in groups}
    names = _names(coupling)
    allowed = [g for g in groups if _allowed(names(g), settings.include, settings.exclude)]
    if not allowed:
        raise NothingToPrune("--include and --exclude leave no group that could be pruned")
    removed = _fill(coupling, allowed, scores, settings, rules, names, size)
    return plan_of(coupling, groups, removed, policy_of(settings)), groups


def _unit_scores(
    coupling: Coupling, groups: Sequence[ChannelGroup], judge: Criterion, weights: Weights
) -> Scores:
    found = np.zeros(len(coupling.units))
    for member in groups:
        found[member.units] = judge.score(member, weights)
    return found


def _names(coupling: Coupling) -> Names:
    """Initializers of a group and the nodes that read them: what globs match."""

    def names(member: ChannelGroup) -> list[str]:
        found: dict[str, None] = {member.name: None}
        for slot in member.slots:
            if slot.role != "in":
                found[str(slot.value.name)] = None
                for node, _ in slot.value.uses():
                    found[str(node.name)] = None
        return list(found)

    return names


def _allowed(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> bool:
    def any_match(globs: Sequence[str]) -> bool:
        return any(fnmatchcase(name, glob) for name in names for glob in globs)

    return (not include or any_match(include)) and not any_match(exclude)


def _fill(  # noqa: PLR0913 - the budget's inputs, gathered in one place
    coupling: Coupling,
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, Scores],
    settings: PruneSettings,
    rules: Rules,
    names: Names,
    size: int,
) -> Removed:
    limits = Limits(
        ratio=settings.ratio or 0.0,
        overrides=settings.layer_ratio,
        max_ratio=settings.max_ratio,
        round_to=settings.round_to,
        min_channels=settings.min_channels,
        scope=settings.scope,
        normalise=settings.normalise,
    )
    chunks = line_up(groups, scores, limits, names)
    if settings.ratio is not None:
        return take(chunks, limits, sum(len(g.units) for g in groups))
    cost = CostModel(coupling, coupling.shapes, rules)
    if settings.target_macs is not None:
        return reach(chunks, cost.macs_after, settings.target_macs, "MACs")
    if settings.target_params is not None:
        return reach(chunks, cost.params_after, settings.target_params, "parameters")
    wanted = settings.target_size if settings.target_size is not None else 1.0
    share = float(wanted) if wanted <= 1 else float(wanted) / size
    return reach(chunks, _with_overhead(cost.bytes_after, size), min(share, 1.0), "file size")


def _with_overhead(weights: Callable[[UnitArray], float], size: int) -> Callable[[UnitArray], float]:
    """Bytes of the file: its weights and the graph around them, which hardly changes."""
    rest = max(0.0, size - weights(np.zeros(0, np.int64)))
    return lambda removed: rest + weights(removed)
