"""Whole measurements on tiny models: equal models are alike, damaged ones less, and what cannot be done is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from compressor.commands.robustness import robustness
from compressor.commands.verify import verify
from compressor.config import VerifySettings
from compressor.config.robustness import RobustnessSettings
from compressor.core import extras
from compressor.errors import ModelError, ProviderUnavailable, UsageError
from tests.models import model

NET = """
(float[n,3,10,10] x) => (float y) <float[8,3,3,3] w, float[8] b, float[8,4] u> {
    a = Conv<pads=[1,1,1,1]>(x, w, b)
    c = Relu(a)
    f = GlobalAveragePool(c)
    g = Flatten(f)
    y = MatMul(g, u)
}"""
MEAN, STD = (0.5, 0.4, 0.6), (0.2, 0.3, 0.25)
QUICK = {"noise_levels": 2, "draws": 2}


def saved(path: Path, text: str, noise: float = 0.0, **arguments) -> Path:
    """A model, its weights off by ``noise`` of their size."""
    proto = model(text, **arguments)
    rng = np.random.default_rng(1)
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f":
            changed = values + noise * np.abs(values).mean() * rng.normal(size=values.shape)
            tensor.CopyFrom(numpy_helper.from_array(changed.astype(values.dtype), tensor.name))
    onnx.save(proto, str(path))
    return path


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return saved(tmp_path / "a.onnx", NET)


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return saved(tmp_path / "b.onnx", NET, 0.5)


def labelled(tmp_path: Path, a: Path, count: int = 40, *, normal: bool = True) -> str:
    """Pictures with the classes that the model itself gives them."""
    images = np.random.default_rng(0).random((count, 3, 10, 10)) ** np.linspace(0.3, 3, count)[:, None, None, None]
    images[0, :, 0, 0], images[0, :, 0, 1] = 0, 1
    x = (images - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    session = ort.InferenceSession(str(a), providers=["CPUExecutionProvider"])
    y = session.run(None, {"x": x.astype(np.float32)})[0].argmax(1)
    np.savez(tmp_path / "data.npz", x=(x if normal else images).astype(np.float32), y=y)
    return str(tmp_path / "data.npz")


def left_out(report) -> dict[str, str]:
    return {item.what: item.reason for item in report.left_out}


def test_a_model_is_like_itself(a):
    found = robustness(a, [a], RobustnessSettings(samples=8, **QUICK))
    assert [(row.shift, row.level) for row in found.likeness] == [("clean", 0), ("noise", 0.35), ("noise", 0.7)]
    for row in found.likeness:
        assert (row.agreement.value, row.distance.value, row.relative_error.value) == (1, 0, 0)
    assert found.source == "random inputs"
    assert set(left_out(found)) == {"accuracy", "corruptions of images"}
    assert found.models[1].saved == 0


def test_a_damaged_model_is_less_alike(a, b):
    found = robustness(a, [a, b], RobustnessSettings(samples=40, **QUICK))
    rows = [row for row in found.likeness if row.model == "C"]
    assert all(row.distance.low > 0 and row.relative_error.low > 0 for row in rows)
    assert [model.label for model in found.models] == ["A", "B", "C"]


def test_labels_give_accuracy_excess_and_potential(tmp_path, a, b):
    data = labelled(tmp_path, a)
    settings = RobustnessSettings(data=data, normalised=True, mean=MEAN, std=STD, **QUICK)
    found = robustness(a, [a, b], settings)
    assert found.samples == 40
    assert found.left_out == []
    assert found.warnings == []
    rows = {(row.model, row.shift, row.level): row for row in found.accuracy}
    assert rows["A", "clean", 0].accuracy.value == 1
    assert {row.shift for row in found.accuracy} == {
        *("clean", "noise", "gaussian-noise", "impulse-noise", "blur", "contrast", "brightness", "jpeg"),
        "corruptions",
    }
    for (label, shift, level), row in rows.items():
        if label == "B":
            assert (row.lost.value, row.excess_error.value) == (0, 0)
            assert row.accuracy == rows["A", shift, level].accuracy
    damaged = rows["C", "contrast", 5]
    assert damaged.excess_error.value != 0
    excess = [1 - rows[m, "contrast", 5].accuracy.value - (1 - rows[m, "clean", 0].accuracy.value) for m in "CA"]
    assert damaged.excess_error.value == pytest.approx(excess[0] - excess[1])
    severities = [rows["A", "contrast", k].accuracy.value for k in range(1, 6)]
    assert rows["A", "contrast", None].accuracy.value == pytest.approx(np.mean(severities))
    assert found.potential[0].value == 0, "neither is smaller"


def test_normalised_data_and_pixels_give_the_same(tmp_path, a, b):
    asked = {"mean": MEAN, "std": STD, "corruptions": ("contrast", "jpeg"), **QUICK}
    one = robustness(a, [b], RobustnessSettings(data=labelled(tmp_path, a), normalised=True, **asked))
    two = robustness(a, [b], RobustnessSettings(data=labelled(tmp_path, a, normal=False), **asked))
    for first, second in zip(one.accuracy, two.accuracy, strict=True):
        assert first.accuracy.value == pytest.approx(second.accuracy.value, abs=0.03)


def test_unknown_pixels_are_guessed_and_said(tmp_path, a, b):
    found = robustness(a, [b], RobustnessSettings(data=labelled(tmp_path, a), corruptions=("blur",), **QUICK))
    assert len(found.warnings) == 1
    assert "what is black and white in input 'x' is not known" in found.warnings[0]
    assert "range of each channel" in found.inputs[0].pixels
    with pytest.raises(UsageError, match="say --normalised if the data is already"):
        robustness(a, [b], RobustnessSettings(data=labelled(tmp_path, a), mean=MEAN, std=STD))


def test_results_do_not_depend_on_the_batch_and_follow_from_the_seed(tmp_path, a, b):
    data = labelled(tmp_path, a)
    asked = {"data": data, "normalised": True, "mean": MEAN, "std": STD, "corruptions": ("impulse-noise",), **QUICK}
    one, two, other = (
        robustness(a, [b], RobustnessSettings(batch_size=size, seed=seed, **asked))
        for size, seed in ((7, 0), (40, 0), (40, 1))
    )
    for first, second in zip(one.likeness, two.likeness, strict=True):
        assert first.relative_error.value == pytest.approx(second.relative_error.value, rel=1e-5)
    assert one.accuracy == two.accuracy
    assert two.likeness != other.likeness


def test_fixed_batches_take_whole_ones_only(tmp_path):
    fixed = saved(tmp_path / "fixed.onnx", NET.replace("float[n,", "float[8,"))
    free = saved(tmp_path / "free.onnx", NET, 0.1)
    found = robustness(free, [fixed], RobustnessSettings(samples=21, **QUICK))
    assert found.samples == 16
    with pytest.raises(UsageError, match="8 samples at a time, there are 3"):
        robustness(free, [fixed], RobustnessSettings(samples=3, **QUICK))
    other = saved(tmp_path / "other.onnx", NET.replace("float[n,", "float[4,"))
    with pytest.raises(UsageError, match=r"takes 8 samples at a time and .*other.onnx takes 4"):
        robustness(free, [fixed, other], RobustnessSettings(**QUICK))


def test_several_inputs_and_outputs_without_images(tmp_path):
    text = """
    (float[n,6] x, int64[n,2] ids) => (float y, float z, int64 k) <float[20,6] t, float[6,3] w> {
        e = Gather(t, ids)
        s = ReduceSum<keepdims=0>(e, axes)
        h = Add(x, s)
        y = MatMul(h, w)
        z = ReduceSum<keepdims=0>(y)
        k = ArgMax<axis=1>(y)
    }"""
    proto = text.replace("float[6,3] w>", "float[6,3] w, int64[1] axes = {1}>")
    one, two = saved(tmp_path / "one.onnx", proto), saved(tmp_path / "two.onnx", proto, 0.1)
    found = robustness(one, [two], RobustnessSettings(samples=10, **QUICK))
    assert {row.output for row in found.likeness} == {"y"}
    reasons = left_out(found)
    assert reasons["noise on input 'ids'"] == "it takes int64 2"
    assert reasons["output 'k'"] == "it is int64, and only floating-point outputs are compared"
    assert reasons["output 'z'"] == "its first axis does not count samples"
    assert [row.name for row in found.inputs] == ["x"]
    np.savez(tmp_path / "d.npz", x=np.ones((5, 6), np.float32), ids=np.ones((5, 2), np.int64))
    found = robustness(one, [two], RobustnessSettings(data=str(tmp_path / "d.npz"), **QUICK))
    reasons = left_out(found)
    assert reasons["noise on input 'x'"] == "all its numbers are equal"
    assert reasons["corruptions of input 'x'"] == "input 'x' is no image: it has 2 axes, not four"
    assert reasons["accuracy"] == "the data has no labels"
    assert [row.shift for row in found.likeness] == ["clean"]
    with pytest.raises(UsageError, match="--disturb ids: no such input takes noise; those that do: x"):
        robustness(one, [two], RobustnessSettings(disturb=("ids",), **QUICK))


def test_channels_last_bytes_and_half_precision(tmp_path):
    text = """
    (uint8[n,8,8,3] x) => (float y) <float[4,3,3,3] w> {
        f = Cast<to=1>(x)
        t = Transpose<perm=[0,3,1,2]>(f)
        a = Conv(t, w)
        p = GlobalAveragePool(a)
        y = Flatten(p)
    }"""
    one, two = saved(tmp_path / "one.onnx", text), saved(tmp_path / "two.onnx", text, 0.2)
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8))
    found = robustness(one, [two], RobustnessSettings(data=str(tmp_path / "d.npz"), **QUICK))
    assert found.inputs[0].pixels == "numbers from 0 to 255 are pixels"
    assert len({row.shift for row in found.likeness}) == 9
    half = NET.replace("float", "float16")
    one, two = saved(tmp_path / "h.onnx", half), saved(tmp_path / "full.onnx", NET)
    found = robustness(two, [one], RobustnessSettings(samples=8, **QUICK))
    assert all(0 < row.relative_error.value < 0.05 for row in found.likeness)


def test_labels_that_are_no_classes_are_said_and_wrong_ones_refused(tmp_path, a, b):
    x = np.random.default_rng(0).random((4, 3, 10, 10), np.float32)
    data = str(tmp_path / "d.npz")
    np.savez(data, x=x, y=np.zeros(4, np.float32))
    found = robustness(a, [b], RobustnessSettings(data=data, corruptions=("none",), **QUICK))
    assert left_out(found) == {"accuracy": "labels are float32, not numbers of classes"}
    np.savez(data, x=x, y=np.full(4, 9))
    with pytest.raises(UsageError, match="labels run from 9 to 9"):
        robustness(a, [b], RobustnessSettings(data=data))


def test_what_a_corruption_lacks_is_said(tmp_path, a, b, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    data = labelled(tmp_path, a)
    asked = {"data": data, "normalised": True, "mean": MEAN, "std": STD, **QUICK}
    found = robustness(a, [b], RobustnessSettings(corruptions=("jpeg", "contrast"), **asked))
    assert "needs Pillow" in left_out(found)["jpeg"]
    assert "contrast" in {row.shift for row in found.likeness}


def test_errors_have_their_kinds(tmp_path, a):
    other = saved(tmp_path / "c.onnx", NET.replace("float[8,4] u", "float[8,5] u"))
    with pytest.raises(UsageError, match="output 'y' has shape"):
        robustness(a, [other], RobustnessSettings())
    with pytest.raises(ModelError):
        robustness(a, [tmp_path / "none.onnx"], RobustnessSettings())
    with pytest.raises(ProviderUnavailable):
        robustness(a, [a], RobustnessSettings(provider="QNNExecutionProvider", samples=2))
    lone = saved(tmp_path / "lone.onnx", "(float[n,4] x) => (int64 y) { y = ArgMax<axis=1>(x) }")
    with pytest.raises(UsageError, match="no output can be compared"):
        robustness(lone, [lone], RobustnessSettings(samples=4, **QUICK))


def test_what_samples_go_through_is_told(a: Path, b: Path, tmp_path: Path) -> None:
    said: list[str] = []
    np.savez(tmp_path / "bytes.npz", x=np.random.default_rng(0).integers(0, 255, (8, 3, 10, 10), np.uint8))
    asked = {"data": str(tmp_path / "bytes.npz"), "mean": MEAN, "std": STD}
    robustness(a, [b], RobustnessSettings(**asked, samples=8, **QUICK), said.append)
    told = "samples: x: bytes divided by 255, --mean 0.5,0.4,0.6 taken off, --std 0.2,0.3,0.25 divided by"
    assert told in said
    said.clear()
    verify(a, b, VerifySettings(**asked), said.append)
    assert told in said


def test_samples_to_judge_on_are_samples(tmp_path: Path, a: Path, b: Path) -> None:
    data = labelled(tmp_path, a)
    given = [robustness(a, [b], RobustnessSettings.parse({**QUICK, name: data})) for name in ("data", "val_data")]
    assert given[0].accuracy == given[1].accuracy
    assert given[1].source == data
    with pytest.raises(UsageError, match=r"give --data or --val-data, not both"):
        RobustnessSettings.parse({"data": data, "val_data": data})
