"""What numbers of a report say of each other."""

from __future__ import annotations

import pytest

from compressor.results.detail import OutputsRow, Share


def share(value: float, cut: float | None, low: float | None) -> Share:
    return Share(output="y", cut=cut, value=value, low=low, high=None)


@pytest.mark.parametrize(
    ("distance", "agreement", "worse"),
    [
        (share(1.43, 0.144, 1.3), None, True),
        (share(1.43, None, 1.3), None, False),
        (share(1.43, 0.144, None), None, False),
        (share(0.2, 0.19, 0.18), None, False),
        (share(1.43, 0.144, 1.3), share(0.4, 0.5, 0.3), True),
        (share(1.43, 0.144, 1.3), share(0.6, 0.5, 0.5), False),
    ],
)
def test_a_recovery_that_moves_outputs_away_is_worse(distance: Share, agreement: Share | None, worse: bool) -> None:
    row = OutputsRow(samples=8, distance=distance, agreement=agreement)
    assert row.worse == worse
