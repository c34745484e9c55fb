"""Geometry of the report's charts: numbers in, SVG path data and positions in percent out; no markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor, isfinite, log10

from compressor.results.detail import Curve, Series

LINES = 6
"""Lines of a chart: more cannot be told apart."""
_CELLS = 48
"""Cells of a strip at most: about what a phone can show."""
_HUGE, _TINY = 1e300, 1e-290
"""Numbers beyond these are not drawn, differences below not shown: room for sums that neither over- nor underflow."""
_GAPS = 120
"""Columns of a skyline that are still drawn apart."""


def skyline(values: Sequence[float], top: float) -> str:
    """Columns side by side as one path, in a box of ``len(values)`` by 100; what is not zero stays visible."""
    # A gap between columns while there is room for one.
    width = 0.82 if len(values) <= _GAPS else 1
    parts = []
    for index, value in enumerate(values):
        if value > 0 and top > 0:
            # At least a sliver, so that a small layer is not taken for none.
            height = max(0.7, min(100.0, 100 * value / top))
            parts.append(f"M{index} 100V{number(100 - height)}h{number(width)}V100z")
    return "".join(parts)


def skyline_width(places: int) -> float:
    """Width of the box that a skyline of so many columns fills."""
    return places - 0.18 if places <= _GAPS else places


def dash_pattern(size: int, gone: Iterable[int]) -> str:
    """Dashes of a line of ``size`` positions in at most 48 cells: kept, gone, kept ...; gone where most of a cell is.

    Starts with what is kept, which may be nothing, and ends with what is gone. In units of one cell.
    """
    cells = min(size, _CELLS)
    lost = [0] * cells
    for position in gone:
        lost[position * cells // size] += 1
    # Cells differ in size by one where the length is no multiple of their number.
    sizes = [len(range(-(-k * size // cells), -(-(k + 1) * size // cells))) for k in range(cells)]
    flags = [2 * number_lost > held for number_lost, held in zip(lost, sizes, strict=True)]
    runs = [(flag, len(list(run))) for flag, run in groupby(flags)]
    dashes = [length for _, length in runs]
    # A dash pattern starts with a dash, so one of no length comes first.
    if runs and runs[0][0]:
        dashes = [0, *dashes]
    # An odd pattern would be repeated with dashes and gaps changed over.
    return " ".join(map(str, dashes if len(dashes) % 2 == 0 else [*dashes, 0]))


def cells_of(size: int) -> int:
    """How many cells :func:`dash_pattern` draws."""
    return min(size, _CELLS)


def decades(value: float, low: int = -9, high: int = 0) -> float:
    """Where a positive number stands on a logarithmic ruler from 10^low to 10^high, in percent; clipped."""
    if not isfinite(value):
        return 100.0
    if value <= 0:
        return 0.0
    return _percent((log10(value) - low) / (high - low))


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, in percent from the start of the axis, and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class DrawnLine:
    """A series as drawn: a path in a box of 1000 by 1000, and its points as (x, y) in percent; ``band`` is the area of
    its intervals, or empty."""

    name: str
    path: str
    points: tuple[tuple[float, float], ...]
    band: str = ""


@dataclass(frozen=True)
class LineChart:
    """A chart as drawn; y runs down, as in SVG."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[DrawnLine, ...]


def line_chart(curve: Curve, beside: Iterable[Curve] = ()) -> LineChart | None:
    """Axes at round numbers around all points and intervals that can be drawn; None where there are none.

    Args:
        curve: what is drawn.
        beside: charts that stand beside it on the same scale; the axis of y holds their numbers too.
    """
    # Numbers near the limits of floats would overflow in the differences below.
    drawn = [(s, [(x, y) for x, y in s.points if abs(x) < _HUGE and abs(y) < _HUGE]) for s in curve.series]
    points = [point for _, found in drawn for point in found]
    if not points:
        return None
    heights = [y for other in (curve, *beside) for y in _heights(other)]
    xs, ys = round_axis([x for x, _ in points], tight=True), round_axis(heights)
    return LineChart(
        _ticks(xs),
        tuple(Tick(100 - t.at, t.text) for t in _ticks(ys)),
        tuple(_line(series, found, xs, ys) for series, found in drawn),
    )


def _heights(curve: Curve) -> list[float]:
    found = [y for s in curve.series for y in (*(y for _, y in s.points), *(y for pair in s.bounds for y in pair))]
    return [y for y in found if abs(y) < _HUGE]


def _line(series: Series, points: Sequence[tuple[float, float]], xs: ChartAxis, ys: ChartAxis) -> DrawnLine:
    places = [(_place(x, xs), 100 - _place(y, ys)) for x, y in points]
    band = ""
    # Where a point could not be drawn the intervals would stand beside the others; some points have none.
    ends = [end for pair in series.bounds for end in pair]
    if ends and len(series.bounds) == len(points) and all(abs(end) < _HUGE for end in ends):
        lower = [(x, 100 - _place(low, ys)) for (x, _), (low, _) in zip(places, series.bounds, strict=True)]
        upper = [(x, 100 - _place(high, ys)) for (x, _), (_, high) in zip(places, series.bounds, strict=True)]
        band = _path([*upper, *lower[::-1]]) + "z"
    return DrawnLine(series.name, _path(places), tuple((round(x, 2), round(y, 2)) for x, y in places), band)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if k else 'M'}{number(10 * x)} {number(10 * y)}" for k, (x, y) in enumerate(places))


@dataclass(frozen=True)
class ChartAxis:
    """From where to where an axis runs, and the numbers marked on it."""

    low: float
    high: float
    marks: tuple[float, ...]


def round_axis(values: Sequence[float], *, tight: bool = False) -> ChartAxis:
    """An axis around ``values`` with a few marks at round numbers; ``tight`` ends at the values."""
    low, high = min(values), max(values)
    # A flat line gets some room above and below, or the axis would have no length.
    if high - low <= max(1e-9 * max(abs(low), abs(high)), _TINY):
        pad = abs(low) / 2 if abs(low) > _TINY else 0.5
        low, high = low - pad, high + pad
    step = _round_step((high - low) / 4)
    # Rounding must not add a mark outside of the values.
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    marks = [k * step for k in range(first, last + 1)]
    if not tight:
        return ChartAxis(marks[0], marks[-1], tuple(marks))
    slack = 1e-6 * step
    return ChartAxis(low, high, tuple(m for m in marks if low - slack <= m <= high + slack))


def _round_step(rough: float) -> float:
    """The largest of 1, 2, 2.5, 5 times a power of ten that is no larger than ``rough``."""
    power = 10.0 ** floor(log10(rough))
    # 1 is always allowed, as rounding of the logarithm may leave ``rough`` just below the power.
    return max(m for m in (1, 2, 2.5, 5) if m == 1 or m * power <= rough * (1 + 1e-9)) * power


def _ticks(axis: ChartAxis) -> tuple[Tick, ...]:
    return tuple(Tick(round(_place(mark, axis), 2), _mark(mark, axis)) for mark in axis.marks)


def _mark(value: float, axis: ChartAxis) -> str:
    """A mark without the noise of binary fractions."""
    return "0" if abs(value) < 1e-9 * max(abs(axis.low), abs(axis.high)) else f"{value:.4g}"


def _place(value: float, axis: ChartAxis) -> float:
    return _percent((value - axis.low) / (axis.high - axis.low))


def _percent(part: float) -> float:
    return round(100 * min(1.0, max(0.0, part)), 2)


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"
