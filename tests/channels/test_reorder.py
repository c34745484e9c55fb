"""Another order of a group: what holds it moves as one, and what cannot stays."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.channels.groups import group
from compressor.channels.reorder import Holders, move
from compressor.config import PruneSettings
from compressor.pruning.cut.analysis import analyse
from tests.models import in_memory, model
from tests.reconstruct.case import noise, outputs

PLAIN = """(float[N,3,4,4] x) => (float[N,5] y)
<float[8,3,1,1] w, float[8] b, float[8,1,3,3] d, float[128,5] m> {
    a = Conv(x, w, b)
    c = Conv<pads=[1,1,1,1],group=8>(a, d)
    e = Relu(c)
    f = Flatten(e)
    y = MatMul(f, m)
}"""
SEEN = PLAIN.replace("(float[N,5] y)", "(float[N,5] y, float[N,8,4,4] e)")
BESIDE = PLAIN.replace("e = Relu(c)", "e = LRN<size=3>(c)")


def _places(text: str) -> tuple[object, list[object]]:
    analysis = analyse(in_memory(model(text)), PruneSettings.parse({"ratio": 0.5}))
    holders = Holders(analysis.coupling)
    return analysis.model, [place for member in group(analysis.coupling) for place in holders.places(member)]


def test_all_that_holds_a_group_moves_as_one() -> None:
    before, _ = _places(PLAIN)
    after, places = _places(PLAIN)
    order = np.random.default_rng(0).permutation(8)
    # Behind the Flatten a channel takes sixteen positions.
    each = {place.value.name: place.each for place in places}  # type: ignore[attr-defined]
    assert each == {"w": 1, "b": 1, "d": 1, "m": 16}
    for place in places:
        move(place, order)  # type: ignore[arg-type]
    feeds = {"x": noise(2, 3, 4, 4)}
    (want,), (got,) = outputs(before, feeds), outputs(after, feeds)  # type: ignore[arg-type]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    move(places[0], order)  # type: ignore[arg-type]
    assert np.abs(outputs(after, feeds)[0] - want).max() > 1e-2  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [SEEN, BESIDE])
def test_what_somebody_sees_or_has_neighbours_is_no_group_that_can_move(text: str) -> None:
    _, places = _places(text)
    assert not places
