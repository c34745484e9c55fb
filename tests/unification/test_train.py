"""Training to unified weights, from settings to a written model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("torch")

from compressor.cli.main import compress
from compressor.commands.unify import unify, unify_file
from compressor.config import BlockShape, UnifySettings
from compressor.core import extras
from compressor.errors import UsageError
from compressor.graph.disk import files
from compressor.results.detail import UndoneRow
from compressor.results.records import CHOSEN_ON_JUDGED
from compressor.steps.unify import get_ready
from compressor.train import GraphModule, training_options
from compressor.train.constraints import admm
from compressor.train.constraints.constrained import Residual
from compressor.train.constraints.tied_batchnorm import Tied, ties_of
from compressor.train.reparameterize.batchnorm import fold_batchnorm
from compressor.unification import measure, project
from compressor.unification.layer_rows import training_row
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.projections import Mixed
from compressor.unification.train import APPROACH, RETRAINING, SetTraining, imposed
from tests import models
from tests.train.training import Memory

MODELS = Path(__file__).parents[2] / "models"
DIGITS, TRAIN, TEST = (MODELS / n for n in ("digits-resnet.onnx", "digits-train.npz", "digits-test.npz"))
NET = """
    (float[n,4,6,6] x) => (float[n,c] y)
    <float[8,4,3,3] first, float[8] b1, float[16,8,3,3] w, float[16] b2, float[16,8,3,3] t, float[8,4] last> {
        a = Conv<pads=[1,1,1,1]>(x, first, b1)  r = Relu(a)
        b = Conv<pads=[1,1,1,1]>(r, w, b2)      s = Relu(b)
        d = ConvTranspose<pads=[1,1,1,1]>(s, t) u = Relu(d)
        p = GlobalAveragePool(u)  f = Flatten(p)  y = MatMul(f, last)
    }"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "train.npz"
    np.savez(path, x=rng.standard_normal((64, 4, 6, 6)).astype(np.float32), y=rng.integers(0, 4, 64))
    return path


def net() -> ir.Model:
    return models.in_memory(models.model(NET))


def chosen(data: Path, **values: Any) -> UnifySettings:
    base = {"data": str(data), "epochs": 4, "batch_size": 8, "device": "cpu", "min_weights": 16}
    return UnifySettings.parse({**base, **values}, lent=base)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"method": "iss", "unify_share": 0.5, "prune_share": 0.25},
        {"method": "envelope", "unify_share": 0.5},
        {"method": "retrain", "prune_share": 0.5, "optimiser": "adamw"},
        {"insert_bn": True},
        {"insert_bn": True, "block": "1x8", "mean_weights": 0.5},
        {"insert_bn": True, "ema": 0.9},
        {"insert_bn": True, "method": "ste", "unify_share": 0.5},
        {"curvature": "gradients", "unify_share": 0.5},
        {"epochs": 1},
    ],
    ids=lambda values: "-".join(map(str, values.values())),
)
def test_every_method_ends_on_the_set_and_is_proved(data: Path, values: dict[str, Any]) -> None:
    settings = chosen(data, **values)
    result = unify(net(), settings)
    report = result.report
    assert report.exact
    assert report.accuracy is not None
    assert report.accuracy.one_shot is not None
    assert report.training is not None
    assert report.training.epochs + report.training.retrain_epochs == settings.epochs
    assert [row.name for row in report.layers] == ["w", "t"]
    assert (report.training.residuals != []) == (
        settings.approach_epochs > 0 and all(row.what != APPROACH for row in report.undone)
    )
    before = {name: v.const_value.numpy() for name, v in net().graph.initializers.items() if v.const_value is not None}
    assert not np.array_equal(models.weight(result.dense, "first"), before["first"]), "other weights are trained too"


def test_how_near_undone_training_came_is_not_told(data: Path) -> None:
    away = [Residual(step=1, strength=1.0, primal=0.5, dual=0.0)]
    for what, kept in ((RETRAINING, 1), (APPROACH, 0)):
        undone = [UndoneRow(what=what, measure="loss", on="1 sample", before=1.0, after=2.0)]
        row = training_row(chosen(data), SetTraining(net(), residuals=away, undone=undone))
        assert len(row.residuals) == kept


def test_blocks_that_are_trained_imitate_better_than_those_that_are_not(data: Path) -> None:
    errors = []
    for values in ({"method": "one-shot"}, {"epochs": 12}):
        report = unify(net(), chosen(data, **values)).report
        assert report.output_error is not None
        errors.append(report.output_error)
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("values", [{"block": "2x4"}, {"block": "3x1"}, {"unify_share": 0.5}], ids=str)
def test_folding_tied_normalisations_leaves_weights_on_the_set(data: Path, values: dict[str, Any]) -> None:
    settings = chosen(data, **values)
    ready = get_ready(net(), settings, 0, None)
    targets = {layer.name: project.target(layer, settings) for layer in ready.weights.layers}
    samples = Memory({"x": np.random.default_rng(1).standard_normal((32, 4, 6, 6)).astype(np.float32)})
    ties = {name: groups for name, target in targets.items() if (groups := target.ties()) is not None}
    assert {*ties} == {"w", "t"}
    on_set, _ = imposed(ready.model, targets)
    inserted = training_options.with_batchnorm(on_set, settings, samples, ties).model
    module, rng = GraphModule(inserted, train_bn=True), np.random.default_rng(2)
    extension = Tied(ties_of(inserted, ties))
    extension.start(module, torch.optim.SGD(module.parameters(), 0.1), 1)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith((".bn.scale", ".bn.var")):
                tensor.copy_(torch.from_numpy(rng.uniform(0.5, 2, tensor.shape)))
    extension.after_step(module, 1)
    folded = fold_batchnorm(module.write_back(inserted))
    for name, target in targets.items():
        weight: Any = models.weight(folded, name)
        assert np.abs(weight - models.weight(on_set, name)).max() > 0.01
        np.testing.assert_allclose(target.project(weight), weight, rtol=1e-5)


def test_outputs_are_tied_by_rows_of_blocks_or_all_together() -> None:
    layout = Blocking(CanonicalAxes.of((8, 4, 3, 3), "oitt"), BlockShape.parse("3x2"))
    assert Mixed(layout).ties().tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert Mixed(layout, 0.5).ties().tolist() == [0] * 8
    assert Mixed(Blocking(layout.view, BlockShape.parse("1x4"))).ties() is None
    grouped = Blocking(CanonicalAxes((4, 4), (2, 2, 4), "goi"), BlockShape.parse("2x2"))
    assert Mixed(grouped).ties().tolist() == [0, 0, 1, 1]


def test_divergence_keeps_the_nearest_weights_and_warns(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admm, "GROWING", 0)
    monkeypatch.setattr(admm, "FAR_RESIDUAL", 0.0)
    report = unify(net(), chosen(data)).report
    assert report.exact
    assert any("ADMM diverges" in warning for warning in report.warnings)


def test_an_interrupted_run_resumes_in_either_phase(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = chosen(data, keep_checkpoint=True, checkpoint=tmp_path / "c", verify=False, rho_growth=1.0)
    files.save_model(net(), tmp_path / "net.onnx")
    unify_file(tmp_path / "net.onnx", tmp_path / "a.onnx", settings)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["approach", "retrain"]
    for path in (tmp_path / "c" / "retrain").iterdir():
        path.unlink()
    (tmp_path / "c" / "retrain").rmdir()
    again = settings.model_copy(update={"resume": True, "keep_checkpoint": False})
    unify_file(tmp_path / "net.onnx", tmp_path / "b.onnx", again)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert not (tmp_path / "c").exists()


def test_free_blocks_are_what_was_trained(data: Path) -> None:
    ready = get_ready(net(), chosen(data, unify_share=0.5), 0, None)
    result = unify(net(), chosen(data, unify_share=0.5))
    for layer in ready.weights.layers:
        weight = models.weight(result.dense, layer.name)
        kinds = project.target(layer, chosen(data, unify_share=0.5)).kinds(weight)
        assert measure.satisfied(weight, weight, layer.layout, kinds)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": None, "method": "admm"}, "--method admm trains, which needs samples; give --data"),
        ({"expand": 2.0}, "leave --expand out"),
    ],
)
def test_what_cannot_be_trained_is_refused(data: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        UnifySettings.parse({"data": str(data), **values})


def test_without_torch_one_sentence_says_what_to_install(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(UsageError, match="--method admm needs torch, which is not installed; run pip install"):
        unify(net(), chosen(data))
    assert unify(net(), chosen(data, method="one-shot")).report.accuracy is not None


def test_the_command_trains_digits_to_4x4_blocks_in_every_layer(tmp_path: Path) -> None:
    with np.load(TRAIN) as held:
        np.savez(tmp_path / "half.npz", **{name: held[name][:704] for name in held.files})
    arguments = ["unify", DIGITS, "-o", tmp_path / "out.onnx", "--data", tmp_path / "half.npz", "--val-data", TEST]
    arguments += ["--all-layers", "--epochs", 2, "--batch-size", 32, "--metrics", tmp_path / "m.jsonl"]
    arguments += ["--json", "-", "-q"]
    done = CliRunner().invoke(compress, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["accuracy"]["one_shot"] < 0.5
    assert report["accuracy"]["after"] > 0.9
    assert report["output"]["bytes"] < report["input"]["bytes"] / 11
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert {line["phase"] for line in lines} == {"approach", "retrain"}
    assert any("primal" in line.get("residual", {}) for line in lines)
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []


@pytest.mark.parametrize(("epochs", "told"), [(12, True), (1, False)])
def test_accuracy_on_the_samples_that_chose_the_epoch_says_so(data: Path, epochs: int, told: bool) -> None:
    report = unify(net(), chosen(data, epochs=epochs, unify_share=0.5)).report
    assert report.accuracy is not None
    assert (CHOSEN_ON_JUDGED in report.warnings) is told
