"""Recovery within a pruning run: what is read, what is refused, what the report says."""

from __future__ import annotations

import json
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.commands.prune_report import report_file, with_layers
from compressor.config import PruneSettings
from compressor.errors import GateMissed, UsageError
from compressor.steps.gates import demand_gates
from compressor.steps.prune.result import PruneResult
from compressor.steps.prune.trainer import IN_VAIN, INEXACT_NOTE, Trained, Trainer
from tests.models import between, in_memory, model

MODELS = Path(__file__).parents[3] / "models"
NET = MODELS / "digits-mobilenet.onnx"
TEST = MODELS / "digits-test.npz"
SETTINGS = {"ratio": 0.3, "round_to": 4, "scope": "local", "data": str(TEST), "val_share": 0.5}
SETTINGS["std"] = (1.0,)  # as they are; said, so that no run tries in which range the network knows its pixels


@cache
def recovered(method: str) -> PruneResult:
    """One run, which several tests look at."""
    return prune_file(NET, None, PruneSettings.parse({**SETTINGS, "recover": method}))


def run(**settings: object) -> tuple[float, float, float]:
    """Accuracy before, straight after the cut, and after recovery."""
    return measured(prune(NET, PruneSettings.parse({**SETTINGS, **settings})))


def measured(result: PruneResult) -> tuple[float, float, float]:
    [row] = result.report.accuracy
    return row.before, row.pruned if row.pruned is not None else row.after, row.after


@pytest.mark.parametrize(("method", "share"), [("bias", 0.15), ("lstsq", 0.8)])
def test_recovery_without_training_gives_accuracy_back(method: str, share: float) -> None:
    before, pruned, after = measured(recovered(method))
    assert pruned < before - 0.05, "the cut hurts, else there is nothing to show"
    assert after > pruned + share * (before - pruned)


def test_least_squares_is_told_layer_by_layer() -> None:
    report = recovered("lstsq").report
    assert report.recovery
    assert all(row.error_after <= row.error_before + 1e-9 for row in report.recovery)
    assert "recover" in report.seconds
    assert "judge" in report.seconds


def test_made_up_samples_stand_in_for_data_and_are_told_of() -> None:
    report = prune(NET, PruneSettings.parse({"ratio": 0.3, "recover": "lstsq", "samples": 64, "scope": "local"})).report
    assert any("made-up samples stood in" in warning for warning in report.warnings)
    assert report.synthetic is not None
    assert report.synthetic.source == "behaviour"
    told = {"recover": "bias", "samples": 16, "scope": "local", "mean": 0.5}
    given = prune(NET, PruneSettings.parse({"ratio": 0.3, **told})).report
    assert given.synthetic is not None
    assert given.synthetic.source == "given"
    assert not report.accuracy


def test_layers_left_alone_for_one_reason_are_told_together() -> None:
    layer = "q{0}, t{0}, z{0} = DynamicQuantizeLinear({1})  i{0} = ConvInteger(q{0}, k, z{0})  c{0} = Cast<to=1>(i{0}) "
    body = "".join(layer.format(k, f"c{k - 1}" if k else "a") for k in range(5)) + "b = Relu(c4)"
    found = prune(
        in_memory(between(body, more="int8[16,16,1,1] k")),
        PruneSettings.parse({"ratio": 0.5, "round_to": 1, "recover": "lstsq"}),
    )
    told = [w for w in found.report.warnings if w.startswith("recovery left")]
    names = "'ConvInteger_2', 'ConvInteger_5', 'ConvInteger_8'"
    assert told == [f"recovery left {names} and 2 more alone: ConvInteger is not reconstructed"]


def test_recovery_in_steps() -> None:
    _, _, once = measured(recovered("lstsq"))
    _, _, stepwise = run(recover="lstsq", steps=2)
    assert stepwise > once - 0.1


def test_a_replayed_plan_is_distilled_after_its_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    plan = prune(NET, PruneSettings.parse({**SETTINGS, "recover": "none"})).plan
    asked: list[int] = []
    monkeypatch.setattr(Trainer, "distilled", lambda _, model, *__: asked.append(1) or Trained(model))
    prune(NET, PruneSettings.parse({**SETTINGS, "recover": "distill", "steps": 3}), plan=plan)
    assert asked == [1]


def test_a_training_that_failed_is_not_told_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise UsageError("torch does not know it")

    # By the table of modules: another test may have taken the name out of its package.
    monkeypatch.setattr(import_module("compressor.train.brief"), "distil", fail)
    asked = PruneSettings.parse({"ratio": 0.5, "recover": "distill", "samples": 16})
    report = prune(in_memory(model(NORMED % "Add(b, shift)")), asked).report
    assert report.settings["recover"] == "distill"
    assert report.done["recover"] == "lstsq"
    assert any("torch does not know it" in text for text in report.warnings)


def test_training(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    output = tmp_path / "small.onnx"
    settings = PruneSettings.parse(
        {**SETTINGS, "recover": "finetune", "epochs": 2, "batch_size": 32, "learning_rate": 0.02}
    )
    told: list[str] = []
    report = prune_file(NET, output, settings, progress=told.append).report
    [row] = report.accuracy
    assert row.pruned is not None
    assert row.after > row.pruned
    loss, metric = report.curves
    assert [[x for x, _ in line.points] for line in loss.series] == [[1, 2], [0, 1, 2]]
    assert metric.y_label == "accuracy"
    assert [x for x, _ in metric.series[0].points] == [0, 1, 2]
    assert any("samples/s" in text for text in told)
    assert [p.name for p in tmp_path.iterdir()] == ["small.onnx"], "the checkpoint is gone"


def test_training_that_makes_it_worse_is_not_kept(tmp_path: Path) -> None:
    """Samples are set aside to judge on whether they have labels or not."""
    pytest.importorskip("torch")
    with np.load(MODELS / "digits-train.npz", allow_pickle=False) as data:
        np.savez(tmp_path / "unlabelled.npz", x=data["x"][:512])
    asked = {**SETTINGS, "val_share": 0.1, "data": str(tmp_path / "unlabelled.npz"), "batch_size": 256}
    # Too few steps for their beginning to be watched, so that the epoch is what is judged.
    bad = {"recover": "finetune", "epochs": 1, "learning_rate": 50, "temperature": 1.0, "clip_norm": 5.0}
    results = [prune(NET, PruneSettings.parse({**asked, **more})) for more in (bad, {"recover": "lstsq"})]
    assert f"{IN_VAIN}; try a smaller --learning-rate than 50" in results[0].report.warnings
    (undone,) = results[0].report.undone
    assert (undone.what, undone.measure, undone.on) == ("training", "loss", "51 samples set aside")
    assert undone.after is not None
    assert undone.after > undone.before
    assert not results[1].report.undone
    ran, plain = (result.report.ran for result in results)
    [training] = ran["training"]
    assert training["learning_rate"] == 50
    assert training["device"] == "cpu"
    assert training["kept"] is False
    assert (plain["recover"], plain["fitted"], "training" in plain) == ("lstsq", "lstsq", False)
    kept, rebuilt = (result.model for result in results)
    for name, value in rebuilt.graph.initializers.items():
        other = kept.graph.initializers[name].const_value
        assert value.const_value is not None
        assert other is not None
        assert np.array_equal(value.const_value.numpy(), other.numpy()), name


def test_metrics_tell_of_fading_and_training(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "metrics.jsonl"
    path.write_text("of an earlier run\n")
    training = {"recover": "finetune", "epochs": 1, "decay_epochs": 1, "batch_size": 64, "metrics": str(path)}
    prune(NET, PruneSettings.parse({**SETTINGS, **training}))
    steps = [json.loads(line)["pruning_step"] for line in path.read_text().splitlines()]
    assert set(steps) == {0, 1}


def test_what_goes_can_fade_before_it_is_cut() -> None:
    pytest.importorskip("torch")
    training = {"recover": "finetune", "epochs": 1, "batch_size": 16, "learning_rate": 0.01}
    before, cut, _ = measured(recovered("bias"))
    _, faded, after = run(decay_epochs=3, **training)
    assert faded > cut + 0.1, "nothing jumps when what has faded goes"
    assert after > before - 0.2


NORMED = """
(float[N,1,8,8] x) => (float[N,10] y)
<float[16,1,8,8] w, float[16] scale, float[16] shift, float[10,16] v> {
    a = Conv(x, w)
    b = Flatten(a)
    c = %s
    d = Relu(c)
    y = Gemm<transB=1>(d, v)
}"""


@pytest.mark.parametrize(("op", "inexact"), [("LayerNormalization(b, scale, shift)", True), ("Add(b, shift)", False)])
def test_fading_that_changes_outputs_at_the_cut_is_told(op: str, inexact: bool) -> None:
    pytest.importorskip("torch")
    training = {"recover": "finetune", "epochs": 1, "decay_epochs": 1, "batch_size": 256, "round_to": 4}
    report = prune(in_memory(model(NORMED % op)), PruneSettings.parse({**SETTINGS, **training})).report
    assert sum(row.removed for row in report.groups) > 0
    assert (INEXACT_NOTE in report.warnings) == inexact


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"decay_epochs": 1}, "--recover finetune"),
        ({"max_drop": 0.01}, "give --data"),
        ({"refit_last": True}, "--refit-last learns from labels"),
        ({"recover": "finetune", "loss": "mixed"}, "--loss mixed learns from labels, and made-up samples have none"),
        ({"data": "unlabelled.npz", "max_drop": 0.01}, "needs samples with labels"),
        ({"recover": "lstsq", "data": "missing.npz"}, "no such file"),
    ],
)
def test_what_is_missing_is_said_first(
    settings: dict[str, object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr("compressor.steps.prune.start.analyse")
    np.savez(tmp_path / "unlabelled.npz", x=np.zeros((20, 1, 8, 8), np.float32))
    with pytest.raises(UsageError, match=words):
        prune(NET, PruneSettings.parse({"ratio": 0.3, **settings}))


@pytest.mark.parametrize("library", ["torch", "safetensors"])
@pytest.mark.parametrize(
    "asked", [{"recover": "finetune"}, {"recover": "finetune", "decay_epochs": 1}, {"trainability": True}]
)
def test_a_missing_library_is_said_before_any_work(
    library: str, asked: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delattr("compressor.steps.prune.start.analyse")
    with pytest.raises(UsageError, match=rf"^--\w+.* needs {library}, which .* pip install 'onnx-compressor\[tune\]'"):
        prune(NET, PruneSettings.parse({**SETTINGS, **asked}))


def test_gates() -> None:
    settings = PruneSettings.parse({**SETTINGS, "max_drop": 0.01})
    report = prune(NET, settings).report
    with pytest.raises(GateMissed, match=r"--max-drop allows 1\.00%"):
        demand_gates(report, settings)
    demand_gates(report, settings.model_copy(update={"max_drop": 1.0}))


def test_size_gate(tmp_path: Path) -> None:
    settings = PruneSettings.parse({"ratio": 0.3, "max_size": "100kB"})
    report = prune_file(NET, tmp_path / "small.onnx", settings).report
    with pytest.raises(GateMissed, match="--max-size allows 100 kB"):
        demand_gates(report, settings)


def test_html_report(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    settings = PruneSettings.parse({**SETTINGS, "recover": "lstsq"})
    result = recovered("lstsq")
    result.report = with_layers(NET, result, settings, timed=True)
    report_file(result, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "top-1" in text
    assert "://" not in text.replace("http://www.w3.org", "")
