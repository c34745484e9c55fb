"""How many wrong models are made, and what one that does not run shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.core.compare import Tolerance
from compressor.pruning.proofs import wrong_models
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.pruning.proofs.wrong_models import affordable, is_noticed, tried_in_parts
from compressor.runtime.stored import run_once
from tests.models import between, in_memory, unloadable


def test_as_many_as_effort_allows_are_shifted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = in_memory(between("b = Relu(a)")).graph
    monkeypatch.setattr(wrong_models, "NODE_EFFORT", 0)
    monkeypatch.setattr(wrong_models, "PARAMETER_EFFORT", 0)
    for runs, alone in {0: 0, 1: 0, 2: 1, 9: 8, 10: 10}.items():
        monkeypatch.setattr(wrong_models, "EFFORT", 7 * runs)
        assert affordable(10, graph, 7) == alone


@pytest.mark.parametrize("whole", [False, True])
def test_whole_numbers_may_be_refused(whole: bool, tmp_path: Path) -> None:
    """Positions that are out of range, say."""
    source = in_memory(between("b = Relu(a)"))
    standard = Standard(run_once(source, [], "cpu"), Tolerance(1e-4))
    assert is_noticed(unloadable(source), standard, tmp_path, "cpu", whole=whole) == whole


def test_members_of_a_part_that_is_not_seen_are_tried_one_by_one() -> None:
    found = tried_in_parts([["a"], ["b", "c"], ["d", "e"]], lambda part: part in (["a"], ["b", "c"], ["d"]))
    assert (found.count, found.together, found.blind) == (3, ["b", "c"], ["e"])
