"""Union-find against a naive one; terms in their shortest form and in another order."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.channels.labels import FROZEN, Reason, Term, Units, ordered

WHY = Reason("value", "0", "node", "because")
QUICK = settings(max_examples=150, deadline=None)
SIZE = 24
pairs = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1)), min_size=1, max_size=8)
arrays = st.builds(
    lambda shape, seed, kinds: np.random.default_rng(seed).integers(0, kinds, shape),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(0, 2**32 - 1),
    st.integers(1, SIZE),
)


def naive(merges: list[tuple[int, int]]) -> list[int]:
    """Smallest member of each one's class, by relabelling everything at every merge."""
    label = list(range(SIZE))
    for a, b in merges:
        low, high = sorted((label[a], label[b]))
        label = [low if x == high else x for x in label]
    return label


def make() -> Units:
    units = Units()
    units.fresh(SIZE - 1)
    return units


def array(*numbers: int) -> NDArray[np.int64]:
    return np.asarray(numbers, np.int64)


@QUICK
@given(st.lists(pairs, max_size=8))
def test_union_find_is_the_naive_one(batches: list[list[tuple[int, int]]]) -> None:
    units = make()
    merges: list[tuple[int, int]] = []
    for batch in batches:
        before, version = units.find(np.arange(SIZE)), units.version
        one, two = (array(*side) for side in zip(*batch, strict=True))
        changed = units.union(one, two, WHY)
        merges += batch
        found = units.find(np.arange(SIZE))
        np.testing.assert_array_equal(found, naive(merges))
        assert changed == (not np.array_equal(found, before))
        assert units.version == version + changed


@QUICK
@given(st.lists(pairs, max_size=4), st.lists(st.integers(0, SIZE - 1), max_size=3))
def test_freezing_is_merging_with_the_frozen_unit(batches: list[list[tuple[int, int]]], frozen: list[int]) -> None:
    units = make()
    merges = [pair for batch in batches for pair in batch]
    for a, b in merges:
        units.union(array(a), array(b), WHY)
    units.freeze(array(*frozen), WHY)
    np.testing.assert_array_equal(units.find(np.arange(SIZE)), naive(merges + [(0, k) for k in frozen]))


@QUICK
@given(arrays, st.data())
def test_merge_along_forgets_an_axis(labels: NDArray[np.int64], data: st.DataObject) -> None:
    units = make()
    axes = data.draw(st.sets(st.integers(0, labels.ndim - 1)))
    units.merge_along(labels, axes, WHY)
    for axis in axes:
        found = units.find(labels)
        first = np.take(found, [0], axis)
        np.testing.assert_array_equal(found, np.broadcast_to(first, found.shape))


def test_fresh_units_are_new() -> None:
    units = Units()
    first, second = units.fresh(3), units.fresh(2)
    assert first.tolist() == [1, 2, 3]
    assert second.tolist() == [4, 5]
    assert len(units) == 6
    assert units.find(np.arange(6)).tolist() == [0, 1, 2, 3, 4, 5]


def test_the_first_reason_is_remembered() -> None:
    units = make()
    units.union(array(1, 3), array(2, 4), WHY)
    first, second = (Reason("x", "1", node, node) for node in ("first", "second"))
    units.freeze(array(2), first)
    units.freeze(array(1, 4), second)
    causes = units.cause(array(1, 2, 3, 4, 5))
    assert [(freeze.reason.node, count) for freeze, count in causes] == [("first", 2), ("second", 2)]


def test_reasons_reach_units_that_were_merged_before() -> None:
    units = make()
    units.union(array(5), array(6), WHY)
    units.union(array(6), array(7), WHY)
    units.freeze(array(7), Reason("x", "", "node", "late"))
    assert [(f.reason.reason, n) for f, n in units.cause(array(5, 6, 7))] == [("late", 3)]


# ---- canonical ----------------------------------------------------------------------------------------------


@QUICK
@given(arrays, pairs)
def test_canonical_says_the_same_in_fewer_axes(labels: NDArray[np.int64], merges: list[tuple[int, int]]) -> None:
    units = make()
    for a, b in merges:
        units.union(array(a), array(b), WHY)
    term = Term(tuple(range(labels.ndim)), labels)
    short, full = units.canonical(term), units.find(labels)
    if short is None:
        assert not full.any()
        return
    index = tuple(slice(None) if axis in short.axes else None for axis in range(labels.ndim))
    np.testing.assert_array_equal(np.broadcast_to(short.units[index], full.shape), full)
    for position in range(short.units.ndim):
        first = np.take(short.units, [0], position)
        assert (short.units != first).any(), "an axis is left that nothing varies along"


def test_canonical_of_one_unit_has_no_axes() -> None:
    units = make()
    found = units.canonical(Term((1,), array(3, 3, 3)))
    assert found is not None
    assert (found.axes, found.units.tolist()) == ((), 3)


# ---- order --------------------------------------------------------------------------------------------------

ORDERS = [((0, 1), (1, 0)), *(((0, 1, 2), order) for order in ((0, 2, 1), (1, 0, 2), (2, 0, 1), (2, 1, 0), (1, 2, 0)))]


def compact(data: NDArray[np.int64], keep: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """What is left of a tensor in row-major order; None where its rows do not keep the same number.

    The last axis along which ``keep`` varies is ragged: what is kept there may differ from row to row.
    """
    varies = [a for a in range(keep.ndim) if (keep != np.take(keep, [0], a)).any()]
    if not varies:
        return data if keep.all() else None
    counts = np.unique(keep.sum(axis=varies[-1]))
    if len(counts) > 1 or not counts[0]:
        return None
    return data[keep].reshape([*keep.shape[: varies[-1]], counts[0], *keep.shape[varies[-1] + 1 :]])


@pytest.mark.parametrize(("axes", "order"), ORDERS)
def test_what_is_kept_of_a_turned_term_is_what_is_kept_turned(axes: tuple[int, ...], order: tuple[int, ...]) -> None:
    """Removal and transposition commute for every removal that a turned term still allows."""
    shape = (2, 3, 2)[: len(axes)]
    units = Units()
    labels = units.fresh(int(np.prod(shape))).reshape(shape)
    turned = ordered(units, Term(axes, labels), order, WHY)
    assert turned.axes == order
    place = [axes.index(a) for a in order]
    np.testing.assert_array_equal(turned.units, units.find(labels).transpose(place))
    data = np.arange(labels.size).reshape(shape)
    roots, checked = np.unique(units.find(labels)), 0
    for gone in product([False, True], repeat=len(roots)):
        keep = ~np.isin(units.find(labels), roots[list(gone)])
        before, after = compact(data, keep), compact(data.transpose(place), keep.transpose(place))
        if before is not None and after is not None:
            np.testing.assert_array_equal(before.transpose(place), after)
            checked += 1
    assert checked > 1


def test_terms_in_order_are_left_alone() -> None:
    units = make()
    term = Term(("h", "d"), np.arange(1, 7).reshape(2, 3))
    assert ordered(units, term, ("b", "h", "t", "d"), WHY) is term
    assert units.version == 0


def test_ordering_keeps_the_longest_run() -> None:
    """Of (2, 8) turned round, the axis of size 8 stays free and the rows of size 2 merge."""
    units = Units()
    labels = units.fresh(16).reshape(2, 8)
    turned = ordered(units, Term(("g", "c"), labels), ("c", "g"), WHY)
    assert len(np.unique(turned.units)) == 8
    np.testing.assert_array_equal(units.find(labels[0]), units.find(labels[1]))


def test_rows_of_a_term() -> None:
    assert Term((0, 1, 2), np.arange(12).reshape(2, 3, 2)).rows().shape == (6, 2)


def test_the_frozen_unit_is_zero() -> None:
    assert FROZEN == 0
    assert Units().find(array(0)).tolist() == [0]


def test_a_frozen_set_stays_out_of_later_reasons() -> None:
    """Who is merged with a frozen unit later is frozen for the later reason; who was frozen first, for the first."""
    units, later = make(), Reason("value", "1", "other", "because too")
    units.union(array(3), array(5), WHY)
    units.freeze(array(5), WHY)
    units.union(array(3, 7), array(9, 8), later)
    assert units.find(array(3, 5, 9, 7, 8)).tolist() == [FROZEN, FROZEN, FROZEN, 7, 7]
    reasons = {u: [f.reason for f, _ in units.cause(array(u))] for u in (3, 5, 9, 7)}
    assert reasons == {3: [WHY], 5: [WHY], 9: [later], 7: []}
