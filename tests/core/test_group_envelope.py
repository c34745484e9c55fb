"""The proximal map of the envelope: its conditions of optimality, and both libraries alike."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.core.group_envelope import remaining


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("allowed", [1, 2.5, 7])
def test_what_is_left_solves_the_problem(strength: float, allowed: float, rng: np.random.Generator) -> None:
    """For d' = s d with s = u / (h + u), u minimises ``h Σ |d|²/(h+u)`` over ``0 <= u <= 1, Σ u <= k``: at the optimum
    the slopes ``|d| / (h + u)`` are one number t for all u strictly between, less below 0 and more above 1."""
    norms = rng.uniform(0.1, 2.0, 9)
    left = remaining(norms, strength, allowed)
    u = strength * left / (1 - left)
    assert float(u.sum()) == pytest.approx(allowed, rel=1e-6)
    assert (u >= -1e-9).all()
    assert (u <= 1 + 1e-9).all()
    slopes = norms / (strength + u)
    between = (u > 1e-6) & (u < 1 - 1e-6)
    level = float(slopes[between].mean()) if between.any() else float(slopes[u >= 1 - 1e-6].min())
    np.testing.assert_allclose(slopes[between], level, rtol=1e-5)
    assert (slopes[u <= 1e-6] <= level * (1 + 1e-5)).all()
    assert (slopes[u >= 1 - 1e-6] >= level * (1 - 1e-5)).all()


def test_the_larger_keeps_the_larger_share(rng: np.random.Generator) -> None:
    norms = np.sort(rng.uniform(0, 1, 20))
    assert (np.diff(remaining(norms, 0.5, 6)) >= -1e-12).all()


def test_ends() -> None:
    norms = np.array([0.0, 1.0, 3.0])
    np.testing.assert_array_equal(remaining(norms, 1.0, 0), 0)
    np.testing.assert_allclose(remaining(norms, 1.0, 3), [0, 0.5, 0.5])  # zero groups never count
    np.testing.assert_allclose(remaining(norms, 0.0, 2), [0, 1, 1])
    np.testing.assert_array_equal(remaining(np.zeros(3), 1.0, 2), 0)


def test_both_libraries_agree(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    norms = rng.uniform(0, 1, 12)
    np.testing.assert_allclose(remaining(torch.from_numpy(norms), 0.7, 4).numpy(), remaining(norms, 0.7, 4))
