"""Rows are put where those are that are nearest to them, and what has no counterpart is told."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compressor.core.row_order import OFF, in_order_of


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 4))
def test_a_permutation_is_undone_within_each_place(seed: int, count: int, features: int) -> None:
    rng = np.random.default_rng(seed)
    # Rows that differ by much more than what counts as the same.
    one = rng.standard_normal((2, count, features)) + 10 * np.arange(count)[:, None]
    two = np.stack([part[rng.permutation(count)] for part in one])
    rows = in_order_of(one, two)
    assert rows is not None
    np.testing.assert_array_equal(rows.array, one)
    assert bool(rows.moved) == (not np.array_equal(one, two))
    assert rows.furthest < count
    assert not rows.strangers.any()


def test_rows_do_not_cross_over_to_another_place() -> None:
    one = np.arange(8.0).reshape(2, 2, 2)
    rows = in_order_of(one, one[::-1])
    assert rows is not None
    assert rows.strangers.all()


def test_what_is_in_one_alone_stays_off() -> None:
    one = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    two = np.array([[2.0, 2.0], [1.0, 1.0], [9.0, 9.0]])
    rows = in_order_of(one, two)
    assert rows is not None
    assert rows.strangers.tolist() == [False, False, True]
    assert rows.without_strangers(one).tolist() == one.tolist()
    assert rows.array[2].tolist() == [9.0, 9.0]


def test_rows_that_are_near_stay_where_they_are() -> None:
    one = np.array([[1.0, 1.0], [2.0, 2.0]])
    rows = in_order_of(one, one * (1 + OFF / 4))
    assert rows is not None
    assert not rows.moved
    assert not rows.strangers.any()


def test_what_has_no_rows_is_left_alone() -> None:
    for one, two in (
        (np.ones(3), np.ones(3)),
        (np.ones((2, 2)), np.ones((2, 3))),
        (np.ones((2, 2), np.int64), np.ones((2, 2), np.int64)),
        (np.ones((0, 2)), np.ones((0, 2))),
    ):
        assert in_order_of(one, two) is None
