"""Limits on a result: one that is met exactly is met."""

from __future__ import annotations

from types import SimpleNamespace as Stub
from typing import Any

import pytest

from compressor.config.gates import GatesSection
from compressor.steps.gates import missed


class Limits(GatesSection):
    """With a limit on how far outputs move, as quantisation has one."""

    max_distance: float | None = None


def clauses(moved: float = 0.0, size: int = 100, **limits: Any) -> list[str]:
    """What a result misses that moves outputs so far and has so many bytes, of 100."""
    distance = Stub(value=moved, output="y")
    report: Any = Stub(accuracy=[], outputs=Stub(distance=distance), input=Stub(bytes=100), output=Stub(bytes=size))
    return missed(report, Limits(**limits))


def test_a_limit_on_distance_is_kept_by_what_equals_it() -> None:
    # 0.30000000000000004: a mean of decimal fractions is not exact.
    assert not clauses(moved=0.1 + 0.2, max_distance=0.3)
    assert clauses(moved=0.31, max_distance=0.3)


@pytest.mark.parametrize(("size", "limit"), [(57, 0.57), (29, 0.29), (58, 58)])
def test_a_limit_on_size_is_kept_by_what_equals_it(size: int, limit: float) -> None:
    # 0.57 * 100 is 56.99999999999999.
    assert not clauses(size=size, max_size=limit)
    assert clauses(size=size + 1, max_size=limit)
