"""The closed form: what it equals, what it recovers, what it does where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.reconstruct import ridge as module
from compressor.reconstruct.moments import Moments
from compressor.reconstruct.ridge import factor_of_rows, ridge, ridge_of_either, ridge_of_rows


def data(seed: int, groups: int, size: int, out: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated inputs [groups, rows, size] and weights [groups, out, size]."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((groups, size, size))
    x = rng.standard_normal((groups, 4 * size + 5, size)) @ mixing
    return x, rng.standard_normal((groups, out, size))


@given(
    st.integers(0, 999), st.integers(1, 3), st.integers(3, 12), st.integers(1, 5), st.sampled_from([1e-4, 1e-2, 1.0])
)
@settings(max_examples=60, deadline=None)
def test_equals_optimal_brain_surgeon(seed: int, groups: int, size: int, out: int, damping: float) -> None:
    """With the same damping on all inputs, ``W -= W_p [(H^-1)_pp]^-1 (H^-1)_p`` (methods: 2403.18955)."""
    x, weights = data(seed, groups, size, out)
    rng = np.random.default_rng(seed + 1)
    gone = np.sort(rng.permutation(size)[: rng.integers(1, size)])
    kept = np.setdiff1d(np.arange(size), gone)
    covariance = x.transpose(0, 2, 1) @ x
    within = covariance[:, kept][:, :, kept]
    mean = np.trace(within, axis1=1, axis2=2) / len(kept)
    products = weights @ covariance[:, :, kept]
    found = ridge(weights[:, :, kept], within, products, damping)
    assert found is not None
    for g in range(groups):
        hessian = np.linalg.inv(covariance[g] + damping * mean[g] * np.eye(size))
        removed = weights[g][:, gone] @ np.linalg.inv(hessian[np.ix_(gone, gone)])
        expected = (weights[g] - removed @ hessian[gone])[:, kept]
        scale = np.abs(expected).max() * np.linalg.cond(covariance[g] + damping * mean[g] * np.eye(size)) ** 0.5
        assert np.abs(found[g] - expected).max() < 1e-9 * max(1.0, float(scale))


@given(st.integers(0, 999), st.integers(1, 3), st.integers(1, 30), st.sampled_from([1e-3, 1e-1]))
@settings(max_examples=30, deadline=None)
def test_rows_give_what_sums_give(seed: int, groups: int, rows: int, damping: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((groups, rows, 8)), rng.standard_normal((groups, rows, 3))
    weights = rng.standard_normal((groups, 3, 8))
    sums = ridge(weights, x.transpose(0, 2, 1) @ x, y.transpose(0, 2, 1) @ x, damping)
    kept = ridge_of_rows(weights, x, y, damping)
    assert sums is not None
    assert kept is not None
    assert np.abs(sums - kept).max() < 1e-9 * max(1.0, float(np.abs(sums).max()))


def test_blocks_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weights = data(3, 2, 40, 7)
    covariance = x.transpose(0, 2, 1) @ x
    products = np.random.default_rng(0).standard_normal(weights.shape)
    whole = ridge(weights, covariance, products, 1e-3)
    monkeypatch.setattr(module, "BLOCK", 9)
    parts = ridge(weights, covariance, products, 1e-3)
    assert whole is not None
    assert parts is not None
    assert np.abs(whole - parts).max() < 1e-9 * np.abs(whole).max()


def test_dead_inputs_keep_their_weights() -> None:
    x, weights = data(4, 1, 6, 3)
    x[:, :, 2] = 0
    covariance = x.transpose(0, 2, 1) @ x
    found = ridge(weights, covariance, weights @ covariance + 1.0 * (covariance.any(axis=1))[:, None], 1e-3)
    assert found is not None
    assert np.array_equal(found[:, :, 2], weights[:, :, 2])
    assert not np.allclose(found, weights)


def test_damping_grows_until_the_matrix_is_definite() -> None:
    indefinite = np.diag([1.0, 1.0, -1e-3])[None]
    found = ridge(np.ones((1, 2, 3)), indefinite, np.ones((1, 2, 3)), 1e-6)
    assert found is not None
    assert np.isfinite(found).all()


def test_gives_up_where_no_damping_helps() -> None:
    assert ridge(np.ones((1, 1, 2)), np.diag([1.0, -30.0])[None], np.ones((1, 1, 2)), 1e-3) is None
    assert ridge(np.ones((1, 1, 2)), np.full((1, 2, 2), np.nan), np.ones((1, 1, 2)), 1e-3) is None


@given(st.integers(0, 999), st.lists(st.integers(1, 30), min_size=1, max_size=6), st.floats(0, 1e4))
@settings(max_examples=40, deadline=None)
def test_streaming_equals_one_shot(seed: int, sizes: list[int], offset: float) -> None:
    """Whatever the batches, and however far the data lies from zero."""
    rng = np.random.default_rng(seed)
    count = sum(sizes)
    x, y = rng.standard_normal((2, count, 5)) + offset, rng.standard_normal((2, count, 3)) - offset
    moments, start = Moments(second=True), 0
    for size in sizes:
        moments.add(x[:, start : start + size], y[:, start : start + size])
        start += size
    dx, dy = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    inner, outer = moments.products()
    assert np.abs(inner - dx.transpose(0, 2, 1) @ dx).max() < 1e-8 * count
    assert np.abs(outer - dy.transpose(0, 2, 1) @ dx).max() < 1e-8 * count
    assert np.allclose(moments.means[0], x.mean(axis=1), rtol=1e-12, atol=1e-9)
    assert np.allclose(moments.means[1], y.mean(axis=1), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("rows", [3, 8, 30])
def test_a_factor_is_as_small_as_rows_and_unknowns_allow(rows: int) -> None:
    x = np.random.default_rng(rows).standard_normal((rows, 8))
    factor = factor_of_rows(x)
    assert factor.shape == (min(rows, 8), 8)
    np.testing.assert_allclose(factor.T @ factor, x.T @ x / rows, atol=1e-9)


@pytest.mark.parametrize("rows", [3, 30])
def test_the_smaller_side_gives_what_sums_give(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x, y, weights = rng.standard_normal((2, rows, 8)), rng.standard_normal((2, rows, 3)), np.zeros((2, 3, 8))
    sums = ridge(weights, x.transpose(0, 2, 1) @ x, y.transpose(0, 2, 1) @ x, 1e-3)
    found = ridge_of_either(weights, x, y, 1e-3)
    assert sums is not None
    assert found is not None
    np.testing.assert_allclose(found, sums, rtol=1e-9, atol=1e-12)


def test_rows_of_moments_are_centred_and_all_there() -> None:
    x, y = np.random.default_rng(5).standard_normal((2, 1, 7, 40)) + 9.0
    moments = Moments(second=True)
    for start in (0, 3, 4):
        stop = {0: 3, 3: 4, 4: 7}[start]
        moments.add(x[:, start:stop], y[:, start:stop])
    found = moments.rows
    for part, rows in zip(found, (x, y), strict=True):
        np.testing.assert_allclose(part, rows - rows.mean(axis=1, keepdims=True), atol=1e-12)
    # Sums that are asked for later are those of the same rows.
    np.testing.assert_allclose(moments.products()[0], found[0].transpose(0, 2, 1) @ found[0], atol=1e-9)
