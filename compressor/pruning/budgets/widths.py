"""Which width each group gets, so that the model costs as little as asked and loses least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from compressor.channels.groups import ChannelGroup
from compressor.channels.labels import UnitArray
from compressor.config import PruneSettings
from compressor.config.selection import SelectionSection
from compressor.core.arrays import Floats
from compressor.pruning.budgets.budget import Chunk, Removed
from compressor.pruning.budgets.knapsack import choose_widths
from compressor.pruning.budgets.parts import OperatorChain

WIDTHS, ALL_WIDTHS = 32, 1024
"""Widths of one group that are considered at least, if it has so many; and of all groups together."""
ROUNDS = 8
"""How often costs are taken anew around the widths found."""
RANDOM_MODELS = 14
"""Models of random widths that are measured, besides the widest and the narrowest."""

Levels = list[int]
"""For every group the position of its width."""
CostShare = Callable[[OperatorChain, list[float]], float]


class Line(Protocol):
    """What may become of one group or layer, from as it is to the least that it may cost."""

    @property
    def losses(self) -> Floats:
        """What is lost at each level: float64[levels]."""
        ...

    def gone(self, level: int) -> float:
        """What the cost of an operator is asked for at this level: of a group, the share of its units that is gone."""
        ...


@dataclass(frozen=True)
class WidthLine:
    """The widths of one group, from as it is to as narrow as allowed.

    Attributes:
        group: the group.
        removed: the units that are gone at each width; each holds the one before.
        losses: float64[widths], what is lost.
    """

    group: ChannelGroup
    removed: tuple[UnitArray, ...]
    losses: Floats

    def gone(self, level: int) -> float:
        """Share of the group's units that is gone."""
        return len(self.removed[level]) / len(self.group.units)


def lines(chunks: Sequence[Chunk], groups: Sequence[ChannelGroup], settings: PruneSettings) -> list[WidthLine]:
    """The widths that every group may have, by the chunks in which it would lose units.

    What a chunk loses is its place in the line: in local scope the share of the group's channels that go before it,
    times its own share, so that the loss of a group is the square of what it gives up; in global scope the scores of
    its units.
    """
    # Every group needs a line, also one that can lose nothing: levels are numbered by group.
    own: dict[str, list[Chunk]] = {group.name: [] for group in groups}
    for chunk in chunks:
        if np.isfinite(chunk.key):
            own[chunk.group].append(chunk)
    return [_line(group, own[group.name], settings, len(groups)) for group in groups]


def levels_of(first: int, last: int, groups: int) -> npt.NDArray[np.int64]:
    """Positions of the widths that are considered of those from ``first`` to ``last``, where there are ``groups``."""
    places = np.linspace(first, last, max(WIDTHS, ALL_WIDTHS // groups))
    return np.unique(places.round().astype(np.int64))


def _line(group: ChannelGroup, chunks: Sequence[Chunk], settings: SelectionSection, groups: int) -> WidthLine:
    none = np.zeros(0, np.int64)
    removed, losses = [none], [0.0]
    for chunk in chunks:
        # The key of a local chunk is a share; times the chunk's own share it integrates to half of the square.
        weight = len(chunk.units) / (len(group.units) if settings.scope != "global" else 1)
        removed.append(np.concatenate([removed[-1], chunk.units]))
        losses.append(losses[-1] + max(chunk.key, 0.0) * weight)
    # What the user fixed is gone at every width, so the line starts behind it.
    first = sum(chunk.fixed for chunk in chunks)
    picked = levels_of(first, len(removed) - 1, groups)
    return WidthLine(group, tuple(removed[k] for k in picked), np.asarray([losses[k] for k in picked]))


def units_at(lines: Sequence[WidthLine], levels: Levels) -> Removed:
    """Units that go at these widths, by name of their group."""
    return {line.group.name: line.removed[level] for line, level in zip(lines, levels, strict=True)}


class Widths:
    """Chooses widths by what each costs, in whatever is counted: multiply-accumulates, parameters, bytes or time.

    Args:
        lines: of all groups, and behind them of layers that may change.
        parts: operators of the graph; their groups are numbered as the lines are.
        share: cost of an operator, as a share of what the original costs.
        holders: the operators of these layers, in the order of their lines.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        parts: Sequence[OperatorChain],
        share: CostShare,
        holders: Sequence[OperatorChain] = (),
    ) -> None:
        self.lines = list(lines)
        self.parts, self._share = list(parts), share
        # Most operators depend on two or three groups, so a group's cost needs few of them; a layer is in one.
        groups = range(len(lines) - len(holders))
        self._touched = [*([p for p in parts if g in p.groups] for g in groups), *([part] for part in holders)]

    @property
    def widest(self) -> Levels:
        """Every group as wide as it may be."""
        return [0] * len(self.lines)

    @property
    def narrowest(self) -> Levels:
        """Every group as narrow as it may be."""
        return [len(line.losses) - 1 for line in self.lines]

    def gone(self, levels: Levels) -> list[float]:
        """What costs are asked for: the share of its units that every group loses, and the option of every layer."""
        return [line.gone(level) for line, level in zip(self.lines, levels, strict=True)]

    def total(self, levels: Levels) -> float:
        """Predicted cost of the model, as a share of the original's."""
        gone = self.gone(levels)
        return sum(self._share(part, gone) for part in self.parts)

    def samples(self, seed: int) -> list[Levels]:
        """Widths to measure: the widest, the narrowest, and a Latin hypercube, in which every group has widths all
        over its line and no two groups have them together (McKay, Beckman and Conover 1979)."""
        rng = np.random.default_rng(seed)
        places = np.stack([rng.permutation(RANDOM_MODELS) + 0.5 for _ in self.lines], axis=1) / RANDOM_MODELS
        drawn = np.floor(places * [len(line.losses) for line in self.lines]).astype(int)
        return [self.widest, self.narrowest, *drawn.tolist()]

    def within(self, budget: float) -> Levels | None:
        """The widths that lose least at a predicted cost of at most ``budget``; None where none cost so little.

        Groups meet in one operator, which costs about the product of their widths, so that their costs do not add up.
        They are taken one by one around some widths, the knapsack is solved for these costs, and again around its
        answer, until that does not change; the best answer that keeps to the budget counts. The knapsack is solved
        exactly, the whole is a local optimum.
        """
        # Costs around equal shares are a fair start; around the widest model they would be far from its answer.
        levels = self._even(budget)
        if levels is None:
            return None
        best, lost = levels, self._lost(levels)
        # Costs were taken one by one, so an answer may cost more than the knapsack thought; the excess is held back
        # next time.
        slack = 0.0
        for _ in range(ROUNDS):
            spent = self.total(levels)
            widths = choose_widths(self._costs(levels), [line.losses for line in self.lines], budget - spent - slack)
            # The answer reproduces itself: costs around it lead to it again.
            if widths is None or widths == levels:
                break
            levels, now = widths, self.total(widths)
            slack += max(0.0, now - budget)
            if now <= budget and self._lost(levels) < lost:
                best, lost = levels, self._lost(levels)
        return best

    def _costs(self, levels: Levels) -> list[Floats]:
        """What each group costs at each of its widths beyond what it costs now, the others left as they are."""
        gone = self.gone(levels)
        costs = []
        for group, line in enumerate(self.lines):
            parts = self._touched[group]
            each = []
            for level in range(len(line.losses)):
                there = [*gone[:group], line.gone(level), *gone[group + 1 :]]
                each.append(sum(self._share(part, there) for part in parts))
            costs.append(np.asarray(each) - each[levels[group]])
        return costs

    def _lost(self, levels: Levels) -> float:
        return sum(float(line.losses[level]) for line, level in zip(self.lines, levels, strict=True))

    def _even(self, budget: float) -> Levels | None:
        """The least share of its line that every group has to go for a predicted cost within ``budget``."""
        low, high = 0.0, 1.0
        if self.total(self._at(high)) > budget:
            return None
        # 2^-12 is finer than any line of widths.
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (low, middle) if self.total(self._at(middle)) <= budget else (middle, high)
        return self._at(high)

    def _at(self, place: float) -> Levels:
        # Rounded up, towards narrower, so that the bound of the bisection holds at the widths that exist.
        return [int(np.ceil(place * (len(line.losses) - 1))) for line in self.lines]
