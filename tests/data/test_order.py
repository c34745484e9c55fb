"""Orders, parts and batches: every sample once, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from compressor.data import Batch, Indices, all_labels, batches, shuffled, split_dataset, subset
from tests.data.case import everything


class Numbers:
    """Sample k is the number k; foreign to the room, so that labels have to be read."""

    def __init__(self, labels: np.ndarray | int) -> None:
        self._labels = None if isinstance(labels, int) else labels
        self._count = labels if isinstance(labels, int) else len(labels)

    @property
    def labelled(self) -> bool:
        return self._labels is not None

    def __len__(self) -> int:
        return self._count

    def take(self, indices: Indices) -> Batch:
        return Batch({"x": indices.astype(np.float32)}, None if self._labels is None else self._labels[indices])


def contents(dataset: object) -> list[int]:
    return [int(k) for batch in batches(dataset, 7) for k in batch.inputs["x"]]  # type: ignore[arg-type]


def test_each_epoch_has_its_own_order() -> None:
    orders = [shuffled(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert sorted(order) == list(range(50))
        assert order.dtype == np.int64
    assert len({tuple(order) for order in orders}) == 4
    np.testing.assert_array_equal(shuffled(50, 1, 1), orders[3])


def test_a_subset_is_drawn_without_repetition() -> None:
    found = contents(subset(Numbers(30), 12, 0))
    assert len(set(found)) == 12
    assert found != sorted(found)
    assert found == contents(subset(Numbers(30), 12, 0)) != contents(subset(Numbers(30), 12, 1))
    assert sorted(contents(subset(Numbers(30), 99, 0))) == list(range(30))


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 99),
    labelled=st.booleans(),
)
@hypothesis_settings(deadline=None)
def test_parts_share_no_sample_and_miss_none(labels: list[int], share: float, seed: int, labelled: bool) -> None:
    data = Numbers(np.array(labels) if labelled else len(labels))
    count = min(max(round(share * len(labels)), 1), len(labels) - 1) if share else 0
    rest, part = split_dataset(data, share, seed)
    assert len(part) == count
    assert sorted(contents(rest) + contents(part)) == list(range(len(labels)))
    assert contents(part) == contents(split_dataset(data, share, seed)[1])
    if labelled:
        for name in set(labels):
            exact = count * labels.count(name) / len(labels)
            found = int((np.asarray(all_labels(part)) == name).sum())
            assert abs(found - exact) < 1


def test_what_rounding_leaves_goes_to_the_largest_remainders() -> None:
    sizes = {0: 60, 1: 29, 2: 11}
    _, part = split_dataset(Numbers(np.repeat(list(sizes), list(sizes.values()))), 0.05, 0)
    assert np.bincount(np.asarray(all_labels(part))).tolist() == [3, 1, 1], "of 3, 1.45 and 0.55"


@pytest.mark.parametrize(("count", "judged"), [(8, 2), (100, 25), (256, 64), (500, 64), (2000, 200), (1, 0)])
def test_unless_told_enough_are_set_aside_to_tell_something(count: int, judged: int) -> None:
    train, valid = split_dataset(Numbers(count), None, 0)
    assert (len(train), len(valid)) == (count - judged, judged)


@given(count=st.integers(1, 40), size=st.integers(1, 12), drop_last=st.booleans())
def test_batches_hold_every_sample_once(count: int, size: int, drop_last: bool) -> None:
    order = shuffled(count, 0, 0)
    found = list(batches(Numbers(np.arange(count)), size, order=order, drop_last=drop_last))
    sizes = [len(batch) for batch in found]
    assert sizes[:-1] == [size] * (len(sizes) - 1) if sizes else drop_last
    kept = count // size * size if drop_last else count
    assert sum(sizes) == kept
    if found:
        np.testing.assert_array_equal(np.concatenate([b.inputs["x"] for b in found]), order[:kept])
        np.testing.assert_array_equal(np.concatenate([b.labels for b in found if b.labels is not None]), order[:kept])


def test_parts_of_parts_keep_their_labels() -> None:
    rest, _ = split_dataset(subset(Numbers(np.arange(40) % 4), 32, 3), 0.25, 0)
    labels = all_labels(rest)
    assert labels is not None
    np.testing.assert_array_equal(labels, np.array(contents(rest)) % 4)
    np.testing.assert_array_equal(rest.take(everything(5)).labels, labels[:5])
    assert all_labels(subset(Numbers(9), 3, 0)) is None


@pytest.mark.parametrize(("count", "batch", "judged"), [(9, 3, 3), (5, 3, 0), (100, 8, 8), (100, 32, 32), (40, 1, 4)])
def test_a_model_of_a_fixed_batch_is_judged_on_whole_ones(count: int, batch: int, judged: int) -> None:
    whole = Numbers(count)
    train, valid = split_dataset(whole, 0.1, 0, batch)
    assert (len(train), len(valid)) == (count - judged, judged)
