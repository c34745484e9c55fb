"""Sums that arrive in batches are those of all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.reconstruct import moments
from compressor.reconstruct.moments import Moments

Array = np.ndarray


def rows(count: int, mean: float, seed: int) -> tuple[Array, Array]:
    """Of two groups: four unknowns with a mean far from zero, three outputs that depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(mean, 1.0, (2, count, 4))
    return x, x[..., :3] * [1, -2, 0.5] + rng.normal(0, 0.1, (2, count, 3))


def gathered(x: Array, y: Array, cuts: list[int], **options: bool) -> Moments:
    found = Moments(second=True, **options)
    for one, two in zip(np.split(x, cuts, axis=1), np.split(y, cuts, axis=1), strict=True):
        if one.shape[1]:
            found.add(one, two)
    return found


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 79), max_size=5).map(sorted),
    st.sampled_from([0.0, 3.0, 1e5]),
    st.sampled_from([1, 16, 256]),
)
def test_batches_make_no_difference(cuts: list[int], mean: float, fewest: int) -> None:
    x, y = rows(80, mean, seed=len(cuts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moments, "FEWEST_ROWS", fewest)
        found = gathered(x, y, cuts)
        for got, want in zip(found.means, (x.mean(axis=1), y.mean(axis=1)), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12)
        for got, want in zip(found.variances, (x.var(axis=1), y.var(axis=1)), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-8)
        inner, outer = found.products()
    a, b = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(inner, a.transpose(0, 2, 1) @ a, rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(outer, b.transpose(0, 2, 1) @ a, rtol=1e-7, atol=1e-6)
    assert found.count == 80


def test_rows_are_kept_where_they_are_asked_for() -> None:
    x, y = rows(300, 5.0, seed=0)  # more than are summed up otherwise
    found = gathered(x, y, [100, 200], whole=True)
    for got, want in zip(found.rows, (x, y), strict=True):
        np.testing.assert_allclose(got, want - want.mean(axis=1, keepdims=True), atol=1e-12)
