"""Intervals of counted shares, and how many samples tell a difference."""

import pytest

from compressor.core.intervals import needed, wilson


@pytest.mark.parametrize(("hits", "count", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634)])
def test_wilson(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits, count) == pytest.approx((low, high), abs=1e-3)


def test_samples_that_tell_a_difference() -> None:
    assert needed(0.5, 0.01) == pytest.approx(9604, abs=5)
    assert needed(0.99, 0.01) < 400
