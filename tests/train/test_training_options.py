"""Boosters asked for by settings: the graph that comes out is the one that went in, with other weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compressor.config import TuneSettings
from compressor.errors import ProofFailed
from compressor.graph.disk import files
from compressor.train.finetune import TuneResult, finetune
from compressor.train.reparameterize import batchnorm

MODELS = Path(__file__).parents[2] / "models"
NET = MODELS / "digits-mobilenet.onnx"
SHORT = {"data": str(MODELS / "digits-test.npz"), "val_share": 0.6, "epochs": 1, "batch_size": 60, "samples": 120}


BOOSTERS = ({"insert_bn": True}, {"expand": 2}, {"mean_weights": 0.5})


@cache
def tuned(**settings: object) -> TuneResult:
    """One run, which several tests look at."""
    model = files.load_model(NET)
    return finetune(damaged(model), TuneSettings.parse({**SHORT, **settings}), teacher=model)


def damaged(model: ir.Model) -> ir.Model:
    """A copy with one kernel scaled, which training can mend."""
    copy = model.clone()
    value = copy.graph.initializers["blocks.1.body.0.weight"]
    assert value.const_value is not None
    value.const_value = ir.tensor(value.const_value.numpy() * np.float32(0.5), name=value.name)
    return copy


def shape_of(model: ir.Model) -> list[object]:
    nodes = [(n.op_type, [None if v is None else v.name for v in n.inputs]) for n in model.graph]
    return [nodes, {k: tuple(v.const_value.shape) for k, v in model.graph.initializers.items() if v.const_value}]


@pytest.mark.parametrize("settings", BOOSTERS, ids=str)
def test_the_graph_stays(settings: dict[str, object]) -> None:
    result = tuned(**settings)
    assert shape_of(result.model) == shape_of(files.load_model(NET))
    assert result.max_rel_err is not None
    assert result.history.steps == 3


def test_boosters_change_what_training_finds() -> None:
    weights = {}
    for settings in ({}, *BOOSTERS):
        value = tuned(**settings).model.graph.initializers["blocks.1.body.0.weight"].const_value
        assert value is not None
        weights[str(settings)] = value.numpy()
    plain = weights.pop("{}")
    for name, found in weights.items():
        assert not np.array_equal(found, plain), name


def test_a_sweep_takes_the_best_rate() -> None:
    result = tuned(sweep=True, learning_rate=1e-6)
    [note] = [w for w in result.warnings if "learning rate" in w]
    pairs = (text.split(": ") for text in note[note.index("rate: ") + 6 : -1].split(", "))
    tried = {float(rate): float(loss) for rate, loss in pairs}
    assert set(tried) == {0.1, 0.03, 0.01, 0.003, 0.001, 1e-6}
    assert result.history.epochs[-1].learning_rate <= min(tried, key=lambda rate: (tried[rate], rate))
    assert tried[1e-6] > min(tried.values())


def test_folding_is_held_against_the_unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = batchnorm.fold_batchnorm

    def wrong(model: ir.Model) -> ir.Model:
        return damaged(fold(model))

    monkeypatch.setattr(batchnorm, "fold_batchnorm", wrong)
    with pytest.raises(ProofFailed, match="--insert-bn"):
        tuned.__wrapped__(insert_bn=True)
