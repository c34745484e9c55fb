"""Patterns of names reach what reports print, and slips of the pen are refused."""

from __future__ import annotations

import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import UsageError
from tests.models import between, in_memory

SLICED = between(
    "b = Slice(a, from, to, one)", more="int64[1] from = {4}, int64[1] to = {16}, int64[1] one = {1}", out=12
)
"""Two groups in one weight, of 4 and 12 filters: w and w#2."""


def removed(**settings: object) -> dict[str, int]:
    asked = {"ratio": 0.5, "round_to": 1, "scope": "local", "recover": "none", **settings}
    rows = prune(in_memory(SLICED), PruneSettings.parse(asked)).report.groups
    return {row.name: row.removed for row in rows if row.name.startswith("w")}


def test_the_second_group_of_a_weight_answers_to_its_name() -> None:
    assert removed() == {"w": 2, "w#2": 6}
    assert removed(layer_ratio=["w#2=0.25"]) == {"w": 2, "w#2": 3}
    assert removed(layer_ratio=["w#*=0.75", "w=0"]) == {"w": 0, "w#2": 9}
    assert removed(include="w#2") == {"w": 0, "w#2": 6}
    assert removed(exclude="w#2") == {"w": 2, "w#2": 0}


def test_a_group_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"--layer-ratio 'w#3' matches no node, no weight and no group; .*'w#2'"):
        removed(layer_ratio=["w#3=0.25"])
