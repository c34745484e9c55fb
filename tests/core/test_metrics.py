"""Lines of JSON that tell of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor.core.metrics import Metrics
from compressor.errors import UsageError


def lines(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("resumed", "kept"), [(False, []), (True, [0])])
def test_a_new_run_drops_what_is_there_a_resumed_one_goes_on(tmp_path: Path, resumed: bool, kept: list[int]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"n": 0}\n')
    found = Metrics(path, resumed=resumed)
    assert lines(path) == [0], "a process that has nothing to write touches nothing"
    for n in (1, 2):
        found.add({"n": n})
        assert lines(path)[-1] == n, "at once"
    assert lines(path) == [*kept, 1, 2]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--metrics .*missing.* cannot be written"):
        Metrics(tmp_path / "missing" / "metrics.jsonl", resumed=False).add({})


def test_lines_go_to_a_function_where_one_is_named(tmp_path, monkeypatch) -> None:
    (tmp_path / "tracking.py").write_text("seen = []\ndef log(line):\n    seen.append(line['loss'])\n")
    monkeypatch.chdir(tmp_path)
    metrics = Metrics(Path("tracking:log"), resumed=False)
    metrics.add({"loss": 1.5})
    import tracking  # type: ignore[import-not-found]  # noqa: PLC0415 - written above

    assert tracking.seen == [1.5]
    with pytest.raises(UsageError, match="raised KeyError: 'loss'"):
        metrics.add({})
    with pytest.raises(UsageError, match="--metrics tracking:other: module 'tracking' has no 'other'"):
        Metrics(Path("tracking:other"), resumed=False)
