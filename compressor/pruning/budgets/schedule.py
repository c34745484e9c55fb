"""Pruning in several steps: how much of the original each step leaves."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from compressor.config import PruneSettings
from compressor.pruning.budgets.budget import Goal, Removed

ShareSchedule = Callable[[float, float], float]
"""The share kept at time t in 0..1 of a run that keeps the share k in the end: (k, t) -> share."""

SCHEDULES: Mapping[str, ShareSchedule] = MappingProxyType(
    {
        "linear": lambda kept, t: 1 - (1 - kept) * t,
        "cubic": lambda kept, t: kept + (1 - kept) * (1 - t) ** 3,
        "exponential": lambda kept, t: kept**t,
    }
)
"""Linear; fast at first, when much can go (Zhu and Gupta, arXiv 1710.01878, eq. 1); the same factor in each step."""


def kept(settings: PruneSettings, left: int, share: float) -> float:
    """The share that a step keeps.

    Args:
        settings: of the run; ``steps`` and ``schedule`` say how many steps it has, and how fast it goes.
        left: steps that are left, with this one.
        share: kept in the end.
    """
    return SCHEDULES[settings.schedule](share, (settings.steps + 1 - left) / settings.steps)


def steps_of(settings: PruneSettings) -> Iterator[PruneSettings]:
    """The settings of each step, ``steps`` being those left with it; ratios are shares of the original.

    Targets stay as they are: how far a step goes towards one follows from what meets it (:func:`part_of`).
    """
    # The last step takes the amounts as they were given, so that rounding of a schedule cannot miss them.
    for left in range(settings.steps, 1, -1):
        # Schedules speak of what is kept, a ratio of what goes.
        ratio = None if settings.ratio is None else 1 - kept(settings, left, 1 - settings.ratio)
        owns = tuple((glob, 1 - kept(settings, left, 1 - own)) for glob, own in settings.layer_ratio)
        yield settings.model_copy(update={"steps": left, "ratio": ratio, "layer_ratio": owns})
    yield settings.end


def part_of(removed: Removed, goal: Goal, share: float) -> Removed:
    """Of what meets a target as much as goes on the way to it: the same part of each group, the weakest units first.

    Whatever goes before the last step stays gone. Within what meets the target, it leaves the rest of that to the
    steps that follow, so that no number of steps puts a target out of reach.

    Args:
        removed: units by group, each in the order in which they go.
        goal: what they meet.
        share: of the original, of which at most so much is left after the step.
    """
    parts = max(map(len, removed.values()), default=0)

    def first(count: int) -> Removed:
        return {name: units[: len(units) * count // parts] for name, units in removed.items()} if parts else {}

    # What is left never grows as more goes, so the smallest part is found by bisection.
    return first(bisect_left(range(parts), -share, key=lambda count: -goal.left_without(first(count))))
