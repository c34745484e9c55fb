"""Amounts of pruning in several steps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.config import PruneSettings
from compressor.pruning.budgets.budget import Goal
from compressor.pruning.budgets.schedule import SCHEDULES, kept, part_of, steps_of


@given(st.sampled_from(sorted(SCHEDULES)), st.floats(0.05, 0.95), st.integers(1, 20))
def test_ratios_grow_to_the_one_asked_for(schedule: str, ratio: float, steps: int) -> None:
    asked = PruneSettings.parse({"ratio": ratio, "schedule": schedule, "steps": steps})
    found = list(steps_of(asked))
    ratios = [s.ratio or 0.0 for s in found]
    assert len(ratios) == steps
    assert ratios[-1] == ratio
    assert all(a < b for a, b in pairwise([0.0, *ratios]))
    assert [s.steps for s in found] == list(range(steps, 0, -1))


def test_cubic_is_fast_at_first_and_exponential_takes_the_same_factor() -> None:
    kept = {name: [SCHEDULES[name](0.4, t / 4) for t in range(5)] for name in SCHEDULES}
    assert kept["linear"] == pytest.approx([1.0, 0.85, 0.7, 0.55, 0.4])
    assert kept["cubic"] == pytest.approx([1.0, 0.4 + 0.6 * 0.421875, 0.475, 0.409375, 0.4])
    factors = [b / a for a, b in pairwise(kept["exponential"])]
    assert factors == pytest.approx([0.4**0.25] * 4)


def test_a_step_takes_the_smallest_part_of_what_meets_the_target_that_leaves_what_it_may_keep() -> None:
    asked = PruneSettings.parse({"target_params": 0.4, "steps": 3, "schedule": "linear"})
    removed = {"a": np.arange(50)[::-1], "b": np.arange(50, 60)}
    goal = Goal(lambda units: 100.0 - len(units), 100.0, 0.4, "units")
    for left, least in ((3, 20), (2, 40), (1, 60)):
        part = part_of(removed, goal, kept(asked, left, goal.share))
        assert least <= sum(map(len, part.values())) <= least + 1
        assert all(part[name].tolist() == removed[name][: len(part[name])].tolist() for name in removed)
        assert len(part["a"]) // 5 == len(part["b"])
    assert part_of({}, goal, 0.7) == {}


def test_own_ratios_of_layers_follow() -> None:
    asked = PruneSettings.parse({"ratio": 0.5, "layer_ratio": ("a*=0.8",), "steps": 2, "schedule": "linear"})
    assert next(iter(steps_of(asked))).layer_ratio == (("a*", pytest.approx(0.4)),)
