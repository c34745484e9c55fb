"""What a criterion of others may give, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from compressor.channels.groups import ChannelGroup
from compressor.config import PruneSettings
from compressor.errors import UsageError
from compressor.pruning.budgets import select
from compressor.pruning.criteria import Scores, Weights
from tests.models import between, in_memory
from tests.oracle import couple

GIVEN: Mapping[str, Callable[[int], object]] = {
    "int64": np.arange,
    "list": lambda count: [float(place) for place in range(count)],
    "read-only": lambda count: np.broadcast_to(np.float64(2), count),
    "float32": lambda count: np.ones(count, np.float32),
}
REFUSED: Mapping[str, Callable[[int], object]] = {
    "negative": lambda count: -np.ones(count),
    "infinite": lambda count: np.full(count, np.inf),
    "NaN": lambda count: np.full(count, np.nan),
    "wide": lambda count: np.ones((count, 1)),
    "words": lambda count: ["much"] * count,
    "nothing": lambda _: None,
}


class Plugin:
    """Scores as somebody else might."""

    needs = None

    def __init__(self, give: Callable[[int], object]) -> None:
        self._give = give

    def score(self, group: ChannelGroup, _: Weights) -> object:
        return self._give(len(group.units))


def scored(give: Callable[[int], object], monkeypatch: pytest.MonkeyPatch) -> dict[ChannelGroup, Scores]:
    settings = PruneSettings.parse({"criterion": "l1"})
    monkeypatch.setattr(select, "criterion", lambda _: Plugin(give))
    return select.scored_groups(couple(in_memory(between("b = Relu(a)")), settings)[1], settings)[1]


@pytest.mark.parametrize("kind", GIVEN)
def test_any_numbers_are_taken(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for group, scores in scored(GIVEN[kind], monkeypatch).items():
        assert scores.dtype == np.float64
        strongest = int(np.argmax(np.asarray(GIVEN[kind](len(group.units)))))
        assert np.flatnonzero(np.isinf(scores)).tolist() == [strongest], "one stays, and it is the strongest"


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_score_is_refused_in_the_name_of_the_criterion(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="criterion 'l1' has to give a finite number that is not negative"):
        scored(REFUSED[kind], monkeypatch)
