from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compressor.unification.assignment import FREE, PRUNED, UNIFIED, assign_kinds, whole


def best(one: Any, two: Any, prune: int, unify: int) -> float:
    """The least damage of all assignments."""
    costs = []
    for kinds in product((PRUNED, UNIFIED, FREE), repeat=len(one)):
        if kinds.count(PRUNED) == prune and kinds.count(UNIFIED) == unify:
            costs.append(
                sum(one[k] if kind == PRUNED else two[k] if kind == UNIFIED else 0 for k, kind in enumerate(kinds))
            )
    return float(min(costs))


@given(st.data())
def test_no_assignment_does_less_damage(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    prune = data.draw(st.integers(0, count))
    unify = data.draw(st.integers(0, count - prune))
    numbers = st.integers(0, 4) if data.draw(st.booleans()) else st.floats(0, 10)  # few numbers, so that they tie
    two = np.array([data.draw(numbers) for _ in range(count)], float)
    one = two + np.array([data.draw(numbers) for _ in range(count)], float)
    kinds = assign_kinds(one, two, prune, unify)
    assert [(kinds == kind).sum() for kind in (PRUNED, UNIFIED)] == [prune, unify]
    found = one[kinds == PRUNED].sum() + two[kinds == UNIFIED].sum()
    assert found <= best(one, two, prune, unify) * (1 + 1e-9) + 1e-9


def test_many_blocks_of_equal_damage_still_give_the_counts() -> None:
    kinds = assign_kinds(np.zeros(1000), np.zeros(1000), 300, 200)
    assert [(kinds == kind).sum() for kind in (PRUNED, UNIFIED, FREE)] == [300, 200, 500]


def test_shares_are_rounded_down_but_for_rounding_errors() -> None:
    assert [whole(0.3, 10), whole(0.29, 10), whole(1.0, 7), whole(0.1 + 0.2, 10)] == [3, 2, 7, 3]
