"""Intervals of counted shares, and how many samples tell a difference."""

import pytest

from compressor.core.intervals import needed, wilson


@pytest.mark.parametrize(("hits", "count", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634)])
def test_wilson(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits, count) == pytest.approx((low, high), abs=1e-3)


def test_samples_that_tell_a_difference() -> None:
    assert needed(0.5, 0.01) == pytest.approx(9604, abs=5)
    # Rule of three: of 380 samples that are all right, at most one in a hundred is wrong.
    assert needed(1.0, 0.01) == needed(0.0, 0.01) == pytest.approx(380, abs=2)
    assert wilson(380, 380)[0] == pytest.approx(0.99, abs=1e-4)
