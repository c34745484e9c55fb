"""Limits on a result: one that is met exactly is met."""

from __future__ import annotations

from types import SimpleNamespace as Stub
from typing import Any

import pytest

from compressor.config import PruneSettings
from compressor.config.gates import GatesSection
from compressor.core.notation import Percent
from compressor.errors import GateMissed
from compressor.metrics.evaluator import Evaluator
from compressor.render.gates import gate_cells
from compressor.results import Report
from compressor.results.detail import AccuracyRow, OutputsRow, Share
from compressor.steps.gates import demand_gates, distance_row, drop_row, judged, missed, too_fine, unresolved
from tests.render.case import stats


def clauses(moved: float = 0.0, size: int = 100, **limits: Any) -> list[str]:
    """What a result misses that moves outputs so far and has so many bytes, of 100."""
    distance = Stub(value=moved, output="y", low=moved, high=moved)
    outputs = Stub(distance=distance, samples=9)
    report: Any = Stub(accuracy=[], outputs=outputs, input=Stub(bytes=100), output=Stub(bytes=size))
    return missed(report, GatesSection(**limits))


def test_a_limit_on_distance_is_kept_by_what_equals_it() -> None:
    # 0.30000000000000004: a mean of decimal fractions is not exact.
    assert not clauses(moved=0.1 + 0.2, max_distance=0.3)
    assert clauses(moved=0.31, max_distance=0.3)


@pytest.mark.parametrize(("size", "limit"), [(57, 0.57), (29, 0.29), (58, 58)])
def test_a_limit_on_size_is_kept_by_what_equals_it(size: int, limit: float) -> None:
    # 0.57 * 100 is 56.99999999999999.
    assert not clauses(size=size, max_size=limit)
    assert clauses(size=size + 1, max_size=limit)


def verdicts(limits: GatesSection, **more: Any) -> list[tuple[str, float | None, str]]:
    """Name, measurement and verdict of the rows that a report of a small file gets."""
    report = Report(input=stats("a.onnx", 100), output=stats("b.onnx", 30), **more)
    return [(row.name, row.measured, row.verdict) for row in judged(report, limits).gates]


def test_every_gate_that_was_asked_has_a_verdict() -> None:
    row = AccuracyRow(metric="top-1", before=0.9, after=0.8, samples=10)
    found = verdicts(GatesSection(max_drop=0.25, max_size=0.2), accuracy=[row])
    assert found == [("max_drop", pytest.approx(0.1), "met"), ("max_size", 0.3, "MISSED")]


def test_no_gate_gives_no_verdict() -> None:
    assert not verdicts(GatesSection())


def test_what_was_not_measured_is_not_said_to_be_met() -> None:
    assert verdicts(GatesSection(max_drop=0.25)) == [("max_drop", None, "not measured")]


def test_drops_of_no_share_are_in_their_unit() -> None:
    rmse = AccuracyRow(metric="rmse", before=2.0, after=2.5, share=False, higher_is_better=False)
    assert [(row.measured, row.share) for row in (drop_row(rmse, 1.0), drop_row(rmse, Percent(0.1)))] == [
        (0.5, False),
        (0.25, True),
    ]


@pytest.mark.parametrize(
    ("before", "after", "samples", "limit", "told"),
    [
        # All are right, of samples too few to tell one in a hundred.
        (1.0, 1.0, 8, 0.01, "--max-drop 1.00% is finer than 8 samples tell"),
        (1.0, 1.0, 1, 0.01, "--max-drop 1.00% is finer than one sample tells: "),
        (1.0, 1.0, 8, 1e-6, "--max-drop 0.0001% is finer than 8 samples tell"),
        (1.0, 1.0, 1000, 0.01, ""),
        # Missed by far, whatever chance did.
        (1.0, 0.12, 25, 0.01, ""),
    ],
)
def test_a_limit_that_samples_cannot_tell(before: float, after: float, samples: int, limit: float, told: str) -> None:
    found = too_fine(Evaluator().row(before, after, samples), limit)
    assert bool(found) == bool(told)
    assert told in found


@pytest.mark.parametrize(
    ("ends", "verdict", "told"),
    [
        (
            (None, None),
            "met, unsure",
            "one sample tells: there is no interval of one; 30 or more would tell",
        ),
        # Half as wide as it is now, it would leave the limit out.
        ((0.02, 0.06), "met, unsure", "outputs are off by 2.00% to 6.00% of their norm; about 4 samples would tell"),
        ((0.03, 0.045), "met", ""),
    ],
)
def test_a_limit_on_distance_that_samples_cannot_tell(ends: tuple[Any, Any], verdict: str, told: str) -> None:
    row = OutputsRow(
        samples=1, distance=Share(output="y", value=0.04, low=ends[0], high=ends[1]), compared=1, agreement=None
    )
    report = Report(input=stats("a.onnx", 100), output=stats("b.onnx", 30), outputs=row)
    [gate] = judged(report, GatesSection(max_distance=0.05)).gates
    assert gate.verdict == verdict
    assert told in gate.unsure
    assert unresolved(report, GatesSection(max_distance=0.05)) == ([gate.unsure] if told else [])


@pytest.mark.parametrize(
    ("moved", "limit", "told"),
    [
        (0.0815, 0.05, "output 'y' moves by 8.15% of its norm, --max-distance allows 5.00%"),
        (3.2, 2.5, "output 'y' moves by 3.2 times its norm, --max-distance allows 2.5 times"),
    ],
)
def test_the_error_and_the_table_write_distances_alike(moved: float, limit: float, told: str) -> None:
    row = distance_row(moved, limit, "output 'y'")
    assert row.missed == told
    _, most, measured, *_ = gate_cells(row)
    assert f"moves by {measured.removesuffix(' times')}" in told
    assert told.endswith(most)


def test_who_forbade_recovery_is_told_to_allow_it_first() -> None:
    outputs = OutputsRow(samples=9, distance=Share(output="y", value=0.3, low=None, high=None))
    report = Report(input=stats("a.onnx", 100), output=stats("b.onnx", 30), outputs=outputs)
    for recover, remedy in (("none", "drop --recover none"), ("lstsq", "--recover finetune --epochs 10 with --data")):
        with pytest.raises(GateMissed, match=f"try a smaller --ratio, {remedy}"):
            demand_gates(report, PruneSettings(ratio=0.5, max_distance=0.1, recover=recover))
