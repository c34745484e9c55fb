"""A budget spent where outputs lose least: loss curves of all groups in, widths out.

The widths that lose least at a cost of at most the budget are a knapsack (:mod:`compressor.pruning.budgets.widths`); a
layer costs about the product of two widths, so costs are taken around some widths, the knapsack is solved, and again
around its answer. The currency is whatever the run has a target for: multiply-accumulates, parameters, bytes or
milliseconds.

A ratio says how small, not where: the budget is the multiply-accumulates that are left where every group loses that
share of its channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup
from compressor.channels.labels import UnitArray
from compressor.config import PruneSettings
from compressor.errors import TargetOutOfReach
from compressor.operators import quantization_grid
from compressor.pruning.budgets.budget import (
    Chunk,
    Goal,
    Origin,
    Removed,
    goal_of,
    line_up,
    take,
    too_coarse,
    too_much,
)
from compressor.pruning.budgets.cost import CostModel
from compressor.pruning.budgets.curves import Curves, GroupScores, lines_of
from compressor.pruning.budgets.nearest import finer, nearest_of
from compressor.pruning.budgets.parts import OperatorChain, operator_chains
from compressor.pruning.budgets.select import Choice, Ranking, Scored
from compressor.pruning.budgets.widths import Levels, WidthLine, Widths, units_at
from compressor.pruning.cut.analysis import Analysis

SPARE = 0.05
"""A budget counts as spent where less is left of it than this share of what a target may be missed by."""
COST_ROUNDING = 1e-12
"""What costs may be off by as shares of the whole: what a ratio takes is counted otherwise than widths are."""


def chunks_of(ranked: GroupScores, settings: PruneSettings, origin: Origin) -> dict[str, list[Chunk]]:
    """The chunks in which each group may lose units, by its name."""
    # The scope decides which widths are allowed (finer steps for narrow groups), and settings may still say "auto".
    by_loss = settings.model_copy(update={"scope": "loss"})
    chunks: dict[str, list[Chunk]] = {group.name: [] for group in ranked}
    for chunk in line_up(ranked, by_loss, origin):
        chunks[chunk.group].append(chunk)
    return chunks


def uniform_share(coupling: Coupling, ranking: Ranking, settings: PruneSettings) -> float:
    """The share of the multiply-accumulates that is left where every group loses the ratio of its channels.

    Of the parameters, in a graph without products that can be counted.
    """
    # By the local scope, whose chunks go by share of their group and not by score. To the channel, as multiples are for
    # the widths that the budget is spent on: it would be off by up to half of one in every group.
    even, ranked = settings.model_copy(update={"scope": "local", "round_to": 1}), ranking.scores
    removed = take(line_up(ranked, even, ranking.origin), even, sum(len(group.units) for group in ranked))
    units = np.concatenate([*removed.values(), np.zeros(0, np.int64)]).astype(np.int64)
    kind, count = _counted(CostModel(coupling), ranking.origin)
    return count(units) / max(ranking.origin.macs if kind == "macs" else ranking.origin.params, 1.0)


def _counted(cost: CostModel, origin: Origin) -> tuple[str, Callable[[UnitArray], float]]:
    # A graph of nothing but tables and sums has no multiply-accumulates to save.
    return ("macs", cost.macs_after) if origin.macs else ("params", cost.params_after)


class CostShares:
    """What the parts of a graph cost, as shares of the whole original.

    Args:
        coupling: of the graph.
        groups: those whose widths are chosen, in the order of the widths.
        goal: what is counted, and what the original costs.
    """

    def __init__(self, coupling: Coupling, groups: Sequence[ChannelGroup], goal: Goal) -> None:
        self.parts = operator_chains(coupling, groups)
        self.kind, self.whole = goal.kind, goal.whole
        self._weights = _owned(self.parts)
        # The knapsack asks for the same part at the same sizes again and again.
        self._known: dict[tuple[OperatorChain, tuple[int, ...]], float] = {}
        # What the parts do not explain (shapes that are not known, the graph itself) is constant in all of the search.
        none = [0.0] * len(groups)
        self.rest = goal.left([]) - sum(self.share(part, none) for part in self.parts)
        """The share that no width changes."""

    def share(self, part: OperatorChain, gone: list[float]) -> float:
        """What a part costs where each group has lost this share of its units."""
        # By rounded sizes and not by shares: many shares give the same whole number of channels.
        key = (part, part.sizes(gone))
        if key not in self._known:
            self._known[key] = self._cost(part, key[1]) / max(self.whole, 1.0)
        return self._known[key]

    def _cost(self, part: OperatorChain, sizes: tuple[int, ...]) -> float:
        if self.kind == "macs":
            return part.macs(sizes)
        if not part.stays(sizes):
            return 0.0
        shapes = [(value, part.shape(value, sizes)) for value in self._weights[part]]
        return sum(self.each(value) * prod(shape) for value, shape in shapes if shape is not None)

    def each(self, value: ir.Value) -> float:
        """What one element costs."""
        if self.kind == "bytes":
            return float(value.const_value.dtype.itemsize) if value.const_value is not None else 0.0
        return quantization_grid.reals_each(value)


def _owned(parts: Sequence[OperatorChain]) -> dict[OperatorChain, list[ir.Value]]:
    """The initializers that each part is the first to read."""
    owned: dict[OperatorChain, list[ir.Value]] = {}
    seen: set[ir.Value] = set()
    for part in parts:
        read = dict.fromkeys(v for node in part.nodes for v in node.inputs if v is not None and v.is_initializer())
        # A weight that two parts read is stored once, so it must count once.
        owned[part] = [value for value in read if value not in seen]
        seen.update(read)
    return owned


def levels_within(widths: Widths, rest: float, goal: Goal, left: Callable[[Levels], float]) -> Levels:
    """The widths that lose least within the goal; the narrowest where not even these are within it.

    Widths are counted in whole channels, so a budget is seldom met exactly. What is left of it is given back, one
    width at a time, where that makes up for most; where the widths are too coarse to come near from below, a goal may
    be passed by as much as it may be missed.

    Args:
        widths: to choose from.
        rest: the share of the whole that no width changes.
        goal: what is counted, and how much of it is to be left.
        left: the share that is left at some widths.
    """
    least = widths.total(widths.narrowest)
    # First at most the target itself; only where that is too coarse, up to what a target may be passed by.
    budgets = [share - rest + COST_ROUNDING for share in dict.fromkeys((goal.share, goal.most))]
    budgets = [budget for budget in budgets if least <= budget]

    def within(budget: float) -> Levels:
        levels = widths.within(budget)
        assert levels is not None, "the narrowest widths are within it"
        return given_back(widths, levels, budget, SPARE * goal.slack)

    return nearest_of(budgets, within, goal, left) if budgets else widths.narrowest


def given_back(widths: Widths, levels: Levels, budget: float, spare: float) -> Levels:
    """Wider by single steps where that gives back most for what it costs, until ``spare`` of the budget is left."""
    levels = list(levels)
    spent = widths.total(levels)
    # Costs in the knapsack were taken around some widths, so its answer leaves some of the budget.
    while budget - spent > spare:
        best, most = None, 0.0
        for group, level in enumerate(levels):
            if not level:
                continue
            trial = [*levels[:group], level - 1, *levels[group + 1 :]]
            total, losses = widths.total(trial), widths.lines[group].losses
            back = float(losses[level] - losses[level - 1]) / max(total - spent, 1e-12)
            # A width that gives back a loss for no cost divides by almost nothing and goes first, as it should.
            if total <= budget and (best is None or back > most):
                best, most = trial, back
        if best is None:
            break
        levels, spent = best, widths.total(best)
    return levels


def budget_of(coupling: Coupling, settings: PruneSettings, origin: Origin, share: float) -> Goal:
    """The target that the settings have, or the multiply-accumulates that a ratio leaves.

    Args:
        coupling: of the graph.
        settings: a target or a ratio.
        origin: what amounts are shares of.
        share: what the ratio leaves, if there is one.
    """
    cost = CostModel(coupling)
    if settings.ratio is None:
        return goal_of(cost, settings, origin)
    kind, count = _counted(cost, origin)
    # A ratio asks for about so much, so missing it is no error.
    return Goal(count, origin.macs or origin.params, share, "MACs", exact=False, kind=kind)


@dataclass(frozen=True)
class ByLoss:
    """A choice of units by loss.

    Attributes:
        coupling: of the graph, its joint terms balanced.
        ranked: the groups that may be pruned.
        curves: of each of them.
        settings: how much, and which widths are allowed.
        origin: what amounts are shares of.
        share: what a ratio leaves of the multiply-accumulates.
    """

    coupling: Coupling
    ranked: GroupScores
    curves: Curves
    settings: PruneSettings
    origin: Origin
    share: float

    def removed(self) -> Removed:
        """The units that go, by name of their group.

        Raises:
            TargetOutOfReach: the target cannot be met within
                :data:`~compressor.pruning.budgets.budget.TARGET_TOLERANCE`.
        """
        goal = budget_of(self.coupling, self.settings, self.origin, self.share)
        # Nothing is left to spend on: every group takes its widest allowed width, which a fixed share may have
        # narrowed. A ratio may ask for channels that cost next to nothing of the whole, so what counts is what it asks.
        if goal.left([]) <= (goal.most if goal.exact else goal.share + SPARE * min(goal.slack, 1 - goal.share)):
            lines = self.lines(self.settings)
            return units_at(lines, [0] * len(lines))
        costs = CostShares(self.coupling, list(self.ranked), goal)

        def within(settings: PruneSettings) -> Removed:
            lines = self.lines(settings)
            widths = Widths(lines, costs.parts, costs.share)
            return units_at(
                lines,
                levels_within(widths, costs.rest, goal, lambda levels: goal.left_without(units_at(lines, levels))),
            )

        # Coarse multiples run faster, so finer ones are tried only where the target cannot be met with them.
        best = nearest_of(finer(self.settings), within, goal, goal.left_without)
        left = goal.left_without(best)
        if goal.exact and not goal.met(left):
            raise TargetOutOfReach(too_much(goal, left) if left > goal.share else too_coarse(goal, left))
        return best

    def lines(self, settings: PruneSettings) -> list[WidthLine]:
        """The widths of every group that ``settings`` allow."""
        return lines_of(self.curves, self.ranked, chunks_of(self.ranked, settings, self.origin))


def choose_by_loss(
    analysis: Analysis, settings: PruneSettings, ranking: Ranking, curves: Curves, share: float | None = None
) -> Choice:
    """What goes where the loss of every group is known.

    Args:
        analysis: the analysed model.
        settings: how much.
        ranking: its groups.
        curves: what each loses.
        share: what the ratio leaves of the multiply-accumulates, if that was counted before an earlier step.

    Raises:
        NothingToPrune: no group can lose a unit under these settings.
        TargetOutOfReach: the target cannot be met within
            :data:`~compressor.pruning.budgets.budget.TARGET_TOLERANCE`.
    """
    # In a run of several steps the share was counted on the original, whose widths are gone by now.
    if share is None and settings.ratio is not None:
        share = uniform_share(analysis.coupling, ranking, settings)
    allocation = ByLoss(
        analysis.coupling, ranking.scores, curves, settings, ranking.origin, 1.0 if share is None else share
    )
    return ranking.choice(analysis.coupling, settings, allocation.removed(), scored_by_loss(curves))


def scored_by_loss(curves: Curves) -> dict[str, Scored]:
    """What outputs lose when each unit goes, after those that go before it."""
    return {name: Scored(curve.order, np.diff(curve.losses), "loss") for name, curve in curves.items()}
