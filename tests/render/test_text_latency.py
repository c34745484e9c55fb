"""What the text report says of a latency."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from compressor.render.text import render_report
from compressor.results.detail import LatencyResult
from tests.render.case import full

MEASURED = LatencyResult(before_ms=10.0, after_ms=5.0, low=1.95, high=2.05, level=0.99, provider="CPUExecutionProvider")


def text(found: LatencyResult | None) -> str:
    out = io.StringIO()
    render_report(full(latency=found), Console(file=out, width=400))
    return out.getvalue()


def test_measured() -> None:
    line = "Latency: 10 ms before, 5 ms after; 2 times as fast (99% interval 1.95 to 2.05; CPUExecutionProvider).\n"
    assert line in text(MEASURED)


def test_aimed_at() -> None:
    aimed = MEASURED.model_copy(update={"target_ms": 5.1, "predicted_ms": 4.6, "corrections": 1})
    found = text(aimed)
    assert "5 ms after, target 5.1 ms (met, 2.0% below); 2 times as fast" in found
    assert "Operator times promised 4.6 ms, corrected 1 time." in found


@pytest.mark.parametrize(
    ("target", "said"), [(4.826, "missed by 3.6%"), (4.9, "met within 2.0%"), (5.0, "met"), (6.25, "met, 20.0% below")]
)
def test_the_gap_to_the_target_is_the_measured_one(target: float, said: str) -> None:
    assert f"ms ({said});" in text(MEASURED.model_copy(update={"target_ms": target}))


def test_not_measured() -> None:
    assert "Latency" not in text(None)
