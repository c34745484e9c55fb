"""The proximal map of the group envelope, against its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor.config import BlockShape
from compressor.core.group_envelope import remaining
from compressor.unification.assignment import FREE
from compressor.unification.envelope import Envelope
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.projections import Mixed
from tests.unification.cases import weight

LAYOUT = Blocking(CanonicalAxes.of((6, 8), "oi"), BlockShape.parse("2x4"))


def objective(norms: Any, share: Any, u: Any, strength: float) -> float:
    """``1/2 ‖x - v‖² + h/2 Σ ‖x_b‖² / u_b`` for ``x = share * v``, which is what prox minimises over x and u."""
    x = share * norms
    ratio = np.where(u > 0, x * x / np.where(u > 0, u, 1), np.where(x == 0, 0, np.inf))
    return float(((x - norms) ** 2).sum() + strength * ratio.sum()) / 2


@pytest.mark.parametrize("strength", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("allowed", [1, 2.5, 4])
def test_no_random_choice_does_better(strength: float, allowed: float) -> None:
    rng = np.random.default_rng(0)
    norms = rng.random(6) * 2
    share = remaining(norms, strength, allowed)
    u = np.where(share < 1, strength * share / (1 - share), 1)
    assert u.sum() == pytest.approx(allowed, abs=1e-6)
    best = objective(norms, share, u, strength)
    for _ in range(3000):
        other = np.clip(u + rng.normal(0, rng.choice([0.01, 0.3, 1.0]), 6), 0, 1)
        other *= min(1.0, allowed / max(other.sum(), 1e-12))
        assert objective(norms, other / (strength + other), other, strength) >= best - 1e-9


def test_limits() -> None:
    norms = np.array([1.0, 3.0, 2.0, 0.0])
    np.testing.assert_allclose(remaining(norms, 20.0, 2), [0, 1 / 21, 1 / 21, 0], atol=1e-9)
    np.testing.assert_allclose(remaining(norms, 0.5, 4), [1 / 1.5] * 3 + [0], atol=1e-9)
    assert not remaining(norms, 0.5, 0).any()


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.25)])
def test_from_the_weight_to_its_set(shares: tuple[float, float]) -> None:
    envelope, w = Envelope(Mixed(LAYOUT, *shares)), weight((6, 8), 1, np.float64)
    np.testing.assert_allclose(envelope.prox(w, 0.0, 1.0), w, atol=1e-9)
    np.testing.assert_allclose(envelope.project(w), envelope.target.project(w))
    gap = LAYOUT.blocks(envelope.prox(w, 50.0, 0.0) - envelope.full.project(w))
    left = (abs(gap) > 1e-9).any(0)
    assert left.sum() == LAYOUT.count - sum(envelope.target.counts)
    if shares != (0.5, 0.25):
        assert np.array_equal(left, envelope.target.kinds(w) == FREE)


def test_torch_does_the_same() -> None:
    torch = pytest.importorskip("torch")
    envelope, w = Envelope(Mixed(LAYOUT, 0.5)), weight((6, 8), 2, np.float64)
    found = envelope.prox(torch.from_numpy(w), 0.1, 0.5)
    np.testing.assert_allclose(found.numpy(), envelope.prox(w, 0.1, 0.5), atol=1e-9)
