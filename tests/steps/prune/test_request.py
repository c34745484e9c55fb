"""What a run starts from, where a plan is replayed."""

from __future__ import annotations

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.steps.prune.request import settings_of_plan


def test_a_plan_brings_what_decides_what_hangs_together() -> None:
    asked = PruneSettings.parse({"ratio": 0.5, "round_to": 4, "steps": 3})
    plan = PruningPlan((), {"cache_heads": True, "free_outputs": ["y"]})
    found = settings_of_plan(asked, plan)
    assert (found.ratio, found.cache_heads, found.free_outputs, found.round_to) == (None, True, ("y",), 4)
    assert found.steps == 1, "what took several steps goes in one"
    assert settings_of_plan(asked, None) is asked
