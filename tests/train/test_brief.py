"""A short distillation: from the original's outputs, in as many steps as seconds allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.data import Batch, Indices
from compressor.graph.disk import files
from compressor.train import brief
from compressor.train.brief import LEAST_STEPS, STEPS, BriefSamples, TooSlow, distil, steps_within
from tests.train.training import Memory

NET = Path(__file__).parents[2] / "models" / "digits-resnet.onnx"
DATA = Path(__file__).parents[2] / "models" / "digits-train.npz"


def images(count: int = 64) -> Memory:
    with np.load(DATA, allow_pickle=False) as data:
        return Memory({"image": data["x"][:count].astype(np.float32)})


def test_as_many_steps_as_seconds_allow() -> None:
    assert [steps_within(60, each) for each in (0.0, 60 / STEPS, 61 / STEPS, 60 / LEAST_STEPS)] == [
        STEPS,
        STEPS,
        STEPS // 2,
        LEAST_STEPS,
    ]
    with pytest.raises(TooSlow, match="about 4 minutes; ask for it with --recover finetune"):
        steps_within(60, 61 / LEAST_STEPS)


def test_it_comes_nearer_to_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brief, "STEPS", LEAST_STEPS)
    original = files.load_model(NET)
    settings = PruneSettings.parse({"ratio": 0.7, "recover": "lstsq", "data": str(DATA), "samples": 64})
    cut = prune(original, settings).model
    done = distil(cut, original, BriefSamples(images(128), None), settings)
    assert done.history.steps == LEAST_STEPS
    assert done.history.after.loss < done.history.before.loss
    shapes = [{name: v.shape for name, v in m.graph.initializers.items()} for m in (cut, done.model)]
    assert shapes[0] == shapes[1], "norms that were put in are folded away"


def test_labels_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """What judges is made up and has none, so that a share of right classes could not be told."""
    monkeypatch.setattr(brief, "STEPS", LEAST_STEPS)
    original = files.load_model(NET)
    settings = PruneSettings.parse({"ratio": 0.7, "recover": "none"})
    cut = prune(original, settings).model
    with np.load(DATA, allow_pickle=False) as data:
        labelled = Memory({"image": data["x"][:64].astype(np.float32)}, data["y"][:64])
    assert labelled.labelled
    for given in ((labelled, images(16)), (images(64), labelled)):
        assert distil(cut, original, BriefSamples(*given), settings).history.steps == LEAST_STEPS


def test_of_many_samples_as_many_are_seen_as_steps_have_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    class Counted(Memory):
        def take(self, indices: Indices) -> Batch:
            taken.extend(indices.tolist())
            return super().take(indices)

    monkeypatch.setattr(brief, "STEPS", LEAST_STEPS)
    monkeypatch.setattr(brief, "SAMPLES_A_STEP", 2)
    data = Counted(images(200).inputs)
    original = files.load_model(NET)
    settings = PruneSettings.parse({"ratio": 0.5})
    cut = prune(original, settings).model
    assert distil(cut, original, BriefSamples(data, images(8)), settings).history.steps == LEAST_STEPS
    # As many as the steps have room for, those that norms are calibrated on, and the first two, which time a step.
    assert 2 * LEAST_STEPS <= len(set(taken)) < len(data)
