"""Mean average precision on scenes whose value pycocotools gave, and on those that can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.data import Batch
from compressor.errors import UsageError
from compressor.metrics.average_precision import AveragePrecision, AveragePrecision50
from compressor.metrics.detections import overlaps, read

CORNERS = np.array([[10, 10, 30, 30], [50, 40, 80, 90]], np.float64)
TRUE = np.concatenate([CORNERS, [[0], [1]]], 1)[None].astype(np.float32)


def value(metric: AveragePrecision, outputs: dict[str, np.ndarray], labels: np.ndarray, size: int = 8) -> float:
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        metric.add({k: v[part] for k, v in outputs.items()}, Batch({"x": labels[part]}, labels[part]), None)
    return metric.value()


def scenes() -> tuple[np.ndarray, np.ndarray]:
    """40 images of up to 6 boxes of 3 classes, and 150 found boxes in each."""
    rng = np.random.default_rng(3)
    true, found = np.zeros((40, 6, 5), np.float32), np.zeros((40, 150, 6), np.float32)
    for one, two in zip(true, found, strict=True):
        there = rng.integers(0, 7)
        corner, size = rng.uniform(0, 80, (6, 2)), rng.uniform(25, 60, (6, 2))
        one[:, :2], one[:, 2:4], one[:, 4] = corner, corner + size, rng.integers(0, 3, 6)
        one[there:, 4] = -1
        meant = rng.integers(0, 6, 150)
        two[:, :4] = one[meant, :4] + rng.normal(0, 4, (150, 4))
        two[:, 4] = np.round(rng.uniform(0.01, 1, 150), 3)
        two[:, 5] = np.where(rng.random(150) < 0.7, np.maximum(one[meant, 4], 0), rng.integers(0, 3, 150))
    return true, found


def test_it_is_what_pycocotools_gives() -> None:
    """Numbers of ``COCOeval(...).stats`` of pycocotools 2.0.11 on these scenes."""
    true, found = scenes()
    assert value(AveragePrecision(), {"y": found}, true) == pytest.approx(0.22389952, abs=1e-6)
    assert value(AveragePrecision50(), {"y": found}, true) == pytest.approx(0.3888808, abs=1e-6)


def forms() -> dict[str, dict[str, np.ndarray]]:
    """Two right boxes and a double of the first, as exporters write them, among cells that found nothing."""
    boxes = np.zeros((1, 12, 4))
    boxes[0, :3] = [*CORNERS, CORNERS[0] + 1]
    shares = np.zeros((1, 12, 2))
    shares[0, [0, 1, 2], [0, 1, 0]] = [0.9, 0.8, 0.85]
    middle = np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)
    logits = np.log(np.maximum(shares, 1e-6) / (1 - np.maximum(shares, 1e-6)))
    kept = np.array([0, 1])
    final = np.concatenate([boxes[:, kept], [[[0.9, 0], [0.8, 1]]]], -1)
    return {
        "suppressed": {"y": final},
        "yolov8": {"y": np.concatenate([middle, shares], -1).swapaxes(1, 2)},
        "yolov5": {"y": np.concatenate([middle, (shares > 0).any(-1, keepdims=True), shares], -1)},
        "apart": {"boxes": boxes, "scores": shares},
        "centres": {"boxes": middle, "scores": shares},
        "logits": {"scores": logits, "boxes": boxes},
        "classes first": {"boxes": boxes, "scores": shares.swapaxes(1, 2)},
        "three": {"boxes": boxes[:, kept], "scores": final[..., 4], "labels": np.array([[0, 1]])},
        "one image": {"boxes": boxes[0, kept], "labels": np.array([0, 1]), "scores": final[0, :, 4]},
    }


@pytest.mark.parametrize("form", forms())
def test_every_form_is_read(form: str) -> None:
    (image,) = read(forms()[form])
    assert image.scores[:2] == pytest.approx([0.9, 0.8])
    assert image.classes[:2].tolist() == [0, 1]
    assert image.boxes[:2] == pytest.approx(CORNERS)
    assert (image.scores[2:] < 0.01).all(), "the double is gone"


@pytest.mark.parametrize("form", forms())
def test_right_boxes_make_one(form: str) -> None:
    metric = AveragePrecision()
    metric.add(forms()[form], Batch({"x": TRUE}, TRUE), None)
    assert metric.value() == pytest.approx(1.0)


def test_a_second_box_on_the_same_object_is_a_miss_and_order_counts() -> None:
    found = np.array([[[10, 10, 30, 30, 0.9, 1], [10, 10, 30, 30, 0.8, 0], [50, 40, 80, 90, 0.7, 1]]])
    # Of class 1 the first box is wrong and the second right: precision 1/2 at every recall.
    assert value(AveragePrecision50(), {"y": found}, TRUE) == pytest.approx((1 + 0.5) / 2)


def test_what_was_not_found_counts() -> None:
    found = np.array([[[10, 10, 30, 30, 0.9, 0], [0, 0, 0, 0, 0, 0]]])
    assert value(AveragePrecision(), {"y": found}, TRUE) == pytest.approx(0.5)


def test_overlaps_of_boxes() -> None:
    found = overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 1, 3, 3], [5, 5, 6, 6], [2, 2, 1, 1]]))
    assert found[0] == pytest.approx([1 / 7, 0, 0])


def test_other_forms_are_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"the model gives 'y' \[1, 3, 3, 3\]"):
        read({"y": np.zeros((1, 3, 3, 3))})
    with pytest.raises(UsageError, match=r"needs labels \[n, m, 5\].*these are \[1\]"):
        AveragePrecision().add({"y": np.zeros((1, 2, 6))}, Batch({"x": TRUE}, np.zeros(1)), None)
    with pytest.raises(UsageError, match="no image has a true box"):
        value(AveragePrecision(), {"y": np.zeros((1, 2, 6))}, np.full((1, 2, 5), -1.0))
