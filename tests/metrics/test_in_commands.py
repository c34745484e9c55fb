"""Commands judge by the metric that was asked for: gates, sweeps, the epoch that is kept, comparisons, recipes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import compressor
from compressor.commands.choose_blocks import choose
from compressor.commands.prune_file import prune_file
from compressor.commands.quantize import quantize
from compressor.commands.sensitivity import sensitivity
from compressor.commands.verify import verify
from compressor.config import PruneSettings, TuneSettings, VerifySettings
from compressor.config.choosing import ChoosingSettings
from compressor.config.data import DataSettings
from compressor.config.quantize import QuantizeSettings
from compressor.config.sensitivity import SensitivitySettings
from compressor.core.notation import Percent
from compressor.errors import GateMissed, UsageError
from compressor.experiments.limits import Limits
from compressor.graph.disk import files
from compressor.metrics.evaluator import Evaluator
from compressor.recipe.judging import Judge
from compressor.recipe.store import Store
from compressor.results.sensitivity import OutputChange
from compressor.runtime.stored import run_once
from compressor.steps.gates import LOSE_MOST, demand_gates, missed
from tests.models import model

NET = """(float[n,4] x) => (float[n,3] y) <float[4,16] w, float[16,3] v> {
    h = MatMul(x, w)
    a = Relu(h)
    y = MatMul(a, v)
}"""
FUNCTIONS = """
import numpy as np
import onnx

calls = []

def weights(model):
    # Larger models are better.
    return float(sum(np.prod(t.dims) for t in onnx.load(model).graph.initializer))

def size(model):
    return weights(model)
size.higher_is_better = False

def none(model):
    return 0.0

def seen(model):
    return float(sum(len(batch) for batch in model.batches()))

def third(model):
    # Best the third time that it is asked for: of the model as it came, after epoch 1, after epoch 2, ...
    calls.append(model)
    return -abs(len(calls) - 3)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(model(NET), tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    np.savez(tmp_path / "classes.npz", x=x, y=rng.integers(0, 3, 60))
    np.savez(tmp_path / "numbers.npz", x=x, y=rng.normal(size=(60, 3)).astype(np.float32))
    (tmp_path / "judge.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "judge", raising=False)
    return tmp_path


def pruned(**settings: object) -> PruneSettings:
    return PruneSettings.parse({"ratio": 0.5, "recover": "none", "verify": "off", **settings})


def test_a_gate_on_a_function_needs_no_data(folder: Path) -> None:
    settings = pruned(eval="judge:weights", max_drop=40, round_to=1)
    report = prune_file(folder / "net.onnx", None, settings).report
    (row,) = report.accuracy
    assert (row.metric, row.before, row.after, row.samples) == ("weights", 112, 56, None)
    assert missed(report, settings) == ["weights dropped by 56, --max-drop allows 40"]
    with pytest.raises(GateMissed):
        demand_gates(report, settings)
    demand_gates(report, settings.model_copy(update={"max_drop": 56.0}))
    smaller = prune_file(folder / "net.onnx", None, pruned(eval="judge:size", max_drop=0)).report
    assert smaller.accuracy[0].lost < 0
    demand_gates(smaller, pruned(eval="judge:size", max_drop=0))


def test_a_function_sees_the_samples_that_are_set_aside(folder: Path) -> None:
    report = prune_file(folder / "net.onnx", None, pruned(eval="judge:seen", data="classes.npz", val_share=0.2)).report
    assert report.accuracy[0].before == report.accuracy[0].samples == 12


def test_labels_that_do_not_fit_are_said_before_any_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.steps.prune.step.chosen_changes", lambda *_: pytest.fail("work was done"))
    with pytest.raises(UsageError, match=r"--eval map needs labels \[n, m, 5\]"):
        prune_file(folder / "net.onnx", None, pruned(eval="map", data="classes.npz"))
    with pytest.raises(UsageError, match="no module 'nowhere'"):
        prune_file(folder / "net.onnx", None, pruned(eval="nowhere:f"))


def test_numbers_as_labels_need_a_metric(folder: Path) -> None:
    assert prune_file(folder / "net.onnx", None, pruned(data="numbers.npz")).report.accuracy == []
    (row,) = prune_file(folder / "net.onnx", None, pruned(data="numbers.npz", eval="rmse")).report.accuracy
    assert (row.higher_is_better, row.share, row.relative) == (False, False, False)
    assert row.after != row.before


@pytest.mark.parametrize(("metric", "limit"), [("rmse", 1e9), ("rmse", 0.0), ("judge:weights", 20.0)])
def test_a_sweep_is_safe_by_the_metric(folder: Path, metric: str, limit: float) -> None:
    settings = SensitivitySettings.parse(
        {"eval": metric, "max_drop": limit, "data": "classes.npz", "ratios": "0.25,0.5", "jobs": 1, "samples": 30}
    )
    report = sensitivity(folder / "net.onnx", settings)
    (group,) = report.groups
    assert (report.metric, report.share) == (metric.partition(":")[2] or metric, False)
    if metric == "rmse":
        assert report.accuracy == 0, "the original is what is right"
        assert [point.accuracy > 0 for point in group.points if point.accuracy is not None] == [True, True]
        assert group.safe == (8 if limit else 0)
        assert report.limit.startswith("rmse rises by at most")
    else:
        assert [point.accuracy for point in group.points] == [84, 56]
        assert group.safe == 0, "28 weights go with the first quarter, and 20 may"


def test_the_ledger_of_a_sweep_tells_metrics_apart(folder: Path) -> None:
    asked = {"data": "classes.npz", "ratios": "0.5", "jobs": 1}
    first = sensitivity(folder / "net.onnx", SensitivitySettings.parse(asked), ledger=folder / "l.jsonl")
    again = sensitivity(folder / "net.onnx", SensitivitySettings.parse(asked), ledger=folder / "l.jsonl")
    other = SensitivitySettings.parse({**asked, "eval": "rmse"})
    assert (first.remembered, again.remembered) == (0, 1)
    assert sensitivity(folder / "net.onnx", other, ledger=folder / "l.jsonl").remembered == 0


def test_the_best_epoch_is_that_of_the_metric(folder: Path) -> None:
    finetune = pytest.importorskip("compressor.train.finetune").finetune
    asked = {"data": "classes.npz", "loss": "cross-entropy", "epochs": 4, "batch_size": 8, "eval": "judge:third"}
    result = finetune(files.load_model(folder / "net.onnx"), TuneSettings.parse({**asked, "device": "cpu"}))
    assert result.history.metric_name == "third"
    assert [row.valid.metric for row in result.history.epochs] == [-1, 0, -1, -2]
    assert result.history.best_epoch == 2
    assert len(result.history.epochs) == 4
    sys.modules["judge"].calls.clear()
    patient = TuneSettings.parse({**asked, "device": "cpu", "patience": 1})
    assert len(finetune(files.load_model(folder / "net.onnx"), patient).history.epochs) == 3


def test_training_needs_what_its_metric_does(folder: Path) -> None:
    finetune = pytest.importorskip("compressor.train.finetune").finetune
    asked = {"data": "classes.npz", "loss": "cross-entropy", "eval": "top-1", "val_share": 0, "device": "cpu"}
    with pytest.raises(UsageError, match="--eval top-1 needs samples set aside"):
        finetune(files.load_model(folder / "net.onnx"), TuneSettings.parse(asked))


def test_verify_measures_both(folder: Path) -> None:
    onnx.save(model(NET, seed=1), folder / "other.onnx")
    settings = VerifySettings.parse({"data": "classes.npz", "eval": "cosine", "bisect": False})
    (row,) = verify(folder / "net.onnx", folder / "other.onnx", settings).accuracy
    assert row.before == pytest.approx(1)
    assert row.after < 0.99
    with pytest.raises(UsageError, match="--eval top-5 needs samples with labels"):
        verify(folder / "net.onnx", folder / "net.onnx", VerifySettings.parse({"eval": "top-5"}))


def test_recipes_remember_values_by_metric(folder: Path) -> None:
    store = Store(folder / "work")

    def judge(**settings: object) -> Judge:
        return Judge(DataSettings.parse(settings), folder / "net.onnx", store)

    weights = judge(eval="judge:weights").judge(folder / "net.onnx", "digest")
    assert (weights.value, weights.samples) == (112, None)
    rmse = judge(eval="rmse", data="numbers.npz").judge(folder / "net.onnx", "digest")
    assert rmse.value not in (None, 112)
    assert judge(data="numbers.npz").judge(folder / "net.onnx", "digest").value is None
    (folder / "judge.py").write_text(FUNCTIONS.replace("float(sum(np", "2 * float(sum(np"))
    sys.modules.pop("judge")
    assert judge(eval="judge:weights").judge(folder / "net.onnx", "digest").value == 224


def regression(folder: Path) -> str:
    """Labels that the network is off from by much, so that a per cent of that is far more than a hundredth."""
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(folder / "far.npz", x=x, y=np.full((60, 3), 100, np.float32))
    return "far.npz"


def test_per_cent_of_what_is_no_share_are_of_the_originals(folder: Path) -> None:
    settings = pruned(data=regression(folder), val_share=0.1, eval="rmse", max_drop="1%")
    report = prune_file(folder / "net.onnx", None, settings).report
    (row,) = report.accuracy
    assert row.before > 90
    tight = row.lost / row.before / 2
    assert tight > 0
    (clause,) = missed(report, settings.model_copy(update={"max_drop": Percent(tight)}))
    assert f"({row.before:.5g} to {row.after:.5g}), --max-drop allows {tight:.2%} (to" in clause
    assert missed(report, settings.model_copy(update={"max_drop": Percent(tight * 3)})) == []
    (clause,) = missed(report, settings.model_copy(update={"max_drop": row.lost / 2}))
    assert clause.endswith(f"--max-drop allows {row.lost / 2:.5g}"), "a bare number is in the unit of the metric"
    limits = Limits(Percent(tight * 3), evaluator=Evaluator("rmse"))
    assert str(limits) == f"rmse rises by at most {tight * 3:.2%}"
    assert limits.allow(OutputChange(distance=0.0, accuracy=row.after), row.before)
    assert not replace(limits, max_drop=tight * 3).allow(OutputChange(distance=0.0, accuracy=row.after), row.before)


def test_a_share_of_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"1\.00% of rmse is a share of the original's, which is 0 .* in the unit"):
        prune_file(folder / "net.onnx", None, pruned(data="classes.npz", eval="rmse", max_drop="1%"))
    assert prune_file(folder / "net.onnx", None, pruned(data="classes.npz", eval="rmse", max_drop=1e9)).report.accuracy


@pytest.mark.parametrize(
    ("work", "run"),
    [
        ("compressor.commands.quantize.made", lambda net, asked: quantize(net, QuantizeSettings.parse(asked))),
        (
            "compressor.commands.sensitivity.cuts_of_groups",
            lambda net, asked: sensitivity(net, SensitivitySettings.parse(asked)),
        ),
        (
            "compressor.commands.choose_blocks._block_options",
            lambda net, asked: choose(net, ChoosingSettings.parse(asked)),
        ),
    ],
    ids=["quantize", "sensitivity", "unify"],
)
def test_a_share_of_nothing_is_refused_before_any_work(
    work: str, run: Callable[[Path, dict[str, Any]], object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, lambda *_, **__: pytest.fail("work was done"))
    asked = {"data": "classes.npz", "eval": "judge:none", "max_drop": "1%", "samples": 8}
    with pytest.raises(UsageError, match=r"is a share of the original's, which is 0 .* in the unit"):
        run(folder / "net.onnx", asked if "quantize" in work else {**asked, "jobs": 1})


def test_labels_of_real_numbers_name_rmse(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no numbers of classes.*--eval rmse"):
        prune_file(folder / "net.onnx", None, pruned(data="numbers.npz", max_drop="1%"))
    report = prune_file(folder / "net.onnx", None, pruned(data="numbers.npz")).report
    assert any("--eval rmse" in text for text in report.warnings)


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({}, "; try a smaller --ratio, drop --recover none"),
        ({"ratio": None, "target_macs": 0.5}, "; try a larger --target-macs, drop --recover none"),
    ],
)
def test_a_missed_gate_says_what_to_try(folder: Path, settings: dict[str, object], remedy: str) -> None:
    asked = pruned(**{**settings, "data": regression(folder), "val_share": 0.1, "eval": "rmse", "max_drop": 0})
    report = prune_file(folder / "net.onnx", None, asked).report
    with pytest.raises(GateMissed) as error:
        demand_gates(report, asked)
    assert str(error.value).endswith(f"{remedy}, or {LOSE_MOST}")


def shifted(folder: Path, by: int) -> str:
    """Samples whose labels are what the network says, counted on by so many classes."""
    x = np.random.default_rng(1).normal(size=(400, 4)).astype(np.float32)
    said = run_once(files.load_model(folder / "net.onnx"), [{"x": x}], "cpu").outputs[0][0].argmax(axis=1)
    place = folder / f"shifted{by}.npz"
    np.savez(place, x=x, y=(said + by) % 3)
    return str(place)


@pytest.mark.parametrize("command", ["finetune", "unify", "sensitivity", "robustness"])
def test_labels_that_the_network_predicts_by_chance_are_warned_of(command: str, folder: Path) -> None:
    if command == "finetune":
        pytest.importorskip("torch")
    blocks: dict[str, Any] = {"method": "one-shot", "block": "1x4", "all_layers": True, "min_weights": 2}
    trained: dict[str, Any] = {"teacher": "net.onnx", "epochs": 1, "val_share": 0.2, "device": "cpu"}
    told: Any = {
        "finetune": lambda data: compressor.finetune("net.onnx", data=data, **trained),
        "unify": lambda data: compressor.unify("net.onnx", data=data, **blocks).report,
        "sensitivity": lambda data: compressor.sensitivity("net.onnx", data=data, ratios=[0.5]),
        "robustness": lambda data: compressor.robustness("net.onnx", "net.onnx", data=data, noise_levels=1),
    }[command]
    kept = [told(shifted(folder, by)).warnings for by in (1, 0)]
    who = "the network" if command == "finetune" else "the original"
    (text,) = [text for text in kept[0] if "no better than always naming" in text]
    assert text.startswith(f"{who} is right on 0.0%")
    assert not any("no better" in text for text in kept[1])
