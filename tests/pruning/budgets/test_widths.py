"""Widths that lose least within a predicted time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from compressor.pruning.budgets.widths import RANDOM_MODELS
from tests.latency.case import residual, widths_of


def lost(widths, levels):
    return sum(float(line.losses[level]) for line, level in zip(widths.lines, levels, strict=True))


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("budget", [0.15, 0.3, 0.5, 0.8, 0.95])
def test_within_the_budget_and_near_it(scope, budget):
    widths = widths_of(residual(), scope=scope)
    levels = widths.within(budget)
    assert levels is not None
    assert widths.total(levels) <= budget
    assert widths.total(levels) > budget - 0.12


@pytest.mark.parametrize("budget", [0.25, 0.5, 0.75])
def test_nearly_as_good_as_the_best_of_all_widths(budget):
    widths = widths_of(residual(32))
    every = product(*(range(len(line.losses)) for line in widths.lines))
    best = min(lost(widths, list(levels)) for levels in every if widths.total(list(levels)) <= budget)
    found = widths.within(budget)
    assert found is not None
    assert lost(widths, found) <= 1.15 * best + 1e-9


def test_better_than_the_same_share_everywhere():
    widths = widths_of(residual(128))
    found = widths.within(0.4)
    even = next(levels for k in range(32) if widths.total(levels := [min(k, len(w.losses) - 1) for w in widths.lines])
                <= 0.4)  # fmt: skip
    assert found is not None
    assert lost(widths, found) < lost(widths, even)


def test_no_widths_are_fast_enough():
    assert widths_of(residual(), max_ratio=0.5).within(0.01) is None


def test_own_ratios_hold():
    widths = widths_of(residual(), layer_ratio=[("stem", 0.5), ("b1", 0.0)])
    of = {line.group.name: line for line in widths.lines}
    assert [of["stem"].gone(k) for k in range(len(of["stem"].losses))] == [0.5]
    assert [of["b1"].gone(k) for k in range(len(of["b1"].losses))] == [0.0]


def test_losses_rise_and_widths_are_multiples():
    for line in widths_of(residual(), round_to=8).lines:
        assert (np.diff(line.losses) > 0).all()
        assert all((line.group.channels - len(units)) % 8 == 0 for units in line.removed)


def test_samples_spread_over_every_line():
    widths = widths_of(residual(128))
    found = np.asarray(widths.samples(seed=0))
    assert found[0].tolist() == widths.widest
    assert found[1].tolist() == widths.narrowest
    for column, line in zip(found[2:].T, widths.lines, strict=True):
        assert len(set(column.tolist())) >= min(RANDOM_MODELS, len(line.losses)) - 1
    assert widths.samples(seed=0) == widths.samples(seed=0)
