"""Covers: units of unlike patterns that are level together."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compressor.channels.covers import SEARCH_PATTERNS, covers

Counts = np.ndarray
pattern = st.lists(st.integers(0, 2), min_size=5, max_size=5).filter(any)
patterns = st.lists(pattern, min_size=1, max_size=5, unique_by=tuple)


def is_level(taken: Counts, given_patterns: Counts, rows: list[int]) -> bool:
    bounds = [0, *np.cumsum(rows).tolist()]
    counts = taken @ given_patterns
    return all(len(set(counts[low:high].tolist())) == 1 for low, high in pairwise(bounds))


@settings(max_examples=150, deadline=None)
@example([[0, 1, 2, 0, 0], [1, 0, 1, 0, 0], [2, 2, 0, 0, 1], [0, 0, 1, 2, 0], [0, 2, 1, 0, 0]], [1, 3, 2, 1, 1], [3, 2])
@given(patterns, st.lists(st.integers(1, 3), min_size=5, max_size=5), st.sampled_from([[5], [3, 2], [2, 3]]))
def test_covers_are_level_and_take_all_where_all_are_level(
    found: list[list[int]], available: list[int], rows: list[int]
) -> None:
    array, left = np.asarray(found), np.asarray(available[: len(found)])
    total = np.zeros_like(left)
    for cover, times in covers(array, rows, left):
        assert times > 0
        assert cover.any()
        assert is_level(cover, array, rows)
        total += cover * times
    assert (total <= left).all()
    assert not is_level(left, array, rows) or (total == left).all()


@pytest.mark.parametrize("groups", [2, 3, 8])
def test_two_splits_that_cross_need_one_unit_of_each_row(groups: int) -> None:
    """A unit in group i of one convolution and j of another: covers are permutations (Birkhoff)."""
    found = np.asarray([[*np.eye(groups, dtype=int)[i], *np.eye(groups, dtype=int)[j]]
                        for i in range(groups) for j in range(groups)])  # fmt: skip
    made = list(covers(found, [groups, groups], np.full(groups**2, 2)))
    assert all(cover.sum() == groups for cover, _ in made)
    assert sum(times for _, times in made) == 2 * groups


def test_several_units_of_one_pattern() -> None:
    """Three groups of 32 and twelve more channels, joined and cut into three groups again: the groups of both cross."""
    firsts, joined = np.repeat([-1, 0, 1, 2], [12, 32, 32, 32]), np.repeat([0, 1, 2], 36)
    rows = [[*(int(f == k) for k in range(3)), *(int(j == k) for k in range(3))]
            for f, j in zip(firsts, joined, strict=True)]  # fmt: skip
    found, available = np.unique(rows, axis=0, return_counts=True)
    made = list(covers(found, [3, 3], available))
    left = available - sum(cover * times for cover, times in made)
    assert not left.any()
    assert max(int(cover.max()) for cover, _ in made) == 3
    assert min(int(cover.sum()) for cover, _ in made) == 3


def test_what_stands_in_a_split_with_an_empty_row_has_no_cover() -> None:
    assert list(covers(np.asarray([[1, 0, 0], [0, 1, 0]]), [3], np.asarray([4, 4]))) == []


def test_of_very_many_patterns_all_are_taken_together() -> None:
    """Two units for each row are not searched among, but all of them are level."""
    rows = SEARCH_PATTERNS
    found = np.concatenate([np.eye(rows, dtype=int), 2 * np.eye(rows, dtype=int)])
    ((cover, times),) = covers(found, [rows], np.ones(2 * rows, int))
    assert (cover == 1).all()
    assert times == 1
