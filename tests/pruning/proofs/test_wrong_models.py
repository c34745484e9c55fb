"""What a wrong model that does not run shows, and how wrong models are tried in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.core.compare import Tolerance
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.pruning.proofs.runs import whole_or_pieces
from compressor.pruning.proofs.versions import Versions
from compressor.pruning.proofs.wrong_models import in_parts, is_noticed, tried_in_parts, values_inside
from compressor.runtime.stored import Feed, run_once
from compressor.runtime.taps import tap
from tests.models import between, in_memory, unloadable


@pytest.mark.parametrize("whole", [False, True])
def test_whole_numbers_may_be_refused(whole: bool, tmp_path: Path) -> None:
    """Positions that are out of range, say."""
    source = in_memory(between("b = Relu(a)"))
    standard = Standard(run_once(source, [], "cpu"), Tolerance(1e-4))
    opened = Versions(unloadable(source), tmp_path, "cpu")
    assert is_noticed(lambda: opened.open({}), standard, whole=whole) == whole


def test_members_of_a_part_that_is_not_seen_are_tried_one_by_one() -> None:
    found = tried_in_parts([["a"], ["b", "c"], ["d", "e"]], lambda part: part in (["a"], ["b", "c"], ["d"]))
    assert (found.count, found.together, found.blind) == (3, ["b", "c"], ["e"])


@pytest.mark.parametrize("whole", [True, False])
def test_values_inside_are_those_of_the_runtime_also_in_pieces(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = in_memory(between("b = Relu(a)"))
    feeds: list[Feed] = [{"x": np.random.default_rng(k).normal(size=(3, 4, 6, 6)).astype(np.float32)} for k in (0, 1)]
    monkeypatch.setattr(whole_or_pieces, "runs_whole", lambda _: whole)
    found = values_inside(source, ["z", "a"], feeds, tmp_path, "cpu").runs
    assert found.names == ["z", "a"]
    for row, wanted in zip(found.outputs, tap(source, ["z", "a"], feeds, "cpu"), strict=True):
        for array, other in zip(row, wanted, strict=True):
            np.testing.assert_allclose(array, other, rtol=1e-4, atol=1e-5)


def test_those_in_one_weight_are_never_in_one_part() -> None:
    weight_of = {"a": "w", "b": "w", "c": "v", "d": "w", "e": "u"}
    assert list(in_parts("abcde", weight_of.__getitem__, 1)) == [["a"], ["b", "c"], ["d", "e"]]
    assert list(in_parts("ab", weight_of.__getitem__, 2)) == [["a"], ["b"]]
