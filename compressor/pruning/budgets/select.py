"""From a coupling and settings to a plan: which units go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from compressor.channels.balance import balance
from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup, group, no_group
from compressor.channels.labels import UnitArray
from compressor.channels.plan import POLICY, PruningPlan, plan_of
from compressor.config import PruneSettings
from compressor.config.selection import CRITERION, SelectionSection
from compressor.core.formatting import either
from compressor.core.globs import any_match
from compressor.errors import NothingToPrune, TargetOutOfReach, UsageError
from compressor.pruning.budgets.allocate import scores_by_loss
from compressor.pruning.budgets.budget import (
    Origin,
    Removed,
    demand_reachable,
    goal_of,
    line_up,
    reach,
    take,
    too_coarse,
)
from compressor.pruning.budgets.cost import CostModel
from compressor.pruning.budgets.lasting_names import LastingNames
from compressor.pruning.budgets.nearest import finer, nearest_of
from compressor.pruning.criteria import Criterion, Measurement, Scores, Weights, criterion
from compressor.pruning.criteria.base import weakest_first


@dataclass(frozen=True)
class Scored:
    """Units of a group, and what each was ranked by: float64[units], infinite for those that had to stay."""

    units: UnitArray
    scores: Scores
    ranked_by: str


@dataclass(frozen=True)
class Choice:
    """The channels that one step removes, and how they were chosen.

    Attributes:
        plan: as it is written and replayed.
        groups: all groups of the model.
        origin: what the amounts are shares of; hand it to the next step of the run. None in runs of one step.
        scored: what the units of each group were ranked by, low ones first to go; empty where a plan was replayed.
        removed: units by group, in the order in which they go; empty where nothing ranked them.
    """

    plan: PruningPlan
    groups: list[ChannelGroup]
    origin: Origin | None
    scored: Mapping[str, Scored] = field(default_factory=dict)
    removed: Removed = field(default_factory=dict)


def by_weights(settings: PruneSettings) -> PruneSettings:
    """The settings with the criterion that needs nothing measured, where scores only have to be there."""
    return settings.resolved(criterion=CRITERION)


def policy_of(settings: PruneSettings) -> dict[str, object]:
    """The settings that decide what hangs together; a replayed plan brings its own."""
    values = ((name, getattr(settings, name)) for name in POLICY)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values}


def choose_channels(
    coupling: Coupling,
    settings: PruneSettings,
    size: int,
    origin: Origin | None = None,
    measured: Measurement | None = None,
) -> Choice:
    """Scores every group, balances joint terms, and fills the budget.

    Args:
        coupling: as run; balancing merges units in it.
        settings: how much and which; ``steps`` are those left, and only the last one has to hit a target.
        size: bytes of the original file, for ``target_size``.
        origin: what earlier steps of the run started from; by default this step is the first.
        measured: what the criterion needs beyond weights.

    Raises:
        NothingToPrune: the graph has no group, or the globs leave none.
        TargetOutOfReach: the target cannot be met.
        UsageError: the sensitivity report is unreadable, or of another model.
    """
    ranking = ranking_of(coupling, settings, size, origin, measured)
    return choose_by_scores(coupling, settings, ranking)


@dataclass(frozen=True)
class Ranking:
    """Groups that are ready to be chosen from.

    Attributes:
        groups: all of the model.
        scores: of the units of those that may be pruned; infinite for what stays.
        origin: what amounts are shares of.
        ranked_by: the criterion that gave the scores.
    """

    groups: list[ChannelGroup]
    scores: dict[ChannelGroup, Scores]
    origin: Origin
    ranked_by: str

    @property
    def untouched(self) -> bool:
        """Has every group all of its units?"""
        return all(self.origin.units.get(g.name) == len(g.units) for g in self.groups)

    def choice(
        self,
        coupling: Coupling,
        settings: PruneSettings,
        removed: Removed,
        scored: Mapping[str, Scored] | None = None,
    ) -> Choice:
        """The plan in which groups lose these units.

        Args:
            coupling: that the units are of.
            settings: how much was asked for.
            removed: units, by group.
            scored: what they were ranked by, where that was not the criterion.

        Raises:
            NothingToPrune: they lose nothing, though something was asked for.
        """
        # After earlier steps removing nothing is a fair answer.
        if not any(map(len, removed.values())) and settings.ratio != 0 and self.untouched and settings.steps == 1:
            if settings.aims:
                raise NothingToPrune("the model meets the target as it is, so that nothing goes; give a smaller one")
            widest = max(g.channels for g in self.scores)
            raise NothingToPrune(
                f"no group can lose a channel under these settings (the widest has {widest}); "
                + either(("raise --ratio", *settings.bounds))
            )
        plan = plan_of(coupling, self.groups, removed, policy_of(settings))
        return Choice(plan, self.groups, self.origin, scored or self.by_criterion(), removed)

    def as_before(self, coupling: Coupling, settings: PruneSettings) -> Choice:
        """The weakest units down to the widths with which the step before would have met the target.

        Raises:
            TargetOutOfReach: there was none, or they do not meet it any more.
        """
        removed: Removed = {}
        for member, scores in self.scores.items():
            gone = len(member.units) - self.origin.enough.get(member.name, len(member.units))
            order = weakest_first(member.units, scores)
            removed[member.name] = member.units[order[: min(gone, int(np.isfinite(scores).sum()))]]
        goal = goal_of(CostModel(coupling), settings, self.origin)
        left = goal.left_without(removed)
        # Bytes are those of the file that it leaves.
        if not self.origin.enough or (goal.kind != "bytes" and not goal.met(left)):
            raise TargetOutOfReach(too_coarse(goal, left))
        return self.choice(coupling, settings, removed)

    def by_criterion(self) -> dict[str, Scored]:
        """What the criterion said of the units of each group."""
        return {member.name: Scored(member.units, scores, self.ranked_by) for member, scores in self.scores.items()}


def ranking_of(
    coupling: Coupling,
    settings: PruneSettings,
    size: int,
    origin: Origin | None = None,
    measured: Measurement | None = None,
) -> Ranking:
    """Balances joint terms and scores every group; the arguments are those of :func:`choose_channels`."""
    groups, scores = scored_groups(coupling, settings, measured, None if origin is None else origin.names)
    return Ranking(groups, scores, origin or origin_of(coupling, groups, size), settings.criterion)


def choose_by_scores(coupling: Coupling, settings: PruneSettings, ranking: Ranking) -> Choice:
    """Fills the budget by scores, or by a sensitivity report; raises as :func:`choose_channels`."""
    scores = ranking.scores
    if settings.sensitivity is not None:
        from compressor.results.sensitivity import SensitivityReport  # noqa: PLC0415 - few runs have one

        scores, settings = scores_by_loss(
            scores, settings, ranking.origin, SensitivityReport.load(settings.sensitivity)
        )
    return ranking.choice(coupling, settings, _fill(coupling, scores, settings, ranking.origin))


def demand_target(coupling: Coupling, settings: PruneSettings, size: int, whole: Callable[[Origin], Origin]) -> None:
    """Refuses a target that not even everything that may go reaches, before anything is measured for the choice.

    Args:
        coupling: as run, of an analysis of its own: balancing merges units in it by other scores than the choice has.
        settings: of the run.
        size: bytes of the original file.
        whole: what amounts are shares of, from what the coupling says of it.

    Raises:
        NothingToPrune: nothing may go, or the target is met.
        TargetOutOfReach: it is too small; the error says how far it goes.
    """
    # How many units may go does not depend on what they are ranked by, so weights alone will do.
    ranking = ranking_of(coupling, by_weights(settings), size)
    *_, finest = finer(settings.end)
    goal = goal_of(CostModel(coupling), finest, whole(ranking.origin))
    demand_reachable(line_up(ranking.scores, finest, ranking.origin), goal)


def scored_groups(
    coupling: Coupling,
    settings: PruneSettings,
    measured: Measurement | None = None,
    names: LastingNames | None = None,
) -> tuple[list[ChannelGroup], dict[ChannelGroup, Scores]]:
    """All groups once joint terms are balanced, and the scores of those that may be pruned; what stays is infinite.

    After earlier steps groups have the ``names`` that they had before them.

    Raises:
        NothingToPrune: the graph has no group, or the globs leave none.
    """
    weights = Weights(settings.aggregate, measured, settings.seed)
    judge = _Judge(settings.criterion, criterion(settings.criterion), weights)
    groups = group(coupling)
    if not groups:
        raise NothingToPrune(no_group(coupling))
    # Balancing pairs units of different rows by rank, so it needs scores before groups are final.
    if balance(coupling, lambda: _unit_scores(coupling, groups, judge)):
        # Merged units belong together now; the groups from before the balancing are stale.
        groups = group(coupling)
    groups = groups if names is None else names.given(groups)
    scores = {g: judge.scores(g) for g in permitted(coupling, groups, settings)}
    _reserve(coupling, scores)
    return groups, scores


def _unit_scores(coupling: Coupling, groups: Sequence[ChannelGroup], judge: _Judge) -> Scores:
    scores = np.zeros(len(coupling.units))
    for member in groups:
        scores[member.units] = judge.scores(member)
    return scores


@dataclass(frozen=True)
class _Judge:
    """A criterion under the name that it was asked for by, and what it looks at."""

    name: str
    criterion: Criterion
    weights: Weights

    def scores(self, member: ChannelGroup) -> Scores:
        """What the criterion says of each unit, in an array of our own, which may be written to.

        Raises:
            UsageError: it is not what :meth:`compressor.pruning.criteria.base.Criterion.score` promises.
        """
        # Criteria look at weights that hold a unit, and none holds a residual block.
        if member.blocks:
            return np.asarray([block.influence for block in member.blocks])
        scores = _as_numbers(self.criterion.score(member, self.weights))
        # What is built in keeps to this; a plug-in may not: NaN orders channels at random, and infinity means that a
        # unit has to stay.
        if scores.shape != member.units.shape or not np.isfinite(scores).all() or (scores < 0).any():
            least, largest = scores.min(initial=np.inf), scores.max(initial=-np.inf)
            raise UsageError(
                f"criterion {self.name!r} has to give a finite number that is not negative for each of the "
                f"{len(member.units)} units of group {member.name!r}; it gave an array of shape {list(scores.shape)}, "
                f"from {least:g} to {largest:g}"
            )
        return scores


def _as_numbers(given: object) -> Scores:
    """A copy; without any where they are no numbers."""
    try:
        return np.array(given, np.float64)
    except (TypeError, ValueError):
        return np.zeros(0)


def _reserve(coupling: Coupling, scores: Mapping[ChannelGroup, Scores]) -> None:
    """Gives the strongest unit of every axis of every value an infinite score, so that no axis is emptied.

    A group as a whole keeps something anyway; an output of Split may hold only a part of it.
    """
    relative = np.full(len(coupling.units), np.inf)
    for member, score in scores.items():
        # Scores of different groups are on different scales, and an axis may hold units of several.
        relative[member.units] = score / (score.mean() or 1.0)
    reserved = np.zeros(len(coupling.units), np.bool_)
    # An axis with a unit outside the groups has that one infinite, so nothing else has to be kept for it.
    reserved[[int(units[np.argmax(relative[units])]) for units in coupling.extents()]] = True
    for member, score in scores.items():
        score[reserved[member.units]] = np.inf


def permitted(coupling: Coupling, groups: Sequence[ChannelGroup], settings: SelectionSection) -> list[ChannelGroup]:
    """The groups that ``include`` and ``exclude`` leave.

    Raises:
        NothingToPrune: they leave none, or there was none.
    """
    if not groups:
        raise NothingToPrune(no_group(coupling))
    left = [g for g in groups if not settings.include or g.blocks or any_match(g.names, settings.include)]
    # The group of residual blocks holds those alone that the globs leave.
    left = [g for g in left if not any_match(g.names, settings.exclude)]
    if not left:
        raise NothingToPrune("--include and --exclude leave no group that could be pruned")
    return left


def origin_of(coupling: Coupling, groups: Sequence[ChannelGroup], size: int) -> Origin:
    """The model as it is now, as what later amounts are shares of; ``size`` is the bytes of its file."""
    cost = CostModel(coupling)
    rest = max(0.0, size - cost.bytes_after(np.zeros(0, np.int64)))
    counts = {g.name: len(g.units) for g in groups}
    return Origin(counts, cost.macs, cost.params, size, rest, LastingNames.of(groups))


def _fill(
    coupling: Coupling, ranked: Mapping[ChannelGroup, Scores], settings: PruneSettings, origin: Origin
) -> Removed:
    """Units to remove, by name of their group."""
    if settings.ratio is not None:
        chunks = line_up(ranked, settings, origin)
        # Groups with a ratio of their own do not count towards the global one.
        own = {c.group for c in chunks if c.fixed}
        left = {g.name: len(g.units) for g in ranked if g.name not in own}
        total = sum(origin.units.get(name, count) for name, count in left.items())
        return take(chunks, settings, total, total - sum(left.values()))
    goal = goal_of(CostModel(coupling), settings, origin)
    # Wide multiples run faster, so finer ones are for targets that have to be met and cannot be otherwise.
    allowed = finer(settings) if goal.exact else [settings]
    return nearest_of(allowed, lambda one: reach(line_up(ranked, one, origin), goal), goal, goal.left_without)
