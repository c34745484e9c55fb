"""Intervals, excess error and prune potential, against what is known about them."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.core.intervals import wilson
from compressor.evaluate.excess import DIFFERENCE, SHARE, estimates, excess_error, extra_errors, potential
from compressor.evaluate.shift_rows import Tally, accuracy_rows, likeness_rows, potential_rows, shift_groups
from compressor.evaluate.shifts import Shift
from compressor.results.robustness import Estimate

PLAN = [Shift("clean"), Shift("noise", 0.5, 2), Shift("blur", 1), Shift("blur", 2), Shift("jpeg", 1)]


@pytest.mark.parametrize("bounds", [None, SHARE])
def test_intervals_hold_the_mean_as_often_as_they_say(bounds: tuple[float, float] | None) -> None:
    rng, held = np.random.default_rng(0), 0
    for seed in range(200):
        found = estimates([(rng.random(300) < 0.8).astype(float)], 0.9, seed, bounds)[0]
        held += found.low <= 0.8 <= found.high
    assert 165 <= held <= 193


def test_what_is_paired_stays_paired():
    original = (np.random.default_rng(0).random(500) < 0.7).astype(float)
    other = np.where(np.arange(500) == 0, 1 - original, original)
    (alone,) = estimates([original], 0.95, 0, SHARE)
    (difference,) = estimates([extra_errors(original, other)], 0.95, 0, DIFFERENCE)
    assert alone.high - alone.low > 0.05
    assert difference.high - difference.low < 0.01


def test_what_all_samples_agree_on_is_no_point() -> None:
    for count, low in ((1, 0.2065), (4, 0.5101)):
        (share,) = estimates([np.ones(count)], 0.95, 0, SHARE)
        assert (share.value, share.low, share.high) == pytest.approx((1, low, 1), abs=1e-4)
        (difference,) = estimates([np.zeros(count)], 0.95, 0, DIFFERENCE)
        assert (difference.low, difference.high) == pytest.approx((low - 1, 1 - low), abs=1e-4)
    (hits,) = estimates([np.array([1.0, 0, 1, 1])], 0.95, 0, SHARE)
    assert (hits.low, hits.high) == pytest.approx(wilson(3, 4))


def test_one_sample_tells_no_interval_of_a_distance() -> None:
    (found,) = estimates([np.array([0.25])], 0.95, 0)
    assert found.value == 0.25
    assert np.isnan([found.low, found.high]).all()


def test_infinities_and_nan_do_not_stop_it():
    found = estimates([np.array([1.0, np.inf]), np.array([1.0, np.nan])], 0.9, 0)
    assert found[0].value == np.inf
    assert np.isnan(found[1].value)


def test_excess_error_is_the_difference_of_differences():
    rng = np.random.default_rng(0)
    right = {key: (rng.random(50) < 0.6).astype(float) for key in ("f clean", "f shift", "g clean", "g shift")}
    error = {key: 1 - value.mean() for key, value in right.items()}
    expected = (error["g shift"] - error["g clean"]) - (error["f shift"] - error["f clean"])
    found = excess_error(
        extra_errors(right["f shift"], right["g shift"]), extra_errors(right["f clean"], right["g clean"])
    )
    assert found.mean() == pytest.approx(expected)


def test_the_potential_is_the_most_that_is_saved_within_the_margin():
    losses = {
        "B": Estimate(value=0.001, low=-0.01, high=0.004),
        "C": Estimate(value=0.004, low=-0.002, high=0.01),
        "D": Estimate(value=0.02, low=0.005, high=0.03),
        "E": Estimate(value=0.2, low=0.1, high=0.3),
    }
    saved = {"B": 0.3, "C": 0.5, "D": 0.7, "E": 0.9}
    found = potential("clean", 0.0, losses, saved, 0.005)
    assert (found.value, found.low, found.high, found.model) == (0.5, 0.3, 0.7, "C")
    none = potential("clean", 0.0, losses, saved, -1.0)
    assert (none.value, none.low, none.high, none.model) == (0, 0, 0, None)


def test_groups_end_with_means():
    found = [(group.shift, group.level, group.members) for group in shift_groups(PLAN)]
    assert found == [
        ("clean", 0, (0,)),
        ("noise", 0.5, (1,)),
        ("blur", 1, (2,)),
        ("blur", 2, (3,)),
        ("blur", None, (2, 3)),
        ("jpeg", 1, (4,)),
        ("jpeg", None, (4,)),
        ("corruptions", None, (2, 3, 4)),
    ]


def test_rows_are_means_over_draws_and_severities():
    tally = Tally(PLAN, 4)
    for model, shifted in ((0, 1.0), (1, 0.5)):
        for number, shift in enumerate(PLAN):
            for draw in range(shift.draws):
                value = 1.0 if number == 0 else shifted * draw if number == 1 else shifted / number
                tally.add((model, "", "right"), number, 0, np.full(3, value))
                tally.add((model, "", "right"), number, 3, np.full(1, np.nan))
                if model:
                    tally.add((1, "y", "relative_error"), number, 0, np.full(4, value))
    rows = {(r.model, r.shift, r.level): r for r in accuracy_rows(tally, ["A", "B"], 0.95, 0)}
    assert rows["A", "clean", 0].accuracy.value == 1, "samples without labels do not count"
    assert rows["A", "noise", 0.5].accuracy.value == 0.5, "the mean of two draws, 0 and 1"
    assert rows["B", "blur", None].accuracy.value == pytest.approx((0.25 + 0.5 / 3) / 2)
    assert rows["A", "blur", None].lost is None
    assert rows["B", "jpeg", 1].excess_error.value == pytest.approx(0.125)
    likeness = likeness_rows(tally, ["A", "B"], 0.95, 0)
    assert [row.shift for row in likeness] == [group.shift for group in shift_groups(PLAN)]
    assert likeness[0].agreement is None
    potentials = potential_rows(list(rows.values()), {"B": 0.4}, 0.1)
    assert [row.value for row in potentials][:2] == [0.4, 0]
    tally.drop("y")
    assert tally.outputs == []
