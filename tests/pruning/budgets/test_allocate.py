from __future__ import annotations

from itertools import pairwise, product
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.channels.groups import ChannelGroup, group
from compressor.config import PruneSettings
from compressor.errors import UsageError
from compressor.pruning.budgets.allocate import Alternative, Move, final_options, frontier, line_of, scores_by_loss
from compressor.pruning.budgets.budget import Origin
from compressor.pruning.budgets.select import origin_of
from compressor.pruning.criteria import Scores
from compressor.pruning.cut.analysis import analyse
from compressor.results import ModelStats
from compressor.results.sensitivity import GroupSensitivity, Point, SensitivityReport
from tests.models import in_memory, model

NOTHING = Alternative(0.0, 0.0)
options = st.lists(st.builds(Alternative, st.integers(0, 12).map(float), st.integers(0, 12).map(float)), max_size=4)
items = st.lists(options, min_size=1, max_size=4).map(lambda found: dict(enumerate(found)))


def total(chosen: list[Alternative]) -> tuple[float, float]:
    return sum(o.gain for o in chosen), sum(o.loss for o in chosen)


def after(moves: list[Move[int]], of: dict[int, list[Alternative]]) -> tuple[float, float]:
    return total([of[item][index] for item, index in final_options(moves).items()])


@settings(max_examples=300, deadline=None)
@given(items)
def test_no_other_selection_gains_as_much_and_loses_less(of):
    every = [total(list(chosen)) for chosen in product(*([NOTHING, *found] for found in of.values()))]
    moves = line_of(of)
    for stop in range(len(moves) + 1):
        gain, loss = after(moves[:stop], of)
        assert min(lost for gained, lost in every if gained >= gain) == pytest.approx(loss)
    assert after(moves, of)[0] == max(gained for gained, _ in every)


@given(items)
def test_every_move_gains_and_slopes_rise(of):
    moves = line_of(of)
    assert [m.slope for m in moves] == sorted(m.slope for m in moves)
    gains = [after(moves[:stop], of)[0] for stop in range(len(moves) + 1)]
    assert all(one < two for one, two in pairwise(gains))


@given(options)
def test_a_hull_is_a_part_of_the_options_in_the_order_of_gains(found):
    hull = frontier(found)
    assert [found[k].gain for k in hull] == sorted({found[k].gain for k in hull})
    assert {found[k].loss for k in hull} <= {o.loss for o in found}


def test_what_cannot_be_paid_is_never_taken():
    assert frontier([Alternative(1.0, 1.0), Alternative(9.0, inf), Alternative(0.0, 0.0)]) == [0]
    assert line_of({"a": [Alternative(1.0, inf)]}) == []


def test_an_option_that_is_worse_in_both_is_passed_over():
    found = [Alternative(2.0, 1.0), Alternative(1.0, 1.5), Alternative(4.0, 8.0), Alternative(3.0, 6.0)]
    assert frontier(found) == [0, 2]
    assert np.allclose([m.slope for m in line_of({"a": found})], [0.5, 3.5])


# ---- channels -----------------------------------------------------------------------------------------------

NET = """
    (float[3,8] x) => (float[a,b] y) <float[8,16] w, float[16,24] v, float[24,4] u> {
        a = MatMul(x, w)  r = Relu(a)  b = MatMul(r, v)  s = Relu(b)  y = MatMul(s, u) }"""


def grouped() -> tuple[dict[ChannelGroup, Scores], Origin]:
    analysis = analyse(in_memory(model(NET)), PruneSettings())
    groups = group(analysis.coupling)
    rng = np.random.default_rng(0)
    return {g: rng.random(len(g.units)) for g in groups}, origin_of(analysis.coupling, groups, 1)


def report(curves: dict[str, list[tuple[int, float, float]]], channels: dict[str, int]) -> SensitivityReport:
    """By group: (removed, MACs left, distance)."""
    stats = ModelStats(path=None, bytes=1, params=1, macs=1, nodes=1, opset=18)
    rows = [
        GroupSensitivity(
            name=name,
            channels=channels[name],
            points=[Point(removed=n, macs=macs, params=1 - n / 100, distance=d) for n, macs, d in points],
            safe=0,
        )
        for name, points in curves.items()
    ]
    return SensitivityReport(input=stats, groups=rows, samples=1, limit="", measured=0, remembered=0, jobs=1)


CHANNELS = {"w": 16, "v": 24}


def test_units_get_the_slope_of_their_segment_in_the_order_of_the_criterion():
    scores, origin = grouped()
    curve = {"w": [(8, 0.8, 0.2), (12, 0.7, 0.6)], "v": [(12, 0.9, 0.1)]}
    found, chosen = scores_by_loss(scores, PruneSettings(target_macs=0.5), origin, report(curve, CHANNELS))
    assert (chosen.scope, chosen.normalise) == ("global", "none")
    for member, old in scores.items():
        stays = np.isinf(found[member])
        assert np.array_equal(np.argsort(found[member][~stays]), np.argsort(old[~stays]))
        assert old[stays].min() > old[~stays].max()
    w, v = (np.sort(found[member]) for member in scores)
    assert np.allclose(w[:8], 0.04 / 0.2)
    assert np.allclose(w[8:12], (0.36 - 0.04) / 0.1)
    assert np.isinf(w[12:]).all(), "what was not measured stays"
    assert np.allclose(v[:12], 0.01 / 0.1)
    assert np.isinf(v[12:]).all()


AMOUNTS = [
    ({"ratio": 0.5}, 0.04 / 8),
    ({"target_params": 0.5}, 0.04 / 0.08),
    ({"target_latency": "0.5x"}, 0.04 / 8),
]


@pytest.mark.parametrize(("amount", "slope"), AMOUNTS)
def test_the_amount_says_what_is_gained(amount, slope):
    scores, origin = grouped()
    found, _ = scores_by_loss(scores, PruneSettings(**amount), origin, report({"w": [(8, 0.8, 0.2)]}, CHANNELS))
    w, v = (np.sort(found[member]) for member in scores)
    assert np.allclose(w[:8], slope)
    assert np.isinf(v).all(), "a group that was not measured stays"


def test_what_must_stay_stays():
    scores, origin = grouped()
    first = next(iter(scores))
    scores[first][3] = inf
    found, _ = scores_by_loss(scores, PruneSettings(ratio=0.5), origin, report({"w": [(15, 0.5, 0.1)]}, CHANNELS))
    assert np.isinf(found[first][3])


def test_later_steps_count_from_the_original():
    scores, origin = grouped()
    first = next(iter(scores))
    early = Origin({**origin.units, "w": 32}, origin.macs, origin.params, origin.size, origin.rest)
    curve = report({"w": [(16, 0.8, 0.2), (24, 0.7, 0.6)]}, {"w": 32})
    found, _ = scores_by_loss(scores, PruneSettings(target_macs=0.5), early, curve)
    w = np.sort(found[first])
    assert np.allclose(w[:8], 0.32 / 0.1), "16 of 32 are gone, so that the second segment comes first"
    assert np.isinf(w[8:]).all()


def test_a_report_of_another_model_is_refused():
    scores, origin = grouped()
    with pytest.raises(UsageError, match="has none of the model's groups"):
        scores_by_loss(scores, PruneSettings(ratio=0.5), origin, report({"z": [(1, 0.9, 0.1)]}, {"z": 4}))
    with pytest.raises(UsageError, match="'w' has 16 channels, and 12 in the sensitivity report"):
        scores_by_loss(scores, PruneSettings(ratio=0.5), origin, report({"w": [(1, 0.9, 0.1)]}, {"w": 12}))
