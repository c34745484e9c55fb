"""What channels were ranked by, as the report counts it."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.channels.labels import UnitArray
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.pruning.budgets.select import Scored
from compressor.render.html import render_html
from compressor.results import GroupRow
from compressor.steps.histogram import histogram
from tests.models import between, in_memory


class Keeping:
    """Stands for a cut that keeps these units."""

    def __init__(self, kept: list[bool]) -> None:
        self._kept = np.asarray(kept)

    def keeps_units(self, units: UnitArray) -> UnitArray:
        return self._kept[: len(units)]


def rows(**asked: object) -> list[GroupRow]:
    found = prune(in_memory(between("b = Relu(a)")), PruneSettings.parse({"ratio": 0.5, "round_to": 1, **asked}))
    return found.report.groups


def test_every_channel_that_may_go_is_in_one_bin() -> None:
    for row in rows(criterion="l2"):
        assert row.scores is not None
        assert row.scores.ranked_by == "l2"
        assert sum(row.scores.removed) == row.removed
        # One channel has to stay, whatever it weighs.
        assert sum(row.scores.kept) == row.channels - row.removed - 1


@pytest.mark.parametrize("criterion", ["l2", "consumers"])
def test_what_goes_is_ranked_below_what_stays(criterion: str) -> None:
    for row in rows(criterion=criterion, scope="local"):
        assert row.scores is not None
        gone, kept = np.flatnonzero(row.scores.removed), np.flatnonzero(row.scores.kept)
        assert gone.max() <= kept.min()


@pytest.mark.parametrize(
    "scores", [[3e38, 3e38], [0.0, 0.0], [-1e308, 1e308], [1.0, np.nextafter(1.0, 2.0)], [1e-300, 1.0]]
)
def test_any_range_of_scores_has_bins(scores: list[float]) -> None:
    units = np.arange(1, 3)
    # Of a cut it asks one thing, which the stand-in has.
    found = histogram(Scored(units, np.asarray(scores), "l2"), Keeping([True, False]))  # type: ignore[arg-type]
    assert found is not None
    assert (sum(found.kept), sum(found.removed)) == (1, 1)


def test_losses_are_told_as_such() -> None:
    for row in rows(scope="loss", recover="lstsq"):
        assert row.scores is not None
        assert row.scores.ranked_by == "loss"


def test_a_replay_ranks_nothing() -> None:
    source = between("b = Relu(a)")
    plan = prune(in_memory(source), PruneSettings(ratio=0.5, round_to=1)).plan
    assert plan is not None
    again = prune(in_memory(source), PruneSettings(ratio=0.5), plan=plan)
    assert all(row.scores is None for row in again.report.groups)


def test_the_page_draws_them() -> None:
    result = prune(in_memory(between("b = Relu(a)")), PruneSettings(ratio=0.5, round_to=1))
    page = render_html(result.report.model_copy(update={"output": result.report.input}))
    assert "What they were ranked by" in page
    assert page.count('class="sky-gone" d=') == len(result.report.groups)
