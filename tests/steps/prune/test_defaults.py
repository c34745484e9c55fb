"""What ``--recover auto`` comes to, and what a run without any option makes of a network."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.commands.quantize import quantize_file
from compressor.config import PruneSettings
from compressor.config.quantize import QuantizeSettings
from compressor.core.extras import EXTRAS
from compressor.errors import GateMissed
from compressor.metrics.evaluator import Evaluator
from compressor.pruning.cut.analysis import analyse
from compressor.results import ModelStats, Report
from compressor.steps.gates import demand_gates, missed, unresolved
from compressor.steps.prune import defaults
from compressor.steps.prune.defaults import (
    FEWER_FROM,
    FEWEST_MADE_UP,
    MADE_UP,
    NO_LAYER_TO_FIT,
    QUANTISED,
    REBUILT_AS_INTEGERS,
    resolve_defaults,
    size_lags_macs,
)
from compressor.steps.prune.effort import RecoveryWork
from compressor.steps.run_samples import RunSamples
from tests.models import between, in_memory, model
from tests.train.training import Memory

MODELS = Path(__file__).parents[3] / "models"
NET, DATA = MODELS / "digits-mobilenet.onnx", MODELS / "digits-test.npz"


def auto(proto, available: int | None = None, **settings: object) -> tuple[PruneSettings, list[str]]:
    wanted = PruneSettings.parse({"ratio": 0.5, "recover": "auto", **settings})
    return resolve_defaults(wanted, analyse(in_memory(proto), wanted), available=available)


def work_of(proto) -> RecoveryWork:
    analysis = analyse(in_memory(proto), PruneSettings(ratio=0.5))
    return RecoveryWork.of(analysis.model, analysis.shapes)


@pytest.mark.recovers
def test_the_default_is_auto() -> None:
    assert PruneSettings(ratio=0.5).recover == "auto"


def test_least_squares_from_as_many_samples_as_the_widest_layer_needs() -> None:
    narrow, notes = auto(between("b = Relu(a)"), 1000)
    assert (narrow.recover, narrow.samples, notes) == ("distill", 256, [])
    # Made up: a number for networks whose last layers see features of the whole, less for more positions.
    assert auto(between("b = Relu(a)"))[0].samples == MADE_UP * FEWER_FROM // (3 * 6 * 6)
    wide = model(
        """(float[n,8] x) => (float[n,4] y) <float[8,64] w, float[64,4] v> {
            a = MatMul(x, w) r = Relu(a) y = MatMul(r, v) }"""
    )
    assert auto(wide)[0].samples == MADE_UP
    assert auto(wide, 300)[0].samples == 300
    assert auto(wide, samples=100)[0].samples == 100


@pytest.mark.parametrize(("side", "samples"), [(6, MADE_UP), (16, MADE_UP * FEWER_FROM // 16**2), (40, FEWEST_MADE_UP)])
def test_fewer_images_where_every_layer_sees_many_positions(side: int, samples: int) -> None:
    """Of a segmenter, say: 512 images of 224 x 224 took it minutes."""
    net = model(
        f"""(float[n,3,{side},{side}] x) => (float y) <float[16,3,3,3] w, float[8,16,3,3] v> {{
            a = Conv<pads=[1,1,1,1]>(x, w)  b = Relu(a)  y = Conv<pads=[1,1,1,1]>(b, v) }}"""
    )
    assert auto(net)[0].samples == samples


def test_without_torch_or_seconds_to_train_in_it_is_least_squares_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert auto(between("b = Relu(a)"))[0].recover == "distill"
    assert auto(between("b = Relu(a)"), 191)[0].recover == "lstsq"
    assert auto(between("b = Relu(a)"), 256 - 64)[0].recover == "distill", "of 256 samples a quarter is set aside"
    with monkeypatch.context() as patch:
        patch.setattr(defaults, "find_spec", lambda name: None)
        assert auto(between("b = Relu(a)"))[0].recover == "lstsq"
    monkeypatch.setattr(defaults, "DISTILLED", 1e12)
    assert auto(between("b = Relu(a)"))[0].recover == "lstsq"


def test_what_was_asked_for_stays() -> None:
    for name in ("none", "bias", "lstsq", "distill", "finetune"):
        assert auto(between("b = Relu(a)"), recover=name)[0].recover == name
    assert auto(between("b = Relu(a)"), lossless=True, ratio=None)[0].recover == "none"


@pytest.mark.parametrize(
    ("amount", "recovery"),
    [
        ({"ratio": 0}, "none"),
        ({"ratio": None, "target_macs": 1}, "none"),
        ({"ratio": 0, "layer_ratio": ["*=0.5"]}, "distill"),
        ({"ratio": 0, "recover": "lstsq"}, "lstsq"),
    ],
)
def test_nothing_is_recovered_unasked_where_no_channel_is_to_go(amount: dict[str, Any], recovery: str) -> None:
    assert auto(between("b = Relu(a)"), **amount)[0].recover == recovery


def test_nothing_to_rebuild_is_the_bare_cut_with_a_warning() -> None:
    found, notes = auto(model("(float[n,8] x) => (float[n,8] y) { y = Relu(x) }"))
    assert (found.recover, notes) == ("none", [NO_LAYER_TO_FIT])


def test_a_recurrent_layer_is_one_to_rebuild() -> None:
    lstm = """(float[5,n,8] x) => (float[5,d,n,6] y) <float[1,24,8] k, float[1,24,6] r> {
        y, h, s = LSTM<hidden_size=6>(x, k, r) }"""
    assert auto(model(lstm))[0].recover != "none"


QUANTISED_NET = """(float[n,3,8,8] x) => (float[n,4,6,6] y) <int8[8,3,3,3] w, int8[4,8,1,1] v, float s = {0.5}> {"""
ON_A_GRID = "d = DequantizeLinear(w, s)  a = Conv(x, d)  b = Relu(a)  e = DequantizeLinear(v, s)  y = Conv(b, e) }"
BY_INTEGERS = """q, t, z = DynamicQuantizeLinear(x)  c = ConvInteger(q, w, z)  a = Cast<to=1>(c)  b = Relu(a)
    r, u, o = DynamicQuantizeLinear(b)  d = ConvInteger(r, v, o)  y = Cast<to=1>(d) }"""


def test_weights_on_a_grid_are_rebuilt() -> None:
    found, notes = auto(model(QUANTISED_NET + ON_A_GRID))
    assert (found.recover, notes) == ("lstsq", [REBUILT_AS_INTEGERS])


def test_quantised_weights_that_cannot_be_rebuilt_are_cut_with_a_warning() -> None:
    found, notes = auto(model(QUANTISED_NET + BY_INTEGERS))
    assert (found.recover, notes) == ("none", [QUANTISED])
    assert auto(model(QUANTISED_NET + BY_INTEGERS), recover="none")[1] == []


@pytest.mark.recovers
def test_a_network_of_integers_keeps_its_accuracy(tmp_path: Path) -> None:
    whole, small = tmp_path / "int8.onnx", tmp_path / "small.onnx"
    samples = {"data": str(MODELS / "digits-train.npz"), "val_data": str(DATA)}
    quantize_file(MODELS / "digits-resnet.onnx", whole, QuantizeSettings.parse({"mode": "static", **samples}))
    [accuracy] = prune_file(whole, small, PruneSettings.parse({"ratio": 0.5, **samples})).report.accuracy
    assert accuracy.before > 0.98
    assert accuracy.pruned < 0.3
    assert accuracy.after > 0.96
    graph = onnx.load(small).graph
    kinds = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) > 1}
    assert kinds == {onnx.TensorProto.INT8}
    # The step of a bias is that of its weight times that of what the layer reads, as runtimes take for granted.
    made = {node.output[0]: node for node in graph.node}
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type == "Conv"]
    assert layers
    for node in layers:
        x, weight, bias = (held[made[name].input[1]] for name in node.input)
        np.testing.assert_allclose(bias, x * weight, rtol=1e-5)


def test_a_large_model_has_fewer_samples_or_the_bare_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "PASS_MACS", 1e6)
    found, [note] = auto(between("b = Relu(a)"))
    assert 32 <= found.samples < 256
    assert f"recovered from {found.samples} samples" in note
    monkeypatch.setattr(defaults, "SECONDS", 1e-9)
    found, [note] = auto(between("b = Relu(a)"))
    assert found.recover == "none"
    assert "ask for it with --recover lstsq" in note


def test_in_a_large_model_every_group_loses_the_same_share(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = between("b = Relu(a)")
    work = work_of(proto)
    both = [work.effort(32, losses=losses).seconds for losses in (False, True)]
    monkeypatch.setattr(defaults, "SECONDS", sum(both) / 2)
    found, notes = auto(proto)
    assert found.recover != "none"
    assert found.scope == "local"
    assert any("--scope loss" in note for note in notes)
    asked, notes = auto(proto, scope="loss")
    assert asked.recover != "none"
    assert asked.scope == "loss"
    assert not any("--scope loss" in note for note in notes), "asked for, so that its time is no surprise"


def test_images_of_open_size_count_as_large_as_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    proto = between("b = Relu(a)")
    work = work_of(proto)
    monkeypatch.setattr(RecoveryWork, "of", lambda model, shapes: seen.append(shapes.inputs["x"]) or work)
    for dim, name in zip(proto.graph.input[0].type.tensor_type.shape.dim[2:], "hw", strict=True):
        dim.dim_param = name
    auto(proto)
    auto(proto, 300)
    assert seen[-2][2:] == (32, 32)
    assert seen[-1][2:] != (32, 32), "the user's own samples have sizes of their own"


def test_the_samples_that_are_named_take_the_time_that_is_begun_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    work = work_of(between("b = Relu(a)"))
    monkeypatch.setattr(defaults, "SECONDS", work.effort(10**7, losses=False).seconds / 2)
    found, [note] = auto(between("b = Relu(a)"), samples=10**7)
    assert found.recover == "none"
    (named,) = re.findall(r"--samples (\d+)", note)
    assert auto(between("b = Relu(a)"), samples=int(named))[0].recover != "none"


@pytest.mark.recovers
def test_with_nothing_given_the_network_works_better_than_the_bare_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(import_module("compressor.train.brief"), "STEPS", 32)  # as on a slow machine
    assert prune(in_memory(between("b = Relu(a)")), PruneSettings(ratio=0.3, recover="none")).report.outputs is None
    report = prune(NET, PruneSettings.parse({"ratio": 0.3, "recover": "auto", "scope": "auto"})).report
    found = report.outputs
    assert found is not None
    assert not found.real
    assert found.distance.cut is not None
    assert found.distance.value < 0.8 * found.distance.cut
    assert found.agreement is not None
    assert found.agreement.cut is not None
    assert found.agreement.value > found.agreement.cut + 0.15
    assert report.done["scope"] == "loss"


def test_outputs_are_compared_on_samples_that_recovery_did_not_see() -> None:
    run = {"ratio": 0.3, "data": str(DATA), "val_share": 0.5, "recover": "lstsq", "samples": 128, "scope": "local"}
    report = prune_file(NET, None, PruneSettings.parse(run)).report
    assert report.outputs is not None
    assert report.outputs.real
    assert not report.outputs.seen
    assert report.outputs.agreement is not None
    assert report.outputs.agreement.value > 0.9
    seen = prune(NET, PruneSettings.parse({**run, "val_share": 0, "recover": "bias"})).report.outputs
    assert seen is not None
    assert seen.seen


@pytest.mark.recovers
def test_inputs_that_no_samples_fit_leave_the_bare_cut() -> None:
    text = "(string[n] s, float[n,8] x) => (float[n,4] y, string[n] t) <float[8,32] w, float[32,4] v>"
    body = " { t = Identity(s) a = MatMul(x, w) r = Relu(a) y = MatMul(r, v) }"
    report = prune(in_memory(model(text + body)), PruneSettings(ratio=0.5, verify=False)).report
    assert any(warning.startswith("nothing was recovered") for warning in report.warnings)
    assert sum(group.removed for group in report.groups) == 16


def stats(macs: int, size: int) -> ModelStats:
    return ModelStats(path=None, bytes=size, params=1, macs=macs, nodes=1, opset=18)


def test_bytes_that_stay_are_told() -> None:
    settings = {"scope": "loss", "target_macs": 0.5}
    report = Report(input=stats(100, 1000), output=stats(50, 800), settings=settings)
    assert "0.80 of the file; --target-size" in size_lags_macs(report)[0]
    assert not size_lags_macs(report.model_copy(update={"output": stats(50, 550)}))
    assert not size_lags_macs(
        report.model_copy(update={"settings": {**settings, "target_macs": None, "target_size": 0.5}})
    )


def test_a_gate_that_samples_cannot_tell() -> None:
    row = Evaluator().row(0.9, 0.895, 200)
    report = Report(input=stats(1, 1), accuracy=[row])
    [text] = unresolved(report, PruneSettings(ratio=0.5, max_drop=0.01))
    assert "finer than 200 samples tell" in text
    assert "about 3,910 samples would tell" in text
    assert not unresolved(report, PruneSettings(ratio=0.5, max_drop=0.2))


@pytest.mark.parametrize(("before", "told"), [(0.5, True), (0.06, True), (0.9, False)])
def test_a_gate_on_labels_that_say_nothing_is_not_met(before: float, told: bool) -> None:
    data = Memory({"x": np.zeros((40, 1), np.float32)}, np.repeat([0, 1, 2], [20, 10, 10]))
    report = Report(input=stats(1, 1), accuracy=[Evaluator().row(before, before, 40, data)])
    settings = PruneSettings(ratio=0.5, max_drop=0.2)
    assert any("most frequent label (50.0%)" in text for text in unresolved(report, settings)) is told
    assert bool(missed(report, settings)) is told
    if told:
        with pytest.raises(GateMissed, match=r"--mean and --std$"):
            demand_gates(report, settings)
    few = report.accuracy[0].model_copy(update={"samples": 10})
    assert not missed(report.model_copy(update={"accuracy": [few]}), settings)


def test_gates_are_quiet_without_labels() -> None:
    assert not unresolved(Report(input=stats(1, 1)), PruneSettings(ratio=0.5, max_drop=0.01))
    assert np.isfinite(defaults.cores())


@pytest.mark.recovers
def test_training_without_data_gets_made_up_samples() -> None:
    settings = PruneSettings.parse({"recover": "finetune"})
    samples = RunSamples.of(settings, in_memory(between("b = Relu(a)")))
    assert samples is not None
    assert len(samples.train) == 5000
    assert samples.valid is None
    assert not samples.real


@pytest.mark.recovers
@pytest.mark.parametrize("missing", [["safetensors", "accelerate", "jinja2", "PIL"], [*EXTRAS]])
def test_no_extra_is_needed(missing: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first command of README installs no extra; torch may be there for other reasons, alone."""
    for name in [m for m in sys.modules if m.startswith("compressor.train")]:
        monkeypatch.delitem(sys.modules, name)
    for library in missing:
        monkeypatch.setitem(sys.modules, library, None)
    assert prune(in_memory(between("b = Relu(a)")), PruneSettings.parse({"ratio": 0.5, "samples": 32})).report.recovery


def test_weights_that_are_inputs_too_are_recovered_once_they_are_cut() -> None:
    proto = between("b = Relu(a)")
    weight = proto.graph.initializer[0]
    proto.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    others = [t for t in proto.graph.initializer if t is not weight]
    proto.graph.input.extend(onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in others)
    assert auto(proto) == auto(between("b = Relu(a)"))


def test_a_short_distillation_is_as_long_as_its_module_says() -> None:
    """Stated twice, since what decides on it must not import torch."""
    pytest.importorskip("torch")
    brief = import_module("compressor.train.brief")
    assert defaults.DISTILLED == 4 * brief.SAMPLES_A_STEP * brief.LEAST_STEPS
    assert defaults.SECONDS == brief.BRIEF_SECONDS
