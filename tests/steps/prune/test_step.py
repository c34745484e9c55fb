"""A step gives a value and leaves what it was given as it was."""

from __future__ import annotations

import dataclasses

import pytest

from compressor.errors import NothingToProve, NothingToPrune, TargetOutOfReach
from compressor.steps.prune import step as module
from compressor.steps.prune.pruned import begin
from compressor.steps.prune.step import step
from tests.models import weight
from tests.steps.prune.run_case import started


def test_a_step_can_be_taken_twice() -> None:
    case = started()
    start = begin(case.run, case.start)
    one, two = (step(case.run, case.run.settings, start) for _ in range(2))
    assert one.choice.plan == two.choice.plan
    assert one.rows == two.rows
    assert (start.steps, start.evidence, start.rows) == (0, (), ())
    assert weight(one.recovered.model, "w").shape == weight(two.recovered.model, "w").shape == (8, 4, 3, 3)
    assert weight(start.model, "w").shape == (16, 4, 3, 3)


def test_every_cut_is_proved() -> None:
    case = started()
    result = step(case.run, case.run.settings, begin(case.run, case.start))
    assert [proof.passed for proof in result.evidence] == [True]
    assert result.last
    assert not result.warnings


def test_reasons_are_given_where_nothing_can_go() -> None:
    case = started(round_to=16, exclude=("v",))
    with pytest.raises(NothingToPrune) as raised:
        step(case.run, case.run.settings, begin(case.run, case.start))
    assert raised.value.frozen


@pytest.mark.parametrize("error", [NothingToProve, TargetOutOfReach])
def test_only_that_nothing_is_left_ends_a_later_step_well(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = started()
    later = dataclasses.replace(begin(case.run, case.start), steps=1)

    def raising(refusal: type[Exception]) -> None:
        def refused(*_: object) -> None:
            raise refusal("as asked")

        monkeypatch.setattr(module, "chosen_changes", refused)

    raising(NothingToPrune)
    assert not step(case.run, case.run.settings, later).choice.plan.removals
    raising(error)
    with pytest.raises(error, match="as asked"):
        step(case.run, case.run.settings, later)
