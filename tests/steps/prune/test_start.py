"""What the first step of a run starts from."""

from __future__ import annotations

from compressor.channels.plan import PruningPlan

from .run_case import started


def test_nothing_is_left_open_and_no_samples_are_made_where_none_are_needed() -> None:
    start = started().start
    assert (start.settings.recover, start.settings.scope, start.samples, start.notes) == ("none", "local", None, ())
    assert start.before.params > 0
    assert start.source is start.read.model


def test_a_run_that_learns_from_samples_gets_made_up_ones() -> None:
    start = started(recover="lstsq", samples=8).start
    assert start.samples is not None
    assert len(start.samples.train) >= 8


def test_a_plan_that_removes_nothing_says_so() -> None:
    assert "the plan removes nothing, so that no channel went" in started(PruningPlan(())).start.notes
