"""What comes nearest to a goal, of options that are tried in turn: step sizes, and by how much it may be missed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from compressor.config import PruneSettings
from compressor.errors import TargetOutOfReach
from compressor.pruning.budgets.budget import Goal

Option = TypeVar("Option")
Found = TypeVar("Found")


def finer(settings: PruneSettings) -> Iterator[PruneSettings]:
    """The settings and, where nobody asked for its multiples, the same with ``round_to`` halved, down to 1."""
    yield settings
    step = settings.round_to
    while step > 1 and not settings.given("round_to"):
        step //= 2
        yield settings.model_copy(update={"round_to": step})


def nearest_of(
    options: Iterable[Option], attempt: Callable[[Option], Found], goal: Goal, left: Callable[[Found], float]
) -> Found:
    """What comes of the first option that is near enough to a goal; of none that is, what comes nearest.

    Args:
        options: in the order in which they are preferred; at least one.
        attempt: what comes of an option; raises TargetOutOfReach where nothing does.
        goal: to come near to.
        left: the share that is left with what came.

    Raises:
        TargetOutOfReach: nothing comes of any option; the error is that of the last, which are the finest steps.
    """
    best: tuple[tuple[bool, float], Found] | None = None
    missed: TargetOutOfReach | None = None
    for option in options:
        try:
            found = attempt(option)
        except TargetOutOfReach as error:
            missed = error
            continue
        away = goal.away(left(found))
        # Finer steps need not come nearer, so the last is no better than any other.
        if best is None or away < best[0]:
            best = away, found
        if goal.near(left(found)):
            break
    if best is None:
        raise missed or AssertionError("no option")
    return best[1]
