"""What a robustness report says in text and on its page."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from compressor.render.robustness import basis, findings, render_robustness, shift_tables
from compressor.render.robustness_page import render_page, robustness_charts
from compressor.results.environment import environment
from compressor.results.robustness import (
    Estimate,
    LeftOut,
    LikenessRow,
    PotentialRow,
    RobustModel,
    RobustnessReport,
    ShiftedAccuracy,
)
from tests.render.case import stats
from tests.render.outline import Outline

SHIFTS = [
    ("clean", 0.0),
    ("noise", 0.5),
    *(("jpeg", float(k)) for k in range(1, 6)),
    ("jpeg", None),
    ("corruptions", None),
]


def test_samples_that_were_left_out_are_told() -> None:
    for available, told in {
        450: "100 of 450 samples of test.npz (--samples takes more), noise",
        100: "100 samples of",
    }.items():
        assert basis(report().model_copy(update={"available": available})).startswith(told)
    assert basis(report()).startswith("100 samples of test.npz, noise drawn 1 time for each")


def about(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.02, high=value + 0.02)


def report(*, labels: bool = True, classes: bool = True, shifts=SHIFTS, models: int = 2, name: str = "y"):
    letters = "ABCDEFGHIJ"[:models]
    likeness = [
        LikenessRow(
            model=letter,
            output=name,
            shift=shift,
            level=level,
            agreement=about(0.9) if classes else None,
            distance=about(0.1) if classes else None,
            relative_error=about(0.25),
        )
        for letter in letters[1:]
        for shift, level in shifts
    ]
    accuracy = [
        ShiftedAccuracy(
            model=letter,
            shift=shift,
            level=level,
            accuracy=about(0.8 - 0.1 * k),
            lost=about(0.1) if k else None,
            excess_error=about(0.05) if k else None,
        )
        for k, letter in enumerate(letters)
        for shift, level in shifts
    ]
    potential = [
        PotentialRow(shift=shift, level=level, value=0.4 * (not n), low=0, high=0.6, model=None if n else "B")
        for n, (shift, level) in enumerate(shifts)
    ]
    return RobustnessReport(
        models=[
            RobustModel(label=letter, stats=stats(f"{name}{k}.onnx", 1000), saved=0.4 * (k > 0))
            for k, letter in enumerate(letters)
        ],
        inputs=[],
        source="test.npz",
        samples=100,
        draws=1,
        confidence=0.95,
        margin=0.005,
        compression="params",
        likeness=likeness,
        accuracy=accuracy if labels else [],
        potential=potential if labels else [],
        left_out=[LeftOut(what="blur", reason=f"of {name}")],
        seconds={"run": 1.0},
        environment=environment("a device"),
    )


def text(found: RobustnessReport, *, verbose: bool = False) -> str:
    console = Console(file=StringIO(), width=200, force_terminal=False)
    render_robustness(found, console, verbose=verbose)
    return console.file.getvalue()


def test_a_saving_that_no_shift_lowers_is_said_to_be_that():
    found = report()
    found = found.model_copy(update={"potential": found.potential[:1]})
    assert findings(found)[-1].endswith("of the parameters on the samples as they are, and no less under any shift.")


def test_findings_are_sentences():
    assert findings(report()) == [
        "B is right on 70.0 ±2.0% (A 80.0%) of the samples as they are, on 70.0 ±2.0% (A 80.0%) under all corruptions: "
        "that costs it +5.0 ±2.0 points more than A.",
        "With at most 0.50% of accuracy lost, B saves 40.0% of the parameters on the samples as they are; under noise "
        "0.5 it is 0.0% at most.",
    ]
    assert findings(report(labels=False, shifts=SHIFTS[:2])) == [
        "B gives the same class as A on 90.0 ±2.0% of the samples as they are, on 90.0 ±2.0% under noise 0.5."
    ]
    assert findings(report(labels=False, classes=False, shifts=SHIFTS[:1])) == [
        "y of B is off by 0.250 ±0.020 of A's on the samples as they are."
    ]


def test_a_corruption_is_one_row_unless_all_are_asked_for():
    short, long = text(report()), text(report(), verbose=True)
    assert "JPEG 3" not in short
    assert "JPEG 3" in long
    assert "Left out: blur: of y." in short
    assert [table.columns for table in shift_tables(report())][-3:] == [
        ["", "A", "B"],
        ["", "B"],
        ["", "saved", "surely", "perhaps", "by"],
    ]
    assert all(len(row) == len(table.columns) for table in shift_tables(report(models=4)) for row in table.rows)


def test_charts_have_one_line_a_model_in_one_order():
    found = robustness_charts(report(models=3))
    assert [curve.title for curve in found] == [
        "Accuracy under noise",
        "y: agreement under noise",
        "y: distance under noise",
        "JPEG",
    ]
    for curve in found:
        assert [series.name[0] for series in curve.series] == ["A", "B", "C"]
        assert [series.points[0][0] for series in curve.series] == [0, 0, 0]
    assert found[1].series[0].points == [(0, 100), (0.5, 100)], "A agrees with itself"
    assert [x for x, _ in found[3].series[1].points] == [0, 1, 2, 3, 4, 5]
    assert found[0].series[0].bounds == [pytest.approx((78, 82))] * 2
    assert robustness_charts(report(models=9))[0].note == "3 more models in the tables."
    assert [curve.title for curve in robustness_charts(report(labels=False, classes=False))] == [
        "y: relative error under noise",
        "JPEG",
    ]


def test_corruptions_stand_side_by_side_with_bands():
    shifts = [*SHIFTS, *(("blur", float(k)) for k in range(1, 6))]
    page = render_page(report(shifts=shifts))
    grid = page[page.index('class="multiples"') :]
    grid = grid[: grid.index("</section>")]
    assert grid.count("<figure>") == 2
    assert grid.count('class="band d1"') == grid.count('class="band d2"') == 2


def test_the_page_is_whole_and_safe():
    hostile = "<script>alert(1)</script>\u202e"
    for found in (report(name=hostile), report(labels=False), report(shifts=SHIFTS[:1])):
        page = render_page(found)
        assert "<script" not in page
        assert "\u202e" not in page
        outline = Outline(page)
        assert not outline.open
        anchors = [attributes["href"] for tag, attributes in outline.tags if tag == "a"]
        places = {f"#{attributes['id']}" for _, attributes in outline.tags if "id" in attributes}
        assert set(anchors) <= places
    assert render_page(report()) == render_page(report())
