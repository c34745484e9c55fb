"""What the steps of a run leave together."""

from __future__ import annotations

import pytest

from compressor.steps.prune.pruned import Pruned, begin, finish
from compressor.steps.prune.step import step
from tests.models import weight
from tests.steps.prune.run_case import Begun, started


def finished(case: Begun) -> Pruned:
    pruned = begin(case.run, case.start)
    for settings in case.run.schedule():
        pruned = pruned.after(step(case.run, settings, pruned))
    return finish(case.run, pruned)


def test_steps_add_up() -> None:
    pruned = finished(started(steps=2))
    assert pruned.steps == len(pruned.evidence) == 2
    assert {row.name: (row.channels, row.removed) for row in pruned.rows} == {"w": (16, 8), "v": (8, 4)}
    [first, second] = [r for r in pruned.history.plan().removals if r.initializer in ("w", "v") and r.axes == (0,)]
    assert (len(first.indices), len(second.indices)) == (8, 4)


def test_what_was_there_before_a_step_stays() -> None:
    case = started()
    start = begin(case.run, case.start)
    after = start.after(step(case.run, case.run.settings, start))
    assert not start.history.plan().removals
    assert after.history.replays
    assert after.sealed is not after.model
    assert weight(after.sealed, "w").shape == weight(after.model, "w").shape


@pytest.mark.parametrize(("recover", "proved"), [("none", True), ("bias", False)])
def test_a_proof_is_of_the_weights_that_it_saw(recover: str, proved: bool) -> None:
    case = started(recover=recover, samples=16)
    assert (finished(case).still_proved(case.run.settings) is not None) == proved


def test_the_model_straight_after_the_cut_is_told_of_once() -> None:
    assert finished(started(recover="bias", samples=16)).cut_once is not None
    assert finished(started(recover="bias", samples=16, steps=2)).cut_once is None
