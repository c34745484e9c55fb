"""Metrics of whole models: built-in ones by name, and functions of the user's with what can go wrong in them."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner

from compressor.cli.main import compress
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.config.choices import METRICS
from compressor.core.arrays import Array
from compressor.core.notation import Percent
from compressor.data import Dataset, open_data
from compressor.data.batch import Batch
from compressor.errors import UsageError
from compressor.metrics.evaluator import Evaluator, demand_metric, evaluator_for, labels_unread
from tests import models
from tests.train.training import Memory

NET = """
(float[n,4] x) => (float[n,3] y) <float[4,8] w, float[8,3] v> {
    h = MatMul(x, w)
    a = Relu(h)
    y = MatMul(a, v)
}"""
FUNCTIONS = """
import os
import numpy as np
import onnx

def width(model):
    return onnx.load(model).graph.initializer[0].dims[0]

def ratio(model):
    total = count = 0
    for batch in model.batches():
        scores = model.run(None, batch.inputs)[0]
        assert (scores == model(batch.inputs)["y"]).all()
        total, count = total + (scores.argmax(1) == batch.labels).sum(), count + len(batch)
    return total / count

def error(model):
    return 4.0
error.higher_is_better = False
error.name = "word error rate"

def session(model):
    given = model.get_inputs()[0]
    assert os.path.exists(model) and [v.name for v in model.get_outputs()] == ["y"]
    return model.run(["y"], {given.name: np.ones((2, 4), np.float32)})[0].sum()

def raises(model):
    raise KeyError("no such split")

def nothing(model):
    return None

def array(model):
    return np.ones(3)

def nan(model):
    return float("nan")

number = 3
"""


@pytest.fixture
def net() -> ir.Model:
    return models.in_memory(models.model(NET))


@pytest.fixture(autouse=True)
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_metrics.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_metrics", raising=False)


def npz(path: Path, **arrays: Array) -> str:
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def settings(tmp_path: Path, net: ir.Model) -> PruneSettings:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4)).astype(np.float32)
    return PruneSettings(data=npz(tmp_path / "d.npz", x=x, y=rng.integers(0, 3, 50)), batch_size=16)


def own(name: str) -> Evaluator:
    return Evaluator(f"own_metrics:{name}", batch_size=16)


def test_every_built_in_metric_says_what_it_is() -> None:
    assert list(METRICS) == ["top-1", "top-5", "miou", "map", "map50", "perplexity", "cosine", "rmse"]
    for name, kind in METRICS.items():
        assert kind.name == name
        assert Evaluator(name).share is kind.share


def test_a_built_in_metric_is_that_of_a_function_with_the_same_meaning(net: ir.Model, settings: PruneSettings) -> None:
    data = open_data(settings, net)
    found = Evaluator("top-1", batch_size=16).measure(net, data)
    assert found.value == pytest.approx(own("ratio").measure(net, data).value)
    assert found.samples == 50


def test_the_original_is_what_is_right_where_labels_do_not_say(net: ir.Model, settings: PruneSettings) -> None:
    data = open_data(settings, net)
    assert Evaluator("cosine").measure(net, data, net).value == pytest.approx(1)
    assert Evaluator("rmse").measure(net, data, net).value == 0
    other = models.in_memory(models.model(NET, seed=1))
    assert Evaluator("cosine").measure(other, data, net).value < 0.99
    assert Evaluator("rmse").measure(other, data, net).value > 0.1


def test_functions_get_a_session_that_is_a_path(net: ir.Model) -> None:
    assert own("width").measure(net, None).value in (4, 8)
    assert np.isfinite(own("session").measure(net, None).value)
    assert own("session").measure(net, None).samples is None


def test_a_function_says_its_name_and_direction() -> None:
    error = own("error")
    assert (error.name, error.higher_is_better, error.share) == ("word error rate", False, False)
    assert error.lost(3.0, 4.0) == pytest.approx(1.0)
    assert (own("width").name, own("width").higher_is_better) == ("width", True)
    assert own("width").lost(8, 6) == pytest.approx(2)


def test_a_perplexity_is_lost_by_shares() -> None:
    assert Evaluator("perplexity").lost(20.0, 21.0) == pytest.approx(0.05)
    assert Evaluator("rmse").lost(0.0, 0.25) == pytest.approx(0.25)
    assert Evaluator("top-1").lost(0.9, 0.8) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", "own_metrics:raises raised KeyError: 'no such split'"),
        ("nothing", "returned NoneType instead of a number"),
        ("array", r"returned an array of shape \[3\] instead of a number"),
        ("nan", "returned nan, by which nothing can be judged"),
        ("missing", "module 'own_metrics' has no 'missing'"),
        ("number", "it is int, which cannot be called"),
    ],
)
def test_a_function_that_fails_is_a_sentence(net: ir.Model, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        own(name).measure(net, None)


def test_a_module_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="--eval no_such:f: there is no module 'no_such'"):
        Evaluator("no_such:f").check()


def test_names_are_held_against_the_table() -> None:
    with pytest.raises(UsageError, match="'mapp' is not a metric; did you mean 'map'"):
        PruneSettings.parse({"eval": "mapp"})
    assert PruneSettings.parse({"eval": "a.b:c"}).eval == "a.b:c"


@pytest.mark.parametrize(
    ("eval_", "gate", "labels", "words"),
    [
        ("map", None, False, "--eval map needs samples with labels; give --data or --val-data with an array y"),
        (None, 0.1, False, "--max-drop needs samples with labels; give"),
        ("top-5", 0.1, False, "--max-drop needs samples with labels for --eval top-5"),
        (None, 0.1, "float", "labels of the data are no numbers of classes"),
    ],
)
def test_what_cannot_be_measured_is_said(
    net: ir.Model, tmp_path: Path, eval_: str | None, gate: float | None, labels: object, words: str
) -> None:
    more = {"y": np.ones(5, np.float32)} if labels else {}
    data = npz(tmp_path / "s.npz", x=np.ones((5, 4), np.float32), **more)
    chosen = PruneSettings.parse({"data": data, "eval": eval_})
    with pytest.raises(UsageError, match=words):
        demand_metric(chosen, open_data(chosen, net), gate)


@pytest.mark.parametrize(
    ("count", "more", "remedy"),
    [(1, {}, "give more than one batch of them"), (9, {"val_share": 0}, "leave --val-share 0 out")],
)
@pytest.mark.parametrize("asked", [{"max_drop": 0.01}, {"eval": "top-1"}])
def test_data_of_which_none_is_set_aside_lacks_no_labels(
    net: ir.Model, tmp_path: Path, count: int, more: dict[str, object], asked: dict[str, object], remedy: str
) -> None:
    data = npz(tmp_path / "s.npz", x=np.ones((count, 4), np.float32), y=np.arange(count) % 3)
    with pytest.raises(UsageError, match=f"needs samples set aside, and of --data none are; {remedy}, or give --val"):
        prune(net, PruneSettings.parse({"data": data, **more, **asked}))


def test_where_nobody_asked_nothing_is_measured(net: ir.Model, tmp_path: Path) -> None:
    data = npz(tmp_path / "s.npz", x=np.ones((5, 4), np.float32), y=np.ones((5, 3), np.float32))
    chosen = PruneSettings.parse({"data": data})
    assert evaluator_for(chosen, open_data(chosen, net)) is None
    assert evaluator_for(chosen, None) is None


def test_processes_get_it_without_the_function(net: ir.Model) -> None:
    error = own("error")
    assert error.name
    assert pickle.loads(pickle.dumps(error)).measure(net, None).value == 4.0


def test_an_identity_changes_with_the_module_of_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = own("error").identity
    (tmp_path / "own_metrics.py").write_text(FUNCTIONS + "\n\n")
    assert own("error").identity != before
    assert Evaluator("map").identity == "map"


@pytest.mark.parametrize(("labels", "form"), [(np.zeros(8), "float64, one number"), (np.eye(8), "float64, [8] a")])
def test_labels_that_no_metric_reads_are_named(net: ir.Model, labels: Array, form: str, tmp_path: Path) -> None:
    x = np.zeros((8, 4), np.float32)
    np.savez(tmp_path / "labelled.npz", x=x, y=labels)
    np.savez(tmp_path / "plain.npz", x=x)

    def opened(name: str) -> Dataset | None:
        return open_data(PruneSettings.parse({"ratio": 0.5, "data": str(tmp_path / f"{name}.npz")}), net)

    (said,) = labels_unread(opened("labelled"), None)
    assert form in said
    assert labels_unread(opened("plain"), None) == []


@pytest.mark.parametrize(
    "words",
    [
        "prune {net} --ratio 0.3",
        "quantize {net}",
        "finetune {net} --teacher {net} --epochs 1",
        "unify {net}",
        "unify {net} --method ste --epochs 1",
    ],
)
def test_every_command_that_judges_says_that_labels_are_not_read(tmp_path: Path, words: str) -> None:
    text = """(float[n,16] x) => (float[n,8] y) <float[32,16] a, float[32,32] b, float[8,32] c> {
        h = Gemm<transB=1>(x, a)
        i = Relu(h)
        j = Gemm<transB=1>(i, b)
        k = Relu(j)
        y = Gemm<transB=1>(k, c)
    }"""
    path, data, out = tmp_path / "net.onnx", tmp_path / "data.npz", tmp_path / "out.onnx"
    onnx.save(models.model(text), path)
    rng = np.random.default_rng(0)
    np.savez(data, x=rng.normal(size=(40, 16)).astype(np.float32), y=rng.random((40, 3)).astype(np.float32))
    result = CliRunner().invoke(compress, [*words.format(net=path).split(), "--data", str(data), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stderr.count("labels are float32, [3] a sample") == 1


def test_what_is_counted_has_an_interval() -> None:
    row = Evaluator().row(1.0, 0.5, 64)
    assert (row.low, row.high) == pytest.approx((0.381, 0.619), abs=1e-3)
    for other in (Evaluator().row(1.0, 0.5), Evaluator("miou").row(1.0, 0.5, 64), Evaluator("rmse").row(1.0, 0.5, 64)):
        assert (other.low, other.high) == (None, None)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((4, 2, 5), np.float32), "--eval map"),
        (np.zeros(4, np.float32), "store classes as whole numbers"),
        (np.full(4, 0.5, np.float32), "--eval rmse"),
    ],
)
def test_a_limit_on_labels_that_are_no_classes_says_what_they_look_like(labels: Array, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Evaluator().demand(Memory({"x": np.zeros((4, 1), np.float32)}, labels), "--max-drop")


def test_labels_that_are_no_boxes_are_refused_before_anything_runs() -> None:
    data = Memory({"x": np.zeros((4, 1), np.float32)}, np.zeros((4, 7), np.float32))
    with pytest.raises(UsageError, match="needs labels"):
        Evaluator("map").demand(data, "--eval")


def test_numbers_of_another_shape_are_refused() -> None:
    batch = Batch({}, np.zeros((4, 7), np.float32))
    outputs = {"y": np.zeros((4, 3), np.float32)}
    with pytest.raises(UsageError, match="these are"):
        Evaluator("rmse").start().add(outputs, batch, outputs)


def test_a_share_of_nothing_is_no_limit() -> None:
    rmse = Evaluator("rmse")
    with pytest.raises(UsageError, match="in the unit of the metric"):
        rmse.check_base(Percent(0.03), 0.0)
    rmse.check_base(0.03, 0.0)
    rmse.check_base(Percent(0.03), 0.5)
