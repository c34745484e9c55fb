"""The heat map: one scale, the point nearest to a column, words beside the colour."""

from __future__ import annotations

from compressor.render.heat_map import heat_map
from compressor.render.sensitivity_page import render_plot
from tests.render.test_sensitivity_page import report


def test_cells_are_losses_on_one_scale() -> None:
    found = heat_map(report(2, accuracy=0.9))
    assert found.columns == ["25%", "50%", "75%"]
    words = [[cell.text for cell in cells] for _, cells in found.rows]
    assert words == [["0.40%", "0.80%", "1.20%"], ["0.80%", "1.60%", "2.40%"]]
    assert found.rows[1][1][2].heat == 100
    assert found.rows[0][1][2].heat == 50
    assert [cell.safe for cell in found.rows[0][1]] == [True, True, False]


def test_a_metric_that_is_no_share_is_not_told_as_per_cent() -> None:
    found = heat_map(report(1, accuracy=0.9).model_copy(update={"share": False}))
    assert [cell.text for cell in found.rows[0][1]] == ["0.004", "0.008", "0.012"]


def test_distances_that_are_infinite_are_as_hot_as_can_be() -> None:
    found = heat_map(report(1))
    assert found.rows[0][1][2].text == "∞"
    assert found.rows[0][1][2].heat == 100


def test_a_column_shows_no_point_of_another() -> None:
    asked = report(1).model_copy(update={"settings": {"ratios": [0.1, 0.25, 0.9]}})
    assert [cell.text for cell in heat_map(asked).rows[0][1]] == ["–", "0.04", "∞"]
    many = report(1).model_copy(update={"settings": {"ratios": [n / 40 for n in range(1, 30)]}})
    assert len(heat_map(many).columns) == 9


def test_the_page_has_it_without_scripts_and_escaped() -> None:
    page = render_plot(report(2))
    assert '<table class="heat">' in page
    assert "<script" not in page
    assert "g&lt;0&gt;" in page
