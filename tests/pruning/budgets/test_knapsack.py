"""One width a group, least lost within the budget: held against all choices."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.pruning.budgets import knapsack
from compressor.pruning.budgets.knapsack import choose_widths

WHOLE = st.integers(-5, 20).map(float)
GROUP = st.lists(st.tuples(WHOLE, WHOLE), min_size=1, max_size=4)
GROUPS = st.lists(GROUP, min_size=1, max_size=5)


def split(groups):
    costs = [np.asarray([cost for cost, _ in group]) for group in groups]
    return costs, [np.asarray([loss for _, loss in group]) for group in groups]


def all_choices(groups, budget):
    """Cost and loss of every choice within the budget."""
    for chosen in product(*groups):
        cost = sum(one for one, _ in chosen)
        if cost <= budget:
            yield cost, sum(loss for _, loss in chosen)


def total(groups, widths):
    return tuple(sum(group[k][side] for group, k in zip(groups, widths, strict=True)) for side in (0, 1))


@given(GROUPS, st.integers(-10, 60).map(float))
def test_as_good_as_the_best_of_all_choices(groups, budget):
    found = choose_widths(*split(groups), budget)
    best = min((loss for _, loss in all_choices(groups, budget)), default=None)
    if best is None:
        assert found is None
    else:
        assert found is not None
        cost, loss = total(groups, found)
        assert cost <= budget
        assert loss == best


@given(st.lists(st.lists(st.tuples(WHOLE, WHOLE), min_size=2, max_size=6), min_size=3, max_size=6))
def test_thinned_out_it_keeps_to_the_budget_and_to_its_promise(groups):
    costs, losses = split(groups)
    least = sum(float(cost.min()) for cost in costs)
    most = sum(float(cost.max()) for cost in costs)
    budget = (least + most) / 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knapsack, "STATES_KEPT", 8)
        found = choose_widths(costs, losses, budget)
    assert found is not None
    cost, loss = total(groups, found)
    assert cost <= budget
    smaller = budget - len(groups) * (budget - least) / (8 - 1)
    assert loss <= min((loss for _, loss in all_choices(groups, smaller)), default=np.inf)


def test_no_group():
    assert choose_widths([], [], 0.0) == []
    assert choose_widths([], [], -1.0) is None


def test_many_groups_of_many_widths():
    rng = np.random.default_rng(0)
    losses = [np.concatenate([[0.0], np.cumsum(rng.random(31))]) for _ in range(60)]
    costs = [np.concatenate([[0.0], np.cumsum(-rng.random(31))]) for _ in range(60)]
    most = sum(float(cost[-1]) for cost in costs)
    found = choose_widths(costs, losses, most / 2)
    assert found is not None
    spent = sum(float(cost[k]) for cost, k in zip(costs, found, strict=True))
    assert most / 2 * 1.001 <= spent <= most / 2
    even = [next(k for k in range(32) if float(cost[k]) <= float(cost[-1]) / 2) for cost in costs]
    lost = [sum(float(loss[k]) for loss, k in zip(losses, widths, strict=True)) for widths in (found, even)]
    assert lost[0] < lost[1]
