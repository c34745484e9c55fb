"""Top-1 and top-5 by their definition, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from compressor.data import Batch
from compressor.errors import UsageError
from compressor.metrics.classes import Top1, Top5, TopK, among, right

RNG = np.random.default_rng(0)


def batch(labels: np.ndarray) -> Batch:
    return Batch({"x": np.zeros((len(labels), 1), np.float32)}, labels)


@pytest.mark.parametrize(("kind", "k"), [(Top1, 1), (Top5, 5)])
def test_shares_are_those_of_scikit_learn(kind: type[TopK], k: int) -> None:
    scores, labels = RNG.normal(size=(300, 12)).astype(np.float32), RNG.integers(0, 12, 300)
    metric = kind()
    for start in range(0, 300, 64):
        part = slice(start, start + 64)
        metric.add({"y": scores[part]}, batch(labels[part]), None)
    assert metric.value() == pytest.approx(top_k_accuracy_score(labels, scores, k=k, labels=np.arange(12)))


def test_the_first_of_equal_scores_comes_first_in_both() -> None:
    scores, labels = RNG.integers(0, 3, (200, 8)).astype(np.float32), RNG.integers(0, 8, 200)
    assert np.array_equal(among(scores, batch(labels), 1)[0], right(scores, batch(labels))[0])


def test_positions_without_a_label_do_not_count() -> None:
    scores = np.moveaxis(np.eye(3, dtype=np.float32)[[[0, 1, 2, 0]]], -1, 1)
    metric = Top1()
    metric.add({"y": scores}, batch(np.array([[0, 1, -100, 2]])), None)
    assert metric.value() == pytest.approx(2 / 3)


def test_tokens_have_their_classes_on_the_last_axis() -> None:
    scores, labels = RNG.normal(size=(2, 7, 30)), RNG.integers(0, 30, (2, 7))
    metric = Top5()
    metric.add({"y": scores}, batch(labels), None)
    order = np.argsort(-scores, -1)[..., :5]
    assert metric.value() == pytest.approx((order == labels[..., None]).any(-1).mean())


def test_labels_of_other_ranks_are_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"labels have shape \[4, 2\] a batch, the first output \[4, 3\]"):
        Top5().add({"y": np.zeros((4, 3))}, batch(np.zeros((4, 2), np.int64)), None)
    with pytest.raises(UsageError, match="classes from 0 to 2"):
        Top5().add({"y": np.zeros((1, 3))}, batch(np.array([3])), None)


def test_nothing_that_counts_is_a_sentence() -> None:
    metric = Top1()
    metric.add({"y": np.zeros((1, 3, 2))}, batch(np.full((1, 2), -100)), None)
    with pytest.raises(UsageError, match="no sample has a label"):
        metric.value()


@pytest.mark.parametrize("kind", [Top1, Top5])
@pytest.mark.parametrize("labels", [[1, 10], [-1, 3]])
def test_labels_that_are_no_classes_are_refused(kind: type[TopK], labels: list[int]) -> None:
    """Numbered from one, none would be met, and a limit on what is lost would be kept by losing everything."""
    with pytest.raises(UsageError, match="the model's classes from 0 to 9"):
        kind().add({"y": np.zeros((2, 10), np.float32)}, batch(np.array(labels)), None)
