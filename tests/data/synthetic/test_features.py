"""Correlated features and boxes."""

from __future__ import annotations

import numpy as np

from compressor.data.synthetic.features import boxes, features


def test_features_are_of_unit_size_and_hang_together_alike_in_all_samples() -> None:
    made = np.stack([features(np.random.default_rng(k), (12,), seed=3) for k in range(3000)])
    assert made.dtype == np.float32
    np.testing.assert_allclose(made.mean(axis=0), 0, atol=0.08)
    np.testing.assert_allclose(made.std(axis=0), 1, rtol=0.06)
    halves = [np.corrcoef(part.T)[np.triu_indices(12, 1)] for part in (made[:1500], made[1500:])]
    assert np.abs(halves[0]).max() > 0.3
    np.testing.assert_allclose(halves[0], halves[1], atol=0.15)
    other = np.stack([features(np.random.default_rng(k), (12,), seed=4) for k in range(1500)])
    assert np.abs(np.corrcoef(other.T)[np.triu_indices(12, 1)] - halves[0]).max() > 0.2


def test_sequences_change_slowly() -> None:
    made = np.stack([features(np.random.default_rng(k), (50, 8), seed=0) for k in range(200)])
    assert made.shape == (200, 50, 8)
    assert 0.85 < made.std() < 1.15
    next_to, far = (np.mean(made[:, :-lag] * made[:, lag:]) for lag in (1, 25))
    assert next_to > 0.3
    assert next_to > far + 0.05
    assert features(np.random.default_rng(0), (1, 8), seed=0).shape == (1, 8)
    assert features(np.random.default_rng(0), (2, 3, 8), seed=0).shape == (2, 3, 8)


def test_boxes_have_their_corners_in_order() -> None:
    made = boxes(np.random.default_rng(0), (100, 4))
    assert made.shape == (100, 4)
    assert (made[:, 2:] >= made[:, :2]).all()
    assert made.min() >= 0
    assert made.max() <= 1
