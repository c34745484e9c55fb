from __future__ import annotations

import re
from html.parser import HTMLParser
from math import inf

from compressor.render.sensitivity_page import bars, group_charts, render_plot
from compressor.results import ModelStats
from compressor.results.sensitivity import GroupSensitivity, Point, SensitivityReport


def report(groups: int = 8, *, accuracy: float | None = None) -> SensitivityReport:
    """Groups that lose the more the later they come."""
    rows = []
    for number in range(groups):
        points = [
            Point(
                removed=n,
                macs=1 - n / 100,
                params=1.0,
                distance=inf if n == 12 else n * (number + 1) / 100,
                accuracy=None if accuracy is None else accuracy - n * (number + 1) / 1000,
            )
            for n in (4, 8, 12)
        ]
        rows.append(GroupSensitivity(name=f"g<{number}>", channels=16, points=points, safe=0 if number else 8))
    stats = ModelStats(path="a/net.onnx", bytes=1, params=1, macs=1, nodes=1, opset=18)
    return SensitivityReport(
        input=stats, groups=rows, accuracy=accuracy, samples=9, limit="it holds", measured=1, remembered=0,
        jobs=1,
    )  # fmt: skip


def test_bars_are_the_safe_share_in_the_order_of_the_model():
    found = bars(report(2))
    assert [(bar.name, bar.before, bar.after, bar.fill) for bar in found] == [
        ("g<0>", "16", "8", 50.0),
        ("g<1>", "16", "0", 0.0),
    ]
    assert [bar.change for bar in found] == ["0.92", "1"]


def test_no_chart_has_more_lines_than_can_be_told_apart_and_the_most_sensitive_come_first():
    found = group_charts(report())
    assert [len(curve.series) for curve in found] == [6, 2]
    names = [line.name for curve in found for line in curve.series]
    assert names == [*(f"g<{number}>" for number in range(7, 0, -1)), "g<0>"]


def test_lines_start_at_the_untouched_model_and_leave_out_what_is_infinitely_far():
    found = {line.name: line.points for curve in group_charts(report()) for line in curve.series}
    assert found["g<1>"] == [(0.0, 0.0), (0.25, 0.08), (0.5, 0.16)]
    judged = {line.name: line.points for curve in group_charts(report(accuracy=0.9)) for line in curve.series}
    assert judged["g<0>"] == [(0.0, 0.9), (0.25, 0.896), (0.5, 0.892), (0.75, 0.888)]


def test_the_page_is_whole_and_needs_nothing_else():
    page = render_plot(report(accuracy=0.9))
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert "<script" not in page
    assert "g<0>" not in page
    assert "g&lt;0&gt;" in page
    assert page == render_plot(report(accuracy=0.9))
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, _attributes: object) -> None:
            if tag in ("section", "table", "figure", "details", "main", "svg"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag in ("section", "table", "figure", "details", "main", "svg"):
                assert open_tags.pop() == tag

    Checker().feed(page)
    assert not open_tags
