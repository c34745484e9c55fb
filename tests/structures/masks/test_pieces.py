"""A mask as classes of filters and pieces of channels and boxes: they hold all of it, and each filter once."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.structures.masks.pieces import (
    FilterClass,
    SmallConv,
    WeightMask,
    alike,
    classes_of,
    consecutive,
    one_grouped,
    weights_left,
)


def mask_of(classes: list[FilterClass], shape: tuple[int, ...]) -> WeightMask:
    """What the pieces read: bool of ``shape``."""
    found = np.zeros(shape, np.bool_)
    for one in classes:
        for piece in one.pieces:
            for channel in piece.channels:
                for filter_ in one.filters:
                    found[(filter_, channel, *(slice(*side) for side in piece.box))] = True
    return found


@pytest.mark.parametrize("case", range(9))
def test_pieces_read_boxes_round_the_mask(case: int, seed: int) -> None:
    rng = np.random.default_rng([seed, case])
    shape = [(5, 4, 3, 3), (6, 3, 3), (4, 2, 1, 1)][case % 3]
    patterns = rng.random((2, *shape[1:])) < 0.4
    mask = patterns[rng.integers(0, 2, shape[0])]
    classes = classes_of(mask)
    assert sorted(k for one in classes for k in one.filters) == list(range(shape[0]))
    read = mask_of(classes, shape)
    assert (read >= mask).all()
    assert read.sum() == weights_left(classes)
    # A channel is read whole in the smallest box round its taps, and not at all where nothing of it is kept.
    for filter_ in range(shape[0]):
        for channel in range(shape[1]):
            taps, kept = np.argwhere(read[filter_, channel]), np.argwhere(mask[filter_, channel])
            if len(kept):
                np.testing.assert_array_equal([taps.min(0), taps.max(0)], [kept.min(0), kept.max(0)])


def test_filters_that_keep_nothing_read_one_weight() -> None:
    (one,) = classes_of(np.zeros((3, 4, 3, 3), np.bool_))
    assert one == FilterClass((0, 1, 2), (SmallConv((0,), ((0, 1), (0, 1))),))


def test_what_is_alike_keeps_the_order_of_its_first() -> None:
    assert alike(np.array([[1, 0], [0, 1], [1, 0]], np.bool_)) == [(0, 2), (1,)]
    assert consecutive((2, 3, 4))
    assert not consecutive((2, 4))


def test_classes_of_one_size_are_one_grouped_convolution() -> None:
    mask = np.zeros((4, 4, 3, 3), np.bool_)
    mask[:2, :2] = mask[2:, 2:] = True
    assert one_grouped(classes_of(mask))
    mask[2:, 2:, 0] = False  # another box
    assert not one_grouped(classes_of(mask))
    assert not one_grouped(classes_of(np.ones((4, 4, 3, 3), np.bool_)))
