"""Curves of training name the samples that they are of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from compressor.steps.prune.training_curves import training_curves


def test_curves_name_the_samples_that_were_judged() -> None:
    score = SimpleNamespace(loss=0.5, metric=0.25)
    epoch = SimpleNamespace(epoch=1, loss=0.75, valid=score)
    history: Any = SimpleNamespace(epochs=[epoch], before=score, metric_name="agreement", best_epoch=1)
    loss, metric = training_curves(history, "training", "256 made-up samples")
    assert [line.name for line in loss.series] == ["training samples", "256 made-up samples"]
    assert [line.name for line in metric.series] == ["256 made-up samples"]
