"""From a coupling and settings to a plan: which units go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from compressor.channels.balance import balance
from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup, blocked, group
from compressor.channels.labels import UnitArray
from compressor.channels.plan import PruningPlan, plan_of
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune
from compressor.ops.rule import OpRule
from compressor.pruning.budget import Removed, line_up, reach, take
from compressor.pruning.cost import CostModel
from compressor.pruning.criteria import Criterion, Scores, Weights, criterion

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
        raise NothingToPrune("no channel of this model can be removed; --explain lists what was frozen and why")
    balance(coupling, _unit_scores(coupling, groups, judge, weights))
    groups = group(coupling)
    allowed = permitted(groups, settings)
    scores = {g: judge.score(g, weights) for g in allowed}
    _reserve(coupling, scores)
    removed = _fill(coupling, scores, settings, rules, size)
    if not removed and settings.ratio != 0:
        widest = max(g.channels for g in allowed)
        raise NothingToPrune(
            f"no group can lose a channel under these settings (the widest has {widest}); lower --round-to or "
            "--min-channels, raise --ratio or --max-ratio"
        )
    return plan_of(coupling, groups, removed, policy_of(settings)), groups


def _unit_scores(coupling: Coupling, groups: Sequence[ChannelGroup], judge: Criterion, weights: Weights) -> Scores:
    found = np.zeros(len(coupling.units))
    for member in groups:
        found[member.units] = judge.score(member, weights)
    return found


def _reserve(coupling: Coupling, scores: Mapping[ChannelGroup, Scores]) -> None:
    """Gives the strongest unit of every axis of every value an infinite score, so that no axis is emptied.

    A group as a whole keeps something anyway; an output of Split may hold only a part of it.
    """
    relative = np.full(len(coupling.units), np.inf)
    for member, score in scores.items():
        relative[member.units] = score / (score.mean() or 1.0)
    reserved = {int(units[np.argmax(relative[units])]) for units in coupling.extents()}
    for member, score in scores.items():
        score[np.isin(member.units, list(reserved))] = np.inf


def _reasons(coupling: Coupling) -> str:
    """The facts that froze most channels, as one clause."""
    totals: Counter[str] = Counter()
    for row in blocked(coupling):
        at = f" at node {row.reason.node!r}" if row.reason.node else ""
        totals[f"{row.reason.value!r}{at} {row.reason.reason}"] += row.channels
    if not totals:
        return "it has no weights with channels (or they are not constants of the file)"
    return "; ".join(f"{count} channels: {text}" for text, count in totals.most_common(3))


def permitted(groups: Sequence[ChannelGroup], settings: PruneSettings) -> list[ChannelGroup]:
    """The groups that ``include`` and ``exclude`` leave.

    Raises:
        NothingToPrune: they leave none.
    """

    def any_match(member: ChannelGroup, globs: Sequence[str]) -> bool:
        return any(fnmatchcase(name, glob) for name in member.names for glob in globs)

    left = [g for g in groups if not settings.include or any_match(g, settings.include)]
    left = [g for g in left if not any_match(g, settings.exclude)]
    if not left:
        raise NothingToPrune("--include and --exclude leave no group that could be pruned")
    return left


def _fill(
    coupling: Coupling,
    ranked: Mapping[ChannelGroup, Scores],
    settings: PruneSettings,
    rules: Rules,
    size: int,
) -> Removed:
    """Units to remove, by name of their group."""
    chunks = line_up(ranked, settings)
    if settings.ratio is not None:
        own = {c.group for c in chunks if c.fixed}
        return take(chunks, settings, sum(len(g.units) for g in ranked if g.name not in own))
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
