"""N of every M channels, and the order of channels in which most is kept."""

from __future__ import annotations

import numpy as np

from compressor.structures.masks.nm import NofM
from tests.reconstruct.case import noise


def energy_of(*shape: int) -> np.ndarray:
    return np.square(noise(*shape, seed=3).astype(np.float64))


def test_n_of_m_keeps_the_largest() -> None:
    energy = energy_of(4, 8, 3, 3)
    masks = [mask for _, mask in NofM().masks(energy, 0)]
    assert [mask.mean() for mask in masks] == [0.75, 0.5, 0.25]
    rows = masks[2].reshape(4, 2, 4, 9)
    assert (rows.sum(axis=2) == 1).all()
    assert (rows.argmax(axis=2) == energy.reshape(4, 2, 4, 9).argmax(axis=2)).all()
    assert not list(NofM().masks(energy_of(4, 3, 3, 3), 0))


def kept(energy: np.ndarray, order: np.ndarray) -> float:
    """Energy that 2 of 4 keep with the channels in this order."""
    moved = energy[:, order]
    return float(moved[next(mask for words, mask in NofM().masks(moved, 0) if words == "2 of 4")].sum())


def test_the_order_keeps_more_than_the_one_that_is_there() -> None:
    energy = energy_of(6, 16, 1, 1)
    order = NofM().order(energy, 0)
    assert sorted(order) == list(range(16))
    assert kept(energy, order) > kept(energy, np.arange(16))
    np.testing.assert_array_equal(order, NofM().order(energy, 0))


def test_strong_channels_do_not_meet() -> None:
    """Four strong channels in one quadruple: 2 of 4 would keep half of their energy."""
    energy = np.full((4, 8, 1, 1), 1e-3)
    energy[:, :4] = 1.0
    order = NofM().order(energy, 0)
    assert kept(energy, order) == energy[:, :4].sum()
