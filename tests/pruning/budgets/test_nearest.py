"""Of several tries that which comes nearest to a goal counts, and not the last one."""

from __future__ import annotations

import pytest

from compressor.errors import TargetOutOfReach
from compressor.pruning.budgets.budget import Goal
from compressor.pruning.budgets.nearest import nearest_of


def tried(lefts: dict[str, float | None], *, ceiling: bool = False) -> tuple[str, list[str]]:
    """Which of some options, by what is left with each, is taken for a goal of half, and those that were tried."""
    goal, asked = Goal(lambda _: 0.0, 1.0, 0.5, "MACs", ceiling=ceiling), []

    def attempt(option: str) -> str:
        asked.append(option)
        if lefts[option] is None:
            raise TargetOutOfReach(option)
        return option

    return nearest_of(lefts, attempt, goal, lambda option: lefts[option] or 0.0), asked


def test_the_first_option_that_is_near_enough_is_taken() -> None:
    assert tried({"a": 0.6, "b": 0.505, "c": 0.5}) == ("b", ["a", "b"])


def test_else_the_nearest_of_all_is_taken_and_not_the_last() -> None:
    assert tried({"a": None, "b": 0.53, "c": 0.4}) == ("b", ["a", "b", "c"])


def test_nothing_above_a_ceiling_is_nearer_than_what_is_below() -> None:
    assert tried({"a": 0.501, "b": 0.3, "c": 0.7}, ceiling=True)[0] == "b"


def test_what_no_option_reaches_is_said_by_the_last() -> None:
    with pytest.raises(TargetOutOfReach, match="b"):
        tried({"a": None, "b": None})
