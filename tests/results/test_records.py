"""What documents of all commands share."""

from __future__ import annotations

import json

import pytest

from compressor.results.detail import AccuracyRow
from compressor.results.finetune import Score, TuneReport
from compressor.results.recipe import RecipeReport
from compressor.results.records import Document, ModelStats, Report
from compressor.results.unify import UnifyAccuracy, UnifyReport

STATS = ModelStats(path=None, bytes=1, params=2, macs=3, nodes=4, opset=18)
REPORT = Report(input=STATS, warnings=["one"], settings={"ratio": 0.5}, seconds={"load": 1.0})


def test_what_a_document_is_for_comes_first() -> None:
    keys = list(json.loads(REPORT.to_json()))
    assert keys[:3] == ["schema", "version", "input"]
    assert keys[-6:] == ["gates", "ran", "seconds", "environment", "warnings", "settings"]


def test_a_document_reads_what_it_writes() -> None:
    assert Report.model_validate_json(REPORT.to_json()) == REPORT
    assert REPORT.model_copy(update={"seconds": {"load": float("nan")}}).to_json().count("null") > 1


def test_warnings_are_added_to_a_copy() -> None:
    assert REPORT.warned(["two"]).warnings == ["one", "two"]
    assert REPORT.warnings == ["one"]


@pytest.mark.parametrize(("share", "told"), [(True, "13.41% -> 13.97%"), (False, "0.1341 -> 0.1397")])
@pytest.mark.parametrize("kind", [Report, RecipeReport, UnifyReport, TuneReport])
def test_a_glance_tells_a_metric_as_all_of_the_report_does(kind: type[Document], share: bool, told: str) -> None:
    row = AccuracyRow(metric="rmse", before=0.1341, after=0.1397, share=share)
    once = UnifyAccuracy.model_construct(metric="rmse", before=0.1341, after=0.1397, share=share)
    fields = {
        Report: {"input": STATS, "output": STATS, "accuracy": [row], "proof": None},
        RecipeReport: {"input": STATS, "output": STATS, "accuracy": row, "stages": [], "gates": [], "failed": None},
        UnifyReport: {"input": STATS, "output": STATS, "accuracy": once, "layers": [], "left": []},
        TuneReport: {
            "before": Score(loss=1, metric=0.1341), "after": Score(loss=1, metric=0.1397), "metric_name": "rmse",
            "share": share, "epochs": [], "best_epoch": 0, "stopped_early": False,
        },
    }[kind]  # fmt: skip
    assert ("rmse", told) in kind.model_construct(**fields).headline()
