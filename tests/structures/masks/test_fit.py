"""Kept weights are the best under their mask, however they are found."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.structures.masks import fit
from compressor.structures.masks.fit import masked_ridge

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(40, 10)) @ RNG.normal(size=(10, 400)) + 0.5 * RNG.normal(size=(40, 400))
COVARIANCE = ROWS @ ROWS.T / 400
WEIGHTS = RNG.normal(size=(6, 40))


def _loss(matrix: np.ndarray) -> float:
    return float(np.einsum("oi,ij,oj->", matrix - WEIGHTS, COVARIANCE, matrix - WEIGHTS))


@pytest.mark.parametrize("direct", [0, 16])
def test_nothing_under_the_mask_is_nearer(direct: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "DIRECT", direct)
    kept = RNG.random((6, 40)) < 0.5
    found = masked_ridge(WEIGHTS, COVARIANCE, kept, 1e-6)
    assert not found[~kept].any()
    assert _loss(found) < 0.9 * _loss(np.where(kept, WEIGHTS, 0))
    for _ in range(50):
        assert _loss(found + np.where(kept, 0.02 * RNG.normal(size=found.shape), 0)) > _loss(found)


def test_outputs_that_share_a_mask_are_solved_as_if_alone() -> None:
    kept = np.repeat(RNG.random((2, 40)) < 0.5, 3, axis=0)
    together = masked_ridge(WEIGHTS, COVARIANCE, kept, 1e-2)
    for k in range(6):
        alone = masked_ridge(WEIGHTS[k : k + 1], COVARIANCE, kept[k : k + 1], 1e-2)
        np.testing.assert_allclose(together[k : k + 1], alone, atol=1e-9)


def test_a_mask_that_keeps_all_or_nothing() -> None:
    kept = np.ones((6, 40), np.bool_)
    kept[3] = False
    found = masked_ridge(WEIGHTS, COVARIANCE, kept, 1e-2)
    np.testing.assert_allclose(np.delete(found, 3, 0), np.delete(WEIGHTS, 3, 0), atol=1e-9)
    assert not found[3].any()
