"""Reasons are told once each."""

from __future__ import annotations

import pytest

from compressor.steps.remarks import left_alone


@pytest.mark.parametrize(
    ("nodes", "line"),
    [(2, "recovery left 'n0', 'n1' alone: why"), (5, "recovery left 'n0', 'n1', 'n2' and 2 more alone: why")],
)
def test_a_reason_is_told_once(nodes: int, line: str) -> None:
    skipped = {f"n{k}": "why" for k in range(nodes)} | {"m": "another"}
    assert left_alone(skipped) == [line, "recovery left 'm' alone: another"]
    assert left_alone({}) == []
