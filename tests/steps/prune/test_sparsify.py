"""Training before the cut: what goes afterwards, what is proved, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch")

from compressor.channels.plan import PruningPlan
from compressor.commands.prune import prune
from compressor.config import PruneSettings, SparsifySettings
from compressor.errors import NothingToPrune, UsageError
from compressor.pruning.fresh_weights import reinitialised
from compressor.steps.prune.prove_cut import cut_and_prove
from compressor.steps.prune.result import PruneResult
from compressor.train.sparsify import regularized
from tests.models import in_memory, model, weight
from tests.train.regularizers.case import CHAIN, RESIDUAL

ATTENTION = """
    (float[n,6,8] x) => (float[n,6,8] y)
    <float[8,8] wq, float[8,8] wk, float[8,8] wv, float[8,8] wo, int64[4] split = {0,6,4,2}, int64[3] whole = {0,6,8},
     float[1] scale = {0.7}> {
        q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
        q4 = Reshape(q, split)  k4 = Reshape(k, split)  v4 = Reshape(v, split)
        qt = Transpose<perm=[0,2,1,3]>(q4)  kt = Transpose<perm=[0,2,3,1]>(k4)  vt = Transpose<perm=[0,2,1,3]>(v4)
        s = MatMul(qt, kt)  m = Mul(s, scale)  p = Softmax<axis=-1>(m)  c = MatMul(p, vt)
        t = Transpose<perm=[0,2,1,3]>(c)  r = Reshape(t, whole)  y = MatMul(r, wo)
    }"""
"""Four heads of two."""


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(64, 3, 6, 6)).astype(np.float32))
    return {
        "ratio": 0.5, "round_to": 1, "scope": "local", "criterion": "consumers", "recover": "finetune", "epochs": 1,
        "sparsify_epochs": 3, "batch_size": 16, "device": "cpu", "data": str(tmp_path / "x.npz"), "val_share": 0.25,
    }  # fmt: skip


def run(text: str, asked: dict[str, Any], **more: Any) -> PruneResult:
    return prune(in_memory(model(text)), PruneSettings.parse({**asked, **more}))


@pytest.mark.parametrize("method", ["dependency", "feature-flow", "envelope", "tpp"])
def test_a_residual_network_is_trained_cut_and_proved(method: str, asked: dict[str, Any]) -> None:
    result = run(RESIDUAL, asked, sparsify=method)
    assert weight(result.model, "w0").shape == (4, 3, 3, 3)
    assert result.report.proof is not None
    assert result.report.proof.passed
    assert result.report.curves[0].title == "Loss, sparsity training"


@pytest.mark.parametrize("method", ["group", "iss", "decay"])
def test_attention_heads_are_one_unit(method: str, asked: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "t.npz", x=rng.normal(size=(48, 6, 8)).astype(np.float32))
    result = run(ATTENTION, asked, sparsify=method, data=str(tmp_path / "t.npz"), exclude=("*wo*",))
    shapes = {weight(result.model, name).shape for name in ("wq", "wk", "wv")}
    assert shapes == {(8, 4)}, "two whole heads of two are left"


def test_several_steps_and_a_checkpoint_for_each(asked: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    settings = PruneSettings.parse({**asked, "sparsify": "decay", "sparsify_epochs": 1, "steps": 2, "ratio": 0.75})
    prune(in_memory(model(CHAIN)), settings.model_copy(update={"checkpoint": folder, "keep_checkpoint": True}))
    assert {path.name for path in folder.iterdir()} == {"sparsify-1", "step-1", "sparsify-2", "step-2"}


def test_a_plan_goes_with_methods_that_leave_it_alone(asked: dict[str, Any]) -> None:
    source = in_memory(model(CHAIN))
    plan = prune(source, PruneSettings.parse({"ratio": 0.5, "round_to": 1, "recover": "none", "scope": "local"})).plan
    assert plan is not None
    more = {k: v for k, v in asked.items() if k not in ("ratio", "round_to", "scope", "criterion")}
    same = PruningPlan.from_json(plan.to_json())
    result = prune(source, PruneSettings.parse({**more, "sparsify": "decay"}), plan=same)
    assert weight(result.model, "w1").shape == (4, 3, 3, 3)
    with pytest.raises(UsageError, match="a plan already says what goes, and --sparsify iss"):
        prune(source, PruneSettings.parse({**more, "sparsify": "iss"}), plan=plan)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sparsify": "iss", "recover": "lstsq"}, "--sparsify trains, which needs --recover finetune"),
        ({"sparsify": "iss", "expand": 2}, "--expand makes products"),
        ({"sparsify_strength": 1}, "nothing is trained before the cut"),
        ({"sparsify": "iss", "decay_epochs": 2}, "give only one of sparsify and decay_epochs"),
        ({"decay_epochs": -1}, "decay_epochs must be at least 0"),
        ({"sparsify": "iss", "structure": "both"}, "--sparsify is for channels alone"),
        ({"sparsify": "iss", "sparsify_epochs": 0}, "sparsify_epochs must be at least 1"),
        ({"sparsify": "isss"}, "did you mean 'iss'"),
        ({"rewind": "init", "recover": "lstsq"}, "--rewind trains fresh weights"),
        ({"rewind": 2, "reinitialise": "before"}, "--rewind goes back to weights from before what --reinitialise does"),
        ({"rewind": 2, "sparsify": "iss"}, "before what --sparsify does"),
        ({"rewind": 2, "decay_epochs": 1}, "before what --sparsify does"),
        ({"rewind": 2, "ratio": None, "lossless": True}, "--rewind chooses by trained weights"),
        ({"rewind": -1}, "rewind must be at least 0"),
        ({"rewind": "start"}, "rewind"),
    ],
)
def test_what_contradicts_is_said_first(
    settings: dict[str, Any], words: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("compressor.steps.prune.start.analyse")
    asked.pop("sparsify_epochs")
    with pytest.raises(UsageError, match=words):
        run(CHAIN, asked, **settings)


def test_a_plan_and_a_ticket_contradict(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("compressor.steps.prune.start.analyse")
    asked.pop("sparsify_epochs")
    settings = PruneSettings.parse({**asked, "rewind": 1})
    with pytest.raises(UsageError, match="which --rewind trains to find out"):
        prune(in_memory(model(CHAIN)), settings, plan=PruningPlan(()))


def test_a_graph_with_nothing_to_act_on_is_refused_before_training(asked: dict[str, Any]) -> None:
    text = """
    (float[n,3,6,6] x) => (float[n,c] y) <float[8,3,3,3] w1, float[8,4] head> {
        a = Conv<pads=[1,1,1,1]>(x, w1)  p = GlobalAveragePool(a)  f = Flatten(p)  y = MatMul(f, head)
    }"""
    with pytest.raises(UsageError, match="features have one shape, and this graph has none"):
        run(text, asked, sparsify="feature-flow")
    with pytest.raises(NothingToPrune):
        run(
            "(float[n,3,6,6] x) => (float[n,3,6,6] y) <float[3,3,3,3] w> { y = Conv<pads=[1,1,1,1]>(x, w) }",
            asked,
            sparsify="decay",
        )


def test_towards_a_cut_that_is_made_later(asked: dict[str, Any]) -> None:
    settings = SparsifySettings.parse({
        "regularizer": "iss", "sparsity": 0.5, "epochs": 3, "batch_size": 16, "device": "cpu", "data": asked["data"],
        "val_share": 0.25,
    })  # fmt: skip
    source = in_memory(model(RESIDUAL.replace("[8,", "[16,").replace(",8,3,3]", ",16,3,3]").replace("[8]", "[16]")))
    done = regularized(source, settings)
    kept = weight(done.model, "w0")
    assert kept.shape == (16, 3, 3, 3), "nothing is cut"
    assert int((np.abs(kept).sum(axis=(1, 2, 3)) == 0).sum()) == 8
    small = prune(done.model, PruneSettings.parse({"lossless": True})).model
    assert weight(small, "w0").shape == (8, 3, 3, 3)


@pytest.mark.parametrize(
    ("when", "criterion"),
    [("before", "synflow"), ("before", "snip"), ("after", "consumers"), ("orthogonal", "consumers")],
)
def test_fresh_weights_are_trained(when: str, criterion: str, asked: dict[str, Any]) -> None:
    asked.pop("sparsify_epochs")
    result = run(RESIDUAL, asked, reinitialise=when, criterion=criterion)
    assert weight(result.model, "w0").shape == (4, 3, 3, 3)
    original = weight(in_memory(model(RESIDUAL)), "w0")
    rows = [np.abs(original - row).max(axis=(1, 2, 3)).min() for row in weight(result.model, "w0")]
    assert min(rows) > 1e-3, "no filter of the original is left"


@pytest.mark.parametrize("rewind", ["init", 1])
def test_the_cut_goes_back_to_weights_of_an_early_epoch(rewind: str | int, asked: dict[str, Any]) -> None:
    """Channels are chosen on trained weights, and taken from those that were kept."""
    asked.pop("sparsify_epochs")
    kept: list[ir.Model] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "compressor.steps.prune.step.cut_and_prove",
            lambda found, *rest: kept.append(found.model) or cut_and_prove(found, *rest),
        )
        result = run(RESIDUAL, asked, rewind=rewind, steps=2, learning_rate=0.05)
    assert weight(result.model, "w0").shape == (4, 3, 3, 3)
    fresh = weight(reinitialised(in_memory(model(RESIDUAL)), 0), "w0")
    first, second = (weight(each, "w0") for each in kept)
    assert np.array_equal(first, fresh) == (rewind == "init")
    # The second step goes on from what the first one left of the same weights, untrained.
    assert all(any(np.array_equal(row, other) for other in first) for row in second)
    titles = [curve.title for curve in result.report.curves if curve.title.startswith("Loss")]
    early = ["Loss, training up to where it is rewound 1"] if rewind == 1 else []
    assert titles == [*early, "Loss, training before the cut 1", "Loss, training 1", "Loss, training 2"]


def test_a_rewound_run_keeps_checkpoints_of_its_phases(asked: dict[str, Any], tmp_path: Path) -> None:
    asked.pop("sparsify_epochs")
    folder = tmp_path / "checkpoints"
    settings = PruneSettings.parse({**asked, "rewind": 1})
    prune(in_memory(model(CHAIN)), settings.model_copy(update={"checkpoint": folder, "keep_checkpoint": True}))
    assert {path.name for path in folder.iterdir()} == {"rewind", "whole", "step-1"}
