"""Boxes in the forms that exporters write: which form it is, what is a double, and what is a filler."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.metrics.detections import CANDIDATES, KEPT, read

BOX = np.asarray([10.0, 20.0, 30.0, 60.0], np.float32)
CENTRE = np.asarray([20.0, 40.0, 20.0, 40.0], np.float32)
"""The same by centre and size."""


def test_scores_beyond_one_are_logits() -> None:
    table = np.tile(np.concatenate([CENTRE, [2.0, -600.0]])[:, None], (1, 9)).astype(np.float32)[None]
    [found] = read({"y": table})
    assert found.classes.tolist() == [0]
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-2.0)))
    np.testing.assert_allclose(found.boxes, BOX[None])


def test_objectness_counts_for_every_class() -> None:
    rows = np.tile(np.concatenate([CENTRE, [0.5, 0.8, 0.0]]), (1, 9, 1)).astype(np.float32)
    [found] = read({"y": rows})
    np.testing.assert_allclose(found.scores, [0.4], rtol=1e-6)


def test_doubles_are_of_one_class_only() -> None:
    boxes = np.tile(BOX, (1, 2, 1))
    scores = np.asarray([[[0.9, 0.0], [0.0, 0.8]]], np.float32)
    [apart] = read({"b": boxes, "s": scores})
    assert apart.classes.tolist() == [0, 1]
    [alike] = read({"b": boxes, "s": scores[..., :1] + scores[..., 1:]})
    assert alike.scores.tolist() == [np.float32(0.9)]


def test_boxes_without_a_score_are_fillers() -> None:
    rows = np.zeros((1, 5, 6), np.float32)
    rows[0, 0] = [*BOX, 0.7, 3]
    [found] = read({"y": rows})
    assert (found.classes.tolist(), len(found.boxes)) == ([3], 1)


@pytest.mark.parametrize(("crossed", "first"), [(1, BOX[:2]), (60, CENTRE[:2] - CENTRE[2:] / 2)])
def test_few_boxes_that_are_turned_around_do_not_make_centres(crossed: int, first: np.ndarray) -> None:
    """Rounding turns some of no size around; more than one in a hundred are none of that."""
    boxes = np.tile(BOX if crossed == 1 else CENTRE, (1, 200, 1))
    boxes[0, 1 : 1 + crossed] = [30, 40, 20, 20]
    [found] = read({"b": boxes, "s": np.linspace(1, 0.5, 200, dtype=np.float32)[None, :, None]})
    np.testing.assert_allclose(found.boxes[0, :2], first)


def test_no_more_boxes_than_are_looked_at_and_kept() -> None:
    count = CANDIDATES + 500
    corners = np.arange(count, dtype=np.float32)[:, None] * 100 + np.asarray([0, 0, 10, 10], np.float32)
    [found] = read({"b": corners[None], "s": np.linspace(0.9, 0.1, count, dtype=np.float32)[None, :, None]})
    assert len(found.boxes) == KEPT
    assert found.scores[0] == np.float32(0.9)
