"""Mean IoU by its definition, beside scikit-learn's Jaccard index."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from compressor.data import Batch
from compressor.errors import UsageError
from compressor.metrics.overlap import MeanIou

RNG = np.random.default_rng(1)


def iou(scores: np.ndarray, labels: np.ndarray, size: int = 2) -> float:
    metric = MeanIou()
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        metric.add({"y": scores[part]}, Batch({"x": scores[part]}, labels[part]), None)
    return metric.value()


def test_it_is_the_jaccard_index_of_scikit_learn() -> None:
    scores, labels = RNG.normal(size=(5, 4, 6, 7)), RNG.integers(0, 4, (5, 6, 7))
    expected = jaccard_score(labels.ravel(), scores.argmax(1).ravel(), average="macro")
    assert iou(scores, labels) == pytest.approx(expected)


def test_void_pixels_do_not_count_and_absent_classes_are_left_out() -> None:
    scores = np.zeros((1, 5, 1, 4))
    scores[0, [0, 0, 1, 3], 0, [0, 1, 2, 3]] = 1
    assert iou(scores, np.array([[[0, 1, 1, 255]]])) == pytest.approx((0.5 + 0.5) / 2)
    assert iou(scores, np.array([[[0, 1, 1, -100]]])) == pytest.approx((0.5 + 0.5) / 2)


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_one_channel_tells_one_class_from_the_rest(scale: float) -> None:
    """As probabilities, and as logits."""
    labels = RNG.integers(0, 2, (2, 5, 5))
    sure = np.where(labels, 0.9, 0.1) if scale == 1 else np.where(labels, scale, -scale)
    assert iou(sure[:, None], labels) == 1.0


def test_labels_that_are_no_classes_of_the_model_are_a_sentence() -> None:
    with pytest.raises(UsageError, match="from 0 to 3, and the model's classes from 0 to 2"):
        iou(np.zeros((1, 3, 2, 2)), np.array([[[0, 1], [2, 3]]]))
    with pytest.raises(UsageError, match="one class for each pixel"):
        iou(np.zeros((1, 3, 2, 2)), np.zeros((1, 4, 4), np.int64))
    with pytest.raises(UsageError, match="needs labels"):
        MeanIou().add({"y": np.zeros((1, 3, 2, 2))}, Batch({"x": np.zeros((1, 1))}), None)
