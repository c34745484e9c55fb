"""Charts: what is drawn is what the numbers say."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from compressor.render.charts import cells_of, dash_pattern, decades, line_chart, round_axis, skyline, skyline_width
from compressor.results.detail import Curve, Series

numbers = st.floats(-1e299, 1e299)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_a_strip_covers_all_cells_and_is_exact_where_it_can_be(case: tuple[int, set[int]]) -> None:
    size, gone = case
    dashes = [int(d) for d in dash_pattern(size, sorted(gone)).split()]
    assert sum(dashes) == cells_of(size)
    assert len(dashes) % 2 == 0, "an odd number would repeat with dash and gap swapped"
    if size == cells_of(size):
        cells = [k % 2 == 1 for k, length in enumerate(dashes) for _ in range(length)]
        assert {k for k, lost in enumerate(cells) if lost} == gone


@given(st.integers(49, 5000))
def test_a_strip_in_cells_shows_where_a_half_went(size: int) -> None:
    dashes = [int(d) for d in dash_pattern(size, range(size // 2)).split()]
    assert len(dashes) == 4
    assert dashes[0] == dashes[3] == 0
    assert abs(dashes[1] - dashes[2]) <= 2


@given(st.lists(numbers, min_size=1, max_size=8), st.booleans())
def test_axes_hold_their_values_at_a_few_round_marks(values: list[float], tight: bool) -> None:
    axis = round_axis(values, tight=tight)
    slack = 1e-6 * (axis.high - axis.low)
    assert axis.low <= min(values) + slack
    assert axis.high >= max(values) - slack
    assert 1 <= len(axis.marks) <= 13
    assert all(axis.low - slack <= m <= axis.high + slack for m in axis.marks)
    assert list(axis.marks) == sorted(axis.marks)


def test_marks_of_usual_numbers() -> None:
    assert [round(m, 3) for m in round_axis([0.0, 10.0]).marks] == [0, 2.5, 5, 7.5, 10]
    assert [round(m, 3) for m in round_axis([0.51, 0.95]).marks] == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@given(st.lists(st.tuples(numbers, numbers), max_size=6))
def test_points_stay_in_the_chart(points: list[tuple[float, float]]) -> None:
    chart = line_chart(Curve(title="t", x_label="x", y_label="y", series=[Series(name="s", points=points)]))
    assert (chart is None) == (not points)
    if chart is not None:
        assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in chart.lines[0].points)
        assert len(re.findall("[ML]", chart.lines[0].path)) == len(points)


def test_points_beyond_all_bounds_are_left_out() -> None:
    points = [(0.0, 1.0), (1.0, 1e308), (2.0, float("nan")), (float("inf"), 0.0), (3.0, 2.0)]
    chart = line_chart(Curve(title="t", x_label="x", y_label="y", series=[Series(name="s", points=points)]))
    assert chart is not None
    assert len(chart.lines[0].points) == 2


def test_higher_is_further_up() -> None:
    series = Series(name="s", points=[(0, 0.2), (1, 0.8)])
    chart = line_chart(Curve(title="t", x_label="x", y_label="y", series=[series]))
    assert chart is not None
    (x0, low), (x1, high) = chart.lines[0].points
    assert x0 < x1
    assert low > high
    assert chart.y_ticks[0].at > chart.y_ticks[-1].at


def test_bands_are_closed_around_their_points_and_charts_beside_share_a_scale() -> None:
    def chart(high: float) -> Curve:
        line = Series(name="s", points=[(0, 1), (1, 2)], bounds=[(0, 2), (1, high)])
        return Curve(title="t", x_label="x", y_label="y", series=[line, Series(name="r", points=[(0, 0)])])

    alone = line_chart(chart(4.0))
    assert alone is not None
    # From the upper ends forward to the lower ends back, y downwards; 0 to 4 is the whole axis.
    assert alone.lines[0].band == "M0 500L1000 0L1000 750L0 1000z"
    assert alone.lines[1].band == ""
    shared = line_chart(chart(4.0), [chart(4.0), chart(8.0)])
    assert shared is not None
    assert shared.lines[0].band == "M0 750L1000 500L1000 875L0 1000z"


def test_a_skyline_has_a_column_for_each_value_that_is_not_zero() -> None:
    path = skyline([4, 0, 1, 1e-9], 4)
    tops = {int(x): float(y) for x, y in re.findall(r"M(\d+) 100V([\d.]+)", path)}
    assert tops == {0: 0, 2: 75, 3: 99.3}
    assert skyline([0, 0], 0) == ""
    assert skyline_width(500) == 500


def test_decades() -> None:
    assert decades(1e-9) == 0
    assert decades(0) == 0
    assert decades(1) == decades(float("nan")) == decades(float("inf")) == 100
    assert abs(decades(1e-4) - 55.56) < 0.01
