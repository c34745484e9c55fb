"""Numbers of a page as text and as bars."""

from __future__ import annotations

import pytest

from compressor.render import page
from compressor.results import FrozenRow, GroupRow
from compressor.results.detail import LayerRow
from tests.render.case import full


@pytest.mark.parametrize(("indices", "text"), [([], []), ([3], ["3"]), ([1, 2, 3, 7, 9, 10], ["1–3", "7", "9–10"])])
def test_positions_as_ranges(indices: list[int], text: list[str]) -> None:
    assert page.ranges(indices) == text


@pytest.mark.parametrize(
    ("after", "before", "text"),
    [(26, 100, "−74%"), (5, 5, "0%"), (1.5, 1, "+50%"), (1, 0, "–"), (float("nan"), 1, "–"), (997, 1000, "−0.3%")],
)
def test_how_much_smaller(after: float, before: float, text: str) -> None:
    assert page.change(after, before) == text


def test_how_many_times_smaller_and_nothing_where_that_is_no_news() -> None:
    assert (page.times(25, 100), page.times(97, 100), page.times(0, 100)) == ("4.0× smaller", "", "")


@pytest.mark.parametrize(("part", "whole", "drawn"), [(1, 4, 25.0), (8, 4, 100.0), (-1, 4, 0.0), (1, 0, 0.0)])
def test_a_bar_stays_within_its_rail(part: float, whole: float, drawn: float) -> None:
    assert page.left(part, whole) == drawn


def test_phases_stand_one_behind_the_other() -> None:
    assert page.phases({"load": 1.0, "cut": 3.0}) == [("load", "1.00 s", 0.0, 25.0), ("cut", "3.00 s", 25.0, 75.0)]
    assert page.phases({"load": 0.0}) == [("load", "0.00 s", 0.0, 0.0)]


def test_reasons_stand_by_the_channels_that_they_hold() -> None:
    rows = [FrozenRow(value=f"v{k}", axis=0, channels=n, reason=r, node="n") for k, (n, r) in
            enumerate([(4, "small"), (3, "large"), (8, "large")])]  # fmt: skip
    large, small = page.reasons(rows)
    assert (large.text, large.channels, large.places) == ("large", "11 channels", "2 places")
    assert [row.channels for row in large.rows] == [8, 3]
    assert small.channels == "4 channels"


def test_only_a_plan_of_this_model_is_drawn() -> None:
    row = GroupRow(name="g", channels=4, removed=2, axes=[])
    plan = {"removals": [{"group": "g", "shape": [4, 3], "axes": [0], "indices": [0, 2], "initializer": "w"}]}
    [bar] = page.group_widths([row], plan)
    assert (bar.fill, bar.before, bar.after, bar.change) == (50.0, "4", "2", "−50%")
    assert bar.dashes
    plan["removals"][0]["indices"] = [0]
    [bar] = page.group_widths([row], plan)
    assert not bar.dashes


def test_layers_by_cost_without_those_that_cost_nothing() -> None:
    def layer(name: str, before: int | None, after: int | None) -> LayerRow:
        return LayerRow(name=name, op_type="Conv", weight=name, macs_before=before, macs_after=after)

    bars = page.layers([layer("a", 10, 5), layer("b", 40, 40), layer("c", 0, 0), layer("d", None, 20)])
    assert [bar.name for bar in bars] == ["b", "d", "a"]
    assert [(bar.rail, bar.fill) for bar in bars] == [(100.0, 100.0), (0.0, 50.0), (25.0, 12.5)]
    assert [bar.change for bar in bars] == ["0%", "", "−50%"]


def test_what_was_asked_for_is_what_ran_where_that_was_left_open() -> None:
    report = full(settings={"criterion": "auto", "ratio": 0.5, "scope": "auto"}, ran={"scope": "local"})
    assert page.asked(report) == "Asked for: removing 50% of the channels of each group."
    report = full(settings={"criterion": "auto", "ratio": 0.5, "scope": "auto"}, ran={"scope": "loss"})
    assert "where they matter least" in page.asked(report)
