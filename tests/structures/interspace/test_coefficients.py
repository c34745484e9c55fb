"""Masks over coefficients: the strongest ones, or whole basis kernels of a channel."""

from __future__ import annotations

import numpy as np

from compressor.structures.interspace.coefficients import COEFFICIENT_SHARES, Coefficients, Columns, kernels_of
from tests.reconstruct.case import noise

ENERGY = np.square(noise(6, 4, 3, 3).astype(np.float64))


def test_the_strongest_are_kept_and_no_filter_is_emptied() -> None:
    energy = ENERGY.copy()
    energy[2] *= 1e-9
    for share, (_, mask) in zip(COEFFICIENT_SHARES, Coefficients().masks(energy, 0), strict=True):
        assert abs(mask.sum() - share * mask.size) <= 1.5
        assert mask.reshape(6, -1).any(axis=1).all()
        rest = np.delete(energy, 2, axis=0)[~np.delete(mask, 2, axis=0)]
        assert rest.max() <= np.delete(energy, 2, axis=0)[np.delete(mask, 2, axis=0)].min()


def test_columns_are_those_of_most_energy_and_the_same_for_all_filters() -> None:
    masks = [mask for _, mask in Columns().masks(ENERGY, 0)]
    assert [kernels_of(mask).shape for mask in masks] == [(4, n) for n in range(8, 0, -1)]  # type: ignore[union-attr]
    best = ENERGY.reshape(6, 4, 9).sum(axis=0).argmax(axis=1)
    np.testing.assert_array_equal(kernels_of(masks[-1])[:, 0], best)  # type: ignore[index]
    assert not list(Columns().masks(ENERGY[:, :, :1, :1], 0))


def test_masks_without_columns_have_none() -> None:
    assert kernels_of(np.ones((6, 4, 3, 3), np.bool_)) is None
    for change in ((0, 0, 0, 0), (slice(None), 0, 0, 0)):
        (*_, (_, mask)) = Columns().masks(ENERGY, 0)
        mask[change] ^= True
        assert kernels_of(mask) is None
