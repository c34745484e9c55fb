"""What a wrong model that does not run shows, and how wrong models are tried in parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.core.compare import Tolerance
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.pruning.proofs.versions import Versions
from compressor.pruning.proofs.wrong_models import is_noticed, tried_in_parts
from compressor.runtime.stored import run_once
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
