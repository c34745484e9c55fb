"""Masks as options of a layer: when they come to smaller convolutions, what is moved, and what is kept of a weight."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.reconstruct.options import ReconstructOptions
from compressor.structures.layer.geometry import Geometry
from compressor.structures.masks.masked import MaskOption, MaskWork
from compressor.structures.masks.pieces import WeightMask

SIZE = Geometry(1, 4, 8, 9, before=36.0, after=36.0, slides=36.0)


def halves(*, mixed: bool = False) -> WeightMask:
    """Half of the filters read two channels, half the other two."""
    mask = np.zeros((8, 4, 3, 3), np.bool_)
    mask[:4, :2] = mask[4:, 2:] = True
    return mask[[0, 4, 1, 5, 2, 6, 3, 7]] if mixed else mask


def test_a_mask_of_few_classes_comes_to_smaller_convolutions() -> None:
    option = MaskOption.of("half", halves())
    assert option.small
    assert option.params(SIZE) == 8 * 2 * 9
    assert option.macs(SIZE) == 8 * 2 * 9 * 36
    assert option.bytes(SIZE, 4.0) == 8 * 2 * 9 * 4
    assert option.words == "half, 0.50 of the weights kept"


def test_zeros_stay_where_nothing_is_saved_or_filters_differ(rng: np.random.Generator) -> None:
    corners = np.ones((8, 4, 3, 3), np.bool_)
    corners[:, :, 1, 1] = False  # the box round it is the whole kernel
    for mask in (corners, rng.random((8, 4, 3, 3)) < 0.5):
        option = MaskOption.of("zeros", mask)
        assert not option.small
        assert (option.params(SIZE), option.macs(SIZE)) == (SIZE.params, int(mask.sum()) * SIZE.slides)


def test_the_wished_order_moves_nothing() -> None:
    option = MaskOption.of("half", halves(mixed=True))
    filters = option.wish(0)
    assert filters is not None
    assert option.moving == 2 * 8  # filters of both classes are put in their places behind it
    sorted_ = option.reordered(0, filters)
    assert sorted_.moving == 0
    np.testing.assert_array_equal(sorted_.mask, halves())
    channels = MaskOption.of("half", halves()[:, [0, 2, 1, 3]])
    order = channels.wish(1)
    assert order is not None
    assert channels.moving > 0
    assert channels.reordered(1, order).moving == 0


@pytest.mark.parametrize("regress", [False, True])
def test_what_is_kept_is_zero_under_the_mask(regress: bool, rng: np.random.Generator) -> None:
    option = MaskOption.of("half", halves())
    work, matrix = MaskWork(option, regress=regress), rng.normal(size=(1, 8, 36))
    assert not work.ready
    work.without_samples(matrix)
    assert work.ready
    np.testing.assert_array_equal(work.product(np.dtype(np.float64))[0], matrix[0] * halves().reshape(8, 36))
    # A fit goes before what was there, from the moment it proposes.
    fit = work.fit(matrix, 1, ReconstructOptions())
    assert not work.ready
    x = rng.normal(size=(1, 200, 36))
    fit.add(0, x, x @ matrix.transpose(0, 2, 1))
    found = next(fit.proposals()).matrix
    assert work.ready
    np.testing.assert_allclose(work.product(np.dtype(np.float64)), found)
    assert not found[0][~halves().reshape(8, 36)].any()
    assert np.allclose(found[0], matrix[0] * halves().reshape(8, 36)) == (not regress)
