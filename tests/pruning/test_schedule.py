"""Amounts of pruning in several steps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.config import PruneSettings
from compressor.pruning.schedule import SCHEDULES, steps_of


@given(st.sampled_from(sorted(SCHEDULES)), st.floats(0.05, 0.95), st.integers(1, 20))
def test_ratios_grow_to_the_one_asked_for(schedule: str, ratio: float, steps: int) -> None:
    asked = PruneSettings.parse({"ratio": ratio, "schedule": schedule, "steps": steps})
    found = list(steps_of(asked, 1))
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


def test_sizes_in_bytes_are_shares_of_the_file() -> None:
    asked = PruneSettings.parse({"target_size": "500", "steps": 2, "schedule": "linear"})
    first, last = steps_of(asked, 1000)
    assert first.target_size == pytest.approx(0.75)
    assert last.target_size == 500


def test_own_ratios_of_layers_follow() -> None:
    asked = PruneSettings.parse({"ratio": 0.5, "layer_ratio": ("a*=0.8",), "steps": 2, "schedule": "linear"})
    assert next(iter(steps_of(asked, 1))).layer_ratio == (("a*", pytest.approx(0.4)),)
