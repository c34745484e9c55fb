"""What documents of all commands share."""

from __future__ import annotations

import json

from compressor.results.records import ModelStats, Report

STATS = ModelStats(path=None, bytes=1, params=2, macs=3, nodes=4, opset=18)
REPORT = Report(input=STATS, warnings=["one"], settings={"ratio": 0.5}, seconds={"load": 1.0})


def test_what_a_document_is_for_comes_first() -> None:
    keys = list(json.loads(REPORT.to_json()))
    assert keys[:3] == ["schema", "version", "input"]
    assert keys[-3:] == ["seconds", "warnings", "settings"]


def test_a_document_reads_what_it_writes() -> None:
    assert Report.model_validate_json(REPORT.to_json()) == REPORT
    assert REPORT.model_copy(update={"seconds": {"load": float("nan")}}).to_json().count("null") > 1


def test_warnings_are_added_to_a_copy() -> None:
    assert REPORT.warned(["two"]).warnings == ["one", "two"]
    assert REPORT.warnings == ["one"]
