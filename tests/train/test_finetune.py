"""Fine-tuning from graph to graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from compressor.config import TuneSettings
from compressor.errors import NothingToTrain, UsageError
from compressor.graph.form.upcast import is_narrow, widened
from compressor.results.records import CHOSEN_ON_JUDGED
from compressor.train.finetune import TuneResult, finetune
from compressor.train.loop.split import JudgedSamples, Splits
from compressor.train.module.intermediate_outputs import with_outputs
from compressor.train.summary import tune_report
from tests.models import in_memory, model
from tests.train.case import in_torch
from tests.train.training import Memory

NET = """
(float[{n},3,6,6] x) => (float[{n},4] y)
<float[8,3,3,3] w, float[8] b, float[8,8,3,3] v, float[8] c, float[4,8] head, float[4] bias> {{
    h = Conv<pads=[1,1,1,1]>(x, w, b)   r = Relu(h)
    k = Conv<pads=[1,1,1,1]>(r, v, c)   s = Relu(k)
    p = GlobalAveragePool(s)   f = Flatten(p)
    y = Gemm<transB=1>(f, head, bias)
}}"""


def net(n: int | str = "N", seed: int = 0) -> onnx.ModelProto:
    return model(NET.format(n=n), seed=seed)


def pruned(proto: onnx.ModelProto) -> ir.Model:
    """Half of the first convolution's filters are gone."""
    copy = in_memory(proto)
    for name, axis in (("w", 0), ("b", 0), ("v", 1)):
        value = copy.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(np.take(value.const_value.numpy(), range(4), axis), name=name)
        value.shape = ir.Shape(int(n) for n in value.const_value.shape.numpy())
    return copy


def data(count: int = 48, dtype: Any = np.float32) -> Memory:
    rng = np.random.default_rng(0)
    return Memory({"x": rng.normal(0, 1, (count, 3, 6, 6)).astype(dtype)})


def settings(**given: Any) -> TuneSettings:
    chosen = {"batch_size": 8, "epochs": 6, "optimiser": "adamw", "learning_rate": 0.01, "device": "cpu"}
    return TuneSettings.parse({**chosen, **given})


def tuned(student: ir.Model, teacher: onnx.ModelProto, **given: Any) -> TuneResult:
    return finetune(student, settings(**given), teacher=in_memory(teacher), data=data())


def test_a_model_without_weights_to_train_is_not_trained() -> None:
    quantised = model("""(float[N,3,6,6] x) => (float[N,4,6,6] y)
    <int8[4,3,1,1] w, float scale = {0.01}, int8 z = {0}> {
        v = DequantizeLinear(w, scale, z)  y = Conv(x, v) }""")
    with pytest.raises(NothingToTrain, match="no trainable weights"):
        tuned(in_memory(quantised), quantised)


def test_a_pruned_model_comes_nearer_to_its_original() -> None:
    result = tuned(pruned(net()), net())
    assert result.history.after.loss < 0.5 * result.history.before.loss
    assert result.compared == ["output 'y': kl along axis 1 (rows are taken for scores of classes)"]
    assert result.max_rel_err is not None
    assert result.max_rel_err < 1e-4


def test_only_weights_change() -> None:
    student = pruned(net())
    before = ir.to_proto(student).SerializeToString()
    result = tuned(student, net(), epochs=1)
    assert ir.to_proto(student).SerializeToString() == before
    ours, theirs = ir.to_proto(result.model), ir.to_proto(student)
    assert all(a.raw_data != b.raw_data for a, b in zip(ours.graph.initializer, theirs.graph.initializer, strict=True))
    for proto in (ours, theirs):
        for tensor in proto.graph.initializer:
            tensor.ClearField("raw_data")
    assert ours == theirs


def test_the_model_that_comes_out_is_the_module_that_was_trained() -> None:
    result = tuned(pruned(net()), net(), epochs=2, val_share=0.25)
    assert result.judged == JudgedSamples(len(data()) // 4, seen=False)
    batch = data().take(np.arange(48))
    one = in_torch(result.model, batch.inputs)[0]
    two = in_torch(in_memory(net()), batch.inputs)[0]
    again = finetune(
        result.model, settings(epochs=1, learning_rate=1e-9, val_share=0.0), teacher=in_memory(net()), data=data()
    )
    assert again.judged == JudgedSamples(min(settings().samples, len(data())), seen=True)
    t = 4.0
    p, q = (e / e.sum(1, keepdims=True) for e in (np.exp(a.astype(np.float64) / t) for a in (one, two)))
    assert again.history.before.loss == pytest.approx((q * np.log(q / p)).sum(1).mean() * t * t, rel=1e-3)


@pytest.mark.parametrize("dtype", [np.float16])
def test_a_model_of_half_precision_is_trained_in_full(dtype: Any) -> None:
    proto = net()
    text = NET.format(n="N").replace("float[", "float16[").replace("(float y", "(float16 y")
    half = model(text, opset=18)
    for tensor in half.graph.initializer:
        wide = next(t for t in proto.graph.initializer if t.name == tensor.name)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(wide).astype(dtype), tensor.name))
    assert is_narrow(in_memory(half))
    assert not is_narrow(widened(in_memory(half)))
    student = pruned(half)
    before = ir.to_proto(student).SerializeToString()
    result = finetune(student, settings(), teacher=in_memory(half), data=data(dtype=dtype))
    assert ir.to_proto(student).SerializeToString() == before
    assert result.history.after.loss < 0.5 * result.history.before.loss
    kinds = {v.const_value.dtype for v in result.model.graph.initializers.values() if v.const_value is not None}
    assert kinds == {ir.DataType.FLOAT16}
    assert result.max_rel_err is not None


def test_a_fixed_batch_that_nothing_depends_on_is_no_limit() -> None:
    result = tuned(pruned(net(1)), net(1), epochs=2)
    assert not result.warnings
    assert result.max_rel_err is not None


def test_a_fixed_batch_that_the_graph_depends_on_is_kept() -> None:
    text = """
    (float[2,3,6,6] x) => (float[2,4] y) <float[108,6] w, float[6] b, float[6,4] v, int64[2] to = {2,108}> {
        f = Reshape(x, to)   h = MatMul(f, w)   a = Add(h, b)   r = Relu(a)   y = MatMul(r, v) }"""
    result = tuned(in_memory(model(text, seed=3)), model(text), epochs=3)
    assert "takes 2 samples at a time" in result.warnings[0]
    assert result.history.after.loss < result.history.before.loss


@pytest.mark.parametrize("batch", [2, 3])
def test_normalisation_is_calibrated_and_folded_in_batches_that_the_file_fixes(batch: int) -> None:
    result = tuned(pruned(net(batch)), net(batch), epochs=1, insert_bn=True)
    assert result.max_rel_err is not None
    with pytest.raises(UsageError, match="takes batches of 49, the data has 48"):
        tuned(pruned(net(49)), net(49), epochs=1, insert_bn=True)


def test_values_inside_are_matched_by_name() -> None:
    plain = tuned(pruned(net()), net(), epochs=4)
    matched = tuned(pruned(net()), net(), epochs=4, features=["s", "r"], feature_weight=1.0)
    assert [v.name for v in matched.model.graph.outputs] == ["y"]
    assert matched.history.before.loss > plain.history.before.loss
    assert matched.history.after.loss < matched.history.before.loss


@pytest.mark.parametrize(
    ("name", "word"), [("ss", "no value of that name; did you mean 's'"), ("y", "is an output"), ("w", "no value")]
)
def test_names_of_values_are_checked(name: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        with_outputs(in_memory(net()), [name])


def test_cross_entropy_with_labels_needs_no_original() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 64)
    x = rng.normal(0, 0.3, (64, 3, 6, 6)) + np.eye(4)[labels][:, :3, None, None] * 2
    samples = Memory({"x": x.astype(np.float32)}, labels.astype(np.int64))
    result = finetune(in_memory(net()), settings(loss="cross-entropy", epochs=25), data=samples)
    assert result.history.metric_name == "accuracy"
    assert result.history.after.metric is not None
    assert result.history.after.metric > 0.8


def test_labels_out_of_range_are_refused_before_training() -> None:
    samples = Memory(data().inputs, np.full(48, 7))
    with pytest.raises(UsageError, match="7"):
        finetune(in_memory(net()), settings(loss="cross-entropy"), data=samples)


@pytest.mark.parametrize(
    ("given", "teacher", "word"),
    [
        ({}, None, "--teacher"),
        ({"loss": "cross-entropy"}, None, "labels"),
        ({"features": ["r"], "loss": "tests.train.loop.test_losses:own"}, None, "--features"),
        ({}, "(float[N,3,6,6] z) => (float[N,4] y) <float[108,4] w> { f = Flatten(z) y = MatMul(f, w) }", "inputs"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(given: dict[str, Any], teacher: str | None, word: str) -> None:
    original = in_memory(model(teacher)) if teacher is not None else None
    with pytest.raises(UsageError, match=word):
        finetune(in_memory(net()), settings(**given), teacher=original, data=data())


def test_no_samples_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="no samples"):
        finetune(in_memory(net()), settings(), teacher=in_memory(net()), data=Splits(data(0)))


def test_events_are_json() -> None:
    lines: list[str] = []
    finetune(
        pruned(net()),
        settings(epochs=1),
        teacher=in_memory(net()),
        data=data(),
        observe=lambda event: lines.append(json.dumps(event.as_json())),
    )
    assert json.loads(lines[-1])["kind"] == "epoch"


def test_a_graph_that_mixed_precision_breaks_is_trained_without() -> None:
    text = """
    (float[N,3,6,6] x) => (float[N,4] y) <float[108,4] w, float[1,4] one, int64[1,4] at = {0,0,0,0}> {
        f = Flatten(x)   m = MatMul(f, w)   z = ScatterElements(m, at, one)   y = Identity(z) }"""
    proto = model(text)
    result = finetune(
        in_memory(model(text, seed=1)), settings(amp="bf16", epochs=2), teacher=in_memory(proto), data=data()
    )
    plain = finetune(in_memory(model(text, seed=1)), settings(epochs=2), teacher=in_memory(proto), data=data())
    assert "does not run in mixed precision" in result.warnings[0]
    assert result.history.after == plain.history.after
    mixed = tuned(pruned(net()), net(), amp="bf16")
    assert not mixed.warnings
    assert mixed.history.after.loss < 0.6 * mixed.history.before.loss
    assert mixed.history.after != tuned(pruned(net()), net()).history.after


def test_an_ensemble_around_the_original_teaches() -> None:
    rng = np.random.default_rng(0)
    labelled = Memory(dict(data().inputs), rng.integers(0, 4, 48))
    original = in_memory(net())
    plain, taught, again = (
        finetune(pruned(net()), settings(teacher_ensemble=k), teacher=original, data=labelled) for k in (0, 3, 3)
    )
    assert taught.history.after.loss < 0.5 * taught.history.before.loss
    assert taught.history.before.loss != plain.history.before.loss, "it is not the original that teaches"
    assert taught.history.after.loss == again.history.after.loss


@pytest.mark.parametrize(
    ("given", "words"),
    [({}, "needs labels"), ({"loss": "cross-entropy"}, "which --loss cross-entropy does not imitate")],
)
def test_an_ensemble_needs_labels_and_a_loss_that_imitates(given: dict[str, Any], words: str) -> None:
    held = data() if not given else Memory(dict(data().inputs), np.zeros(48, np.int64))
    with pytest.raises(UsageError, match=words):
        finetune(pruned(net()), settings(teacher_ensemble=2, **given), teacher=in_memory(net()), data=held)


def test_what_samples_go_through_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "bytes.npz", x=np.random.default_rng(0).integers(0, 255, (16, 3, 6, 6), np.uint8))
    asked = settings(epochs=1, data=str(tmp_path / "bytes.npz"))
    result = finetune(pruned(net()), asked, teacher=in_memory(net()))
    assert tune_report(result, asked).prepared == "x: bytes divided by 255"


@pytest.mark.parametrize(("given", "told"), [({}, True), ({"epochs": 1}, False), ({"val_share": 0.0}, False)])
def test_numbers_of_the_samples_that_chose_the_epoch_say_so(given: dict[str, Any], told: bool) -> None:
    result = tuned(pruned(net()), net(), **given)
    assert result.history.best_epoch > 0
    assert (CHOSEN_ON_JUDGED in tune_report(result, settings(**given)).warnings) is told
