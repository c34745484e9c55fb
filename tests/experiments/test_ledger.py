from __future__ import annotations

from math import inf

import pytest

from compressor.errors import UsageError
from compressor.experiments.ledger import Ledger
from compressor.results.sensitivity import OutputChange

CHANGE = OutputChange(distance=0.25, agreement=0.5, accuracy=0.75)


def test_what_is_added_is_found_again(tmp_path):
    path = tmp_path / "a.jsonl"
    Ledger(path).add("k", "a trial", CHANGE)
    Ledger(path).add("far", "another", OutputChange(distance=inf))
    found = Ledger(path)
    assert found["k"] == CHANGE
    assert found["far"].distance == inf
    assert "other" not in found


@pytest.mark.parametrize("cut", [1, 30])
def test_a_line_that_was_cut_short_is_lost_alone(tmp_path, cut):
    path = tmp_path / "a.jsonl"
    for key in "ab":
        Ledger(path).add(key, "a trial", CHANGE)
    path.write_text(path.read_text()[:-cut])
    found = Ledger(path)
    assert "a" in found
    assert ("b" in found) == (cut == 1)
    found.add("c", "a trial", CHANGE)
    assert all(key in Ledger(path) for key in "ac")


def test_lines_of_something_else_are_passed_over(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('[]\n{"key": 1}\n{"key": "x", "change": {"distance": "far"}}\nnonsense\n')
    assert "x" not in Ledger(path)


def test_without_a_file_it_remembers_for_the_run():
    ledger = Ledger()
    ledger.add("k", "a trial", CHANGE)
    assert ledger["k"] == CHANGE


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        Ledger(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        Ledger(tmp_path / "none" / "a.jsonl").add("k", "a trial", CHANGE)
