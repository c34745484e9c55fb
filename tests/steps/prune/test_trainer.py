"""A short training is left out where there is nothing to gain, and undone where it led astray."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.data import Dataset
from compressor.data.order import Subset
from compressor.data.synthetic import sample_shapes, synthetic
from compressor.errors import UsageError
from compressor.steps.prune.trainer import NEAR_OUTPUTS, Trainer
from compressor.steps.run_samples import RunSamples
from compressor.train import brief
from tests.models import in_memory, model

NET = (
    "(float[n,3,8,8] x) => (float y) <float[8,3,3,3] w, float[4,8,1,1] v> { a = Conv(x, w) b = Relu(a) y = Conv(b, v) }"
)


def distilled(
    monkeypatch: pytest.MonkeyPatch, *distances: float, metrics: Path | None = None, real: bool = False
) -> tuple[bool, int, list[str]]:
    """Was the trained model taken, how many curves were drawn, and what is said to be undone, where distances before
    and after are such?"""
    rows = (SimpleNamespace(distance=SimpleNamespace(value=distance)) for distance in distances)
    monkeypatch.setattr("compressor.steps.prune.trainer.outputs_against", lambda *given: next(rows))
    monkeypatch.setattr(brief, "STEPS", brief.LEAST_STEPS)
    source = in_memory(model(NET))
    settings = PruneSettings.parse({"ratio": 0.5, "recover": "distill", "metrics": metrics})
    samples = synthetic(source, sample_shapes(source, None, None), 16, 0)
    trainer = Trainer(source, settings, Clock())
    cut = in_memory(model(NET.replace("Relu(a)", "Abs(a)")))  # some way off, so that training finds something
    given = Subset(samples, np.arange(16)) if real else samples
    made = trainer.distilled(cut, RunSamples(given, None, real=real), None, 1)
    return made.model is not cut, len(made.curves), [str(row) for row in made.undone]


def test_with_samples_of_the_users_made_up_ones_judge_and_why_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    [told] = distilled(monkeypatch, 0.5, 0.6, real=True)[2]
    assert "on 256 samples made up to judge it, as least squares was fitted to those given and" in told
    assert "--recover finetune judges by these" in told


def test_a_model_that_is_near_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distilled(monkeypatch, NEAR_OUTPUTS / 2) == (False, 0, [])


def test_what_leads_astray_is_undone_and_leaves_no_progress(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "progress.jsonl"
    taken, curves, undone = distilled(monkeypatch, 0.5, 0.6, metrics=place)
    assert not taken
    assert not curves
    assert "distance of outputs 0.5 before, 0.6 at best after it, on 256 samples made up to judge it (" in undone[0]
    assert undone[0].endswith(" s)")
    assert not place.exists()
    taken, _, undone = distilled(monkeypatch, 0.5, 0.4, metrics=place)
    assert taken
    assert not undone
    lines = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]
    assert [line["pruning_step"] for line in lines if line["kind"] == "epoch"] == [1]


def test_distances_are_those_of_outputs_on_samples_that_nobody_saw() -> None:
    source = in_memory(model(NET))
    trainer = Trainer(source, PruneSettings.parse({"ratio": 0.5}), Clock())
    samples = synthetic(source, sample_shapes(source, None, None), 16, 0)
    unseen = trainer._unseen(samples)
    assert unseen == samples.unseen()
    assert trainer._distance(source.clone(), unseen) == 0
    doubled = in_memory(model(NET.replace("Relu(a)", "Add(a, a)")))
    assert trainer._distance(doubled, unseen) > NEAR_OUTPUTS


def test_a_users_samples_are_judged_on_made_up_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    class Given:
        labelled = False

    trainer = Trainer(in_memory(model(NET)), PruneSettings.parse({"ratio": 0.5}), Clock())
    judges: Dataset | None = trainer._unseen(Given())  # type: ignore[arg-type]
    assert judges is not None
    monkeypatch.setattr("compressor.steps.prune.trainer.stand_in", refuse)
    assert trainer._unseen(Given()) is None  # type: ignore[arg-type]


def refuse(model: ir.Model, settings: PruneSettings, count: int) -> None:
    raise UsageError("no generator fits")


def test_a_later_step_begins_anew_where_an_interrupted_run_had_not_come(tmp_path: Path) -> None:
    asked = {"ratio": 0.5, "recover": "finetune", "resume": True, "checkpoint": str(tmp_path)}
    one, two = (PruneSettings.parse({**asked, "steps": steps}) for steps in (1, 2))
    source = in_memory(model(NET))
    assert not Trainer(source, two, Clock())._placed("step-2").resume
    assert Trainer(source, one, Clock())._placed("step-1").resume


def test_of_several_steps_each_says_which_was_undone() -> None:
    source = in_memory(model(NET))
    titles = [Trainer(source, PruneSettings.parse({"ratio": 0.5, "steps": n}), Clock())._title for n in (1, 2)]
    assert [title("training", 2) for title in titles] == ["training", "training 2"]
