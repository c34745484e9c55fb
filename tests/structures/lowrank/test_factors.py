"""Factors are the best of their rank in the metrics that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.reconstruct.ridge import covariance_factor
from compressor.structures.layer.geometry import ThinnedSide
from compressor.structures.layer.judged import Weighting
from compressor.structures.lowrank.factors import Factors, Truncation, factorised, rounded

RNG = np.random.default_rng(0)
CHANNELS, TAPS, OUT = 6, 4, 5


def _rows(size: int, count: int) -> np.ndarray:
    return (RNG.normal(size=(size, count)) * np.linspace(0.2, 3, size)[:, None]).T / count**0.5


def _covariance(size: int) -> np.ndarray:
    rows = _rows(size, 3 * size)
    return rows.T @ rows


MATRIX = RNG.normal(size=(OUT, CHANNELS * TAPS))
METRICS = Weighting(_rows(CHANNELS * TAPS, 3 * CHANNELS * TAPS), _covariance(OUT))
EVEN = Weighting(np.eye(MATRIX.shape[1]), np.eye(MATRIX.shape[0]))
"""Every input and output counts the same."""


def _loss(matrix: np.ndarray) -> float:
    change = matrix - MATRIX
    return float(np.trace(METRICS.outputs @ change @ METRICS.covariance @ change.T))


@pytest.mark.parametrize(("side", "widest"), [("outputs", OUT), ("inputs", CHANNELS)])
def test_the_widest_rank_is_no_approximation(side: ThinnedSide, widest: int) -> None:
    truncation = Truncation(MATRIX, METRICS, CHANNELS, side)
    np.testing.assert_allclose(truncation.product(*truncation.at(widest)), MATRIX, atol=1e-4)


@pytest.mark.parametrize("side", ["outputs", "inputs"])
def test_losses_fall_with_rank_and_metrics_matter(side: ThinnedSide) -> None:
    own, plain = (Truncation(MATRIX, m, CHANNELS, side) for m in (METRICS, EVEN))
    losses = [_loss(own.product(*own.at(rank))) for rank in (1, 2, 3, 4)]
    assert losses == sorted(losses, reverse=True)
    assert all(loss < _loss(plain.product(*plain.at(k))) for k, loss in enumerate(losses, 1))


def test_no_factors_of_outputs_lose_less() -> None:
    """Eckart and Young: nothing of that rank, however found, is better."""
    truncation = Truncation(MATRIX, METRICS, CHANNELS, "outputs")
    first, second = truncation.at(2)
    best = _loss(second @ first)
    for _ in range(200):
        near = (second + 0.1 * RNG.normal(size=second.shape)) @ (first + 0.1 * RNG.normal(size=first.shape))
        assert _loss(near) > best


def test_the_second_factor_is_the_best_for_the_first() -> None:
    truncation = Truncation(MATRIX, METRICS, CHANNELS, "inputs")
    first, second = truncation.at(3)
    best = _loss(truncation.product(first, second))
    for _ in range(50):
        assert _loss(truncation.product(first, second + 0.1 * RNG.normal(size=second.shape))) > best


def test_what_ranks_drop_of_rows_is_what_they_lose() -> None:
    rows = (RNG.normal(size=(4000, CHANNELS * TAPS)) @ np.linalg.cholesky(METRICS.covariance).T).astype(np.float32)
    rows -= rows.mean(axis=0)
    truncation = Truncation(MATRIX, METRICS, CHANNELS, "outputs")
    for rank, dropped in enumerate(truncation.dropped(rows)):
        change = (truncation.product(*truncation.at(rank)) if rank else 0.0) - MATRIX
        moved = rows @ change.T
        true = np.einsum("no,op,np->", moved, METRICS.outputs, moved) / len(rows)
        assert dropped == pytest.approx(true, rel=1e-4, abs=2e-2)


@pytest.mark.parametrize("side", ["outputs", "inputs"])
def test_rounding_evens_out_norms_and_keeps_the_product(side: ThinnedSide) -> None:
    found = factorised(MATRIX[None], [METRICS], CHANNELS, side, 3)
    uneven = Factors(side, found.first * 1e3, found.second / 1e3)
    even = rounded(uneven, np.dtype(np.float32))
    np.testing.assert_allclose(even.product(), found.product(), rtol=1e-5, atol=1e-5)
    assert np.abs(even.first).max() < 30 * np.abs(even.second).max()
    assert (even.first == even.first.astype(np.float32)).all()


def test_more_outputs_than_unknowns_take_the_smaller_side() -> None:
    """The same directions as the decomposition of all outputs would give."""
    matrix = RNG.normal(size=(3 * CHANNELS, CHANNELS))
    metrics = Weighting(_rows(CHANNELS, 3 * CHANNELS), _covariance(3 * CHANNELS))
    truncation = Truncation(matrix, metrics, CHANNELS, "outputs")
    np.testing.assert_allclose(truncation.product(*truncation.at(CHANNELS)), matrix, atol=1e-6)
    values, vectors = np.linalg.eigh(metrics.outputs)
    root = (vectors * np.sqrt(values)) @ vectors.T
    energy = np.linalg.eigvalsh(root @ matrix @ metrics.covariance @ matrix.T @ root)[::-1]
    for rank in (1, 3):
        change = truncation.product(*truncation.at(rank)) - matrix
        lost = np.trace(metrics.outputs @ change @ metrics.covariance @ change.T)
        assert lost == pytest.approx(energy[rank:].sum(), rel=1e-3)


def test_covariances_that_rounding_made_indefinite_are_lifted() -> None:
    rows = RNG.normal(size=(8, CHANNELS * TAPS)).astype(np.float32) * 1e3
    rounded_covariance = (rows.T @ rows).astype(np.float64) / len(rows) - 1e-2 * np.eye(CHANNELS * TAPS)
    metrics = Weighting(covariance_factor(rounded_covariance), METRICS.outputs - 1e-9 * np.eye(OUT))
    for side in ("outputs", "inputs"):
        truncation = Truncation(MATRIX, metrics, CHANNELS, side)  # type: ignore[arg-type]
        assert np.isfinite(truncation.product(*truncation.at(3))).all()


@pytest.mark.parametrize("side", ["outputs", "inputs"])
@pytest.mark.parametrize("rows", [3, 7, 200])
def test_rows_and_covariances_give_the_same_factors(side: ThinnedSide, rows: int) -> None:
    """Whether there are fewer of them than outputs, channels and unknowns, or more."""
    few = Weighting(_rows(CHANNELS * TAPS, rows), METRICS.outputs)
    whole = Weighting(covariance_factor(few.covariance), METRICS.outputs)
    one, two = (Truncation(MATRIX, metrics, CHANNELS, side) for metrics in (few, whole))
    for rank in (1, 2):
        np.testing.assert_allclose(one.product(*one.at(rank)), two.product(*two.at(rank)), rtol=1e-4, atol=1e-5)
