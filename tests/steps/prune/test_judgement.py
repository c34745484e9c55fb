"""What is said of a result beside its original."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.errors import UsageError
from compressor.steps.prune.judgement import ALL_DRAWN, ResultJudge, Verdict
from tests.models import in_memory, model

MODELS = Path(__file__).parents[3] / "models"


NET = MODELS / "digits-mobilenet.onnx"


TEST = MODELS / "digits-test.npz"


SETTINGS = {"ratio": 0.3, "round_to": 4, "scope": "local", "data": str(TEST), "val_share": 0.5}


NOISY = """(float[n,8] x) => (float[n,4] r{also}) <float[8,16] w, float[16,4] v> {{
    a = MatMul(x, w) b = Relu(a) y = MatMul(b, v) noise = RandomNormalLike(y) r = Add(y, noise) }}"""


def test_trainability_is_told() -> None:
    pytest.importorskip("torch")
    row = prune(NET, PruneSettings.parse({**SETTINGS, "trainability": True})).report.trainability
    assert row is not None
    assert 0 < row.mean_after != row.mean_before > 0
    assert row.samples > 100


def test_what_is_drawn_at_random_is_no_distance() -> None:
    settings = PruneSettings.parse({"ratio": 0.5, "recover": "lstsq", "round_to": 1, "scope": "local"})
    whole, drawn = (
        prune(in_memory(model(NOISY.format(also=also))), settings).report for also in (", float[n,4] y", "")
    )
    assert whole.outputs is not None
    assert whole.outputs.drawn == ["r"]
    assert ALL_DRAWN not in whole.warnings
    assert drawn.outputs is None
    assert ALL_DRAWN in drawn.warnings


def test_a_metric_that_does_not_fit_is_said_at_once() -> None:
    settings = PruneSettings.parse({"ratio": 0.5, "eval": "top-1"})
    with pytest.raises(UsageError, match="needs samples with labels"):
        ResultJudge(in_memory(model(NOISY.format(also=""))), settings, None, Clock())


def test_without_samples_nothing_is_said() -> None:
    source = in_memory(model(NOISY.format(also="")))
    verdict = ResultJudge(source, PruneSettings.parse({"ratio": 0.5}), None, Clock()).of(source, None)
    assert verdict == Verdict((), None, None, ())
