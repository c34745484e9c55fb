"""Kernels in a basis and back, and the basis that coefficients start from."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.structures.interspace.basis import STARTS
from tests.reconstruct.case import noise


@pytest.mark.parametrize("start", STARTS)
def test_nothing_is_lost_by_a_start(start: str) -> None:
    matrix = noise(1, 5, 4 * 9).astype(np.float64)
    space = STARTS[start](matrix, 9)
    np.testing.assert_allclose(space.basis @ space.basis.T, np.eye(9), atol=1e-12)
    coefficients = space.coordinates(matrix)
    np.testing.assert_allclose(space.kernels(coefficients), matrix, atol=1e-12)
    assert (start == "identity") == np.array_equal(coefficients, matrix)


def test_what_a_layer_gives_is_the_same_in_coordinates() -> None:
    matrix, rows = noise(5, 36).astype(np.float64), noise(50, 36, seed=1).astype(np.float64)
    space = STARTS["pca"](matrix, 9)
    seen = space.coordinates(rows)
    np.testing.assert_allclose(seen @ space.coordinates(matrix).T, rows @ matrix.T, atol=1e-10)
    np.testing.assert_allclose(space.covariance(rows.T @ rows), seen.T @ seen, atol=1e-9)


def test_principal_components_hold_most_energy_in_the_fewest_coefficients() -> None:
    rng = np.random.default_rng(0)
    kernels = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 9))
    found = np.square(STARTS["pca"](kernels.reshape(20, 90), 9).coordinates(kernels))
    assert found[:, :2].sum() == pytest.approx(found.sum())
    assert found[:, 0].sum() >= found[:, 1].sum()
