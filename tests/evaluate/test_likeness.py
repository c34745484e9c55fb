"""How far outputs are from the original's: what is compared, intervals that hold, samples that a gate needs."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.evaluate.likeness import outputs_row
from compressor.results.detail import off_by
from tests.models import in_memory, model
from tests.reconstruct.case import Arrays, noise

NET = "(float[n,8] x) => (float[n,4] y) <float[8,4] w> { y = MatMul(x, w) }"


def changed(proto: onnx.ModelProto, factor: np.ndarray | float) -> ir.Model:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    weight = next(t for t in copy.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    array = onnx.numpy_helper.to_array(weight) * np.asarray(factor, np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return in_memory(copy)


def test_distance_and_agreement_of_cut_and_result() -> None:
    proto = model(NET)
    data, settings = Arrays(x=noise(300, 8)), PruneSettings(ratio=0.5)
    models = [in_memory(proto), changed(proto, -1.0), changed(proto, 0.9)]
    row = outputs_row(models, data, settings, count=200)
    assert row is not None
    assert row.samples == 200
    assert row.distance.cut == pytest.approx(2.0, rel=1e-5)
    assert row.distance.value == pytest.approx(0.1, rel=1e-4)
    assert row.agreement is not None
    assert row.agreement.value == 1.0
    assert row.agreement.cut is not None
    assert row.agreement.cut < 0.2
    assert 0.97 < row.agreement.low < 1.0 == row.agreement.high


def test_agreement_by_chance_is_told_where_the_original_has_one_class_for_all() -> None:
    proto, settings = model(NET), PruneSettings(ratio=0.5)
    models = [in_memory(proto), changed(proto, 0.9)]
    spread = outputs_row(models, Arrays(x=noise(2000, 8)), settings, count=2000)
    assert spread is not None
    assert spread.chance == pytest.approx(0.25, abs=0.1)
    assert spread.telling
    alike = outputs_row(models, Arrays(x=np.abs(noise(1, 8)).repeat(50, axis=0)), settings, count=50)
    assert alike is not None
    assert alike.chance == 1.0
    assert not alike.telling


def test_what_is_drawn_at_random_is_named_and_not_compared() -> None:
    text = """(float[n,8] x) => (float[n,4] r, float[n,4] y) <float[8,4] w> {
        y = MatMul(x, w)  noise = RandomNormalLike<scale=9.0>(y)  r = Add(y, noise) }"""
    proto, settings = model(text), PruneSettings(ratio=0.5)
    row = outputs_row([in_memory(proto), changed(proto, 0.9)], Arrays(x=noise(100, 8)), settings, count=100)
    assert row is not None
    assert (row.drawn, row.distance.output) == (["r"], "y")
    assert row.distance.value == pytest.approx(0.1, rel=1e-4)
    assert row.agreement is not None
    assert row.agreement.value == 1.0
    alone = model(text.replace(", float[n,4] y)", ")"))
    models = [in_memory(alone), changed(alone, 0.9)]
    assert outputs_row(models, Arrays(x=noise(100, 8)), settings, count=100) is None


def test_the_interval_holds_the_distance_on_many_samples() -> None:
    proto, settings = model(NET), PruneSettings(ratio=0.5)
    factor = np.asarray([0.2, 1.0, 1.0, 1.3])
    models = [in_memory(proto), changed(proto, factor)]
    few = outputs_row(models, Arrays(x=noise(60, 8)), settings, count=60)
    many = outputs_row(models, Arrays(x=noise(20_000, 8, seed=1)), settings, count=20_000)
    assert few is not None
    assert many is not None
    assert few.distance.low < many.distance.value < few.distance.high
    assert few.agreement is not None
    assert many.agreement is not None
    assert few.agreement.low < many.agreement.value < few.agreement.high


def test_numbers_have_a_distance_alone_and_indices_nothing() -> None:
    proto = model(
        """(float[n,8] x) => (float[n,8,4] y, int64[n] k) <float[4] v, int64[1] a = {2}> {
            e = Unsqueeze(x, a) y = Mul(e, v) k = ArgMax<axis=1,keepdims=0>(x) }"""
    )
    row = outputs_row([in_memory(proto), changed(proto, 1)], Arrays(x=noise(20, 8)), PruneSettings(ratio=0.5), count=20)
    assert row is not None
    assert row.agreement is None
    assert row.distance.output == "y"


def test_one_sample_has_no_interval_of_distances_and_a_wide_one_of_agreement() -> None:
    proto = model(NET)
    row = outputs_row([in_memory(proto), changed(proto, 0.9)], Arrays(x=noise(1, 8)), PruneSettings(ratio=0.5), count=1)
    assert row is not None
    assert (row.distance.low, row.distance.high) == (None, None)
    assert row.agreement is not None
    assert row.agreement.low is not None
    assert row.agreement.low < 0.3


def test_equal_infinities_are_no_distance_and_other_ones_are_as_far_as_can_be() -> None:
    proto = model("(float[n,8] x) => (float[n,8] y) <float[8] low> { y = Add(x, low) }")
    low = np.array([0, -np.inf, 0, 0, 0, 0, 0, 0], np.float32)
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(low, "low"))
    data, settings = Arrays(x=noise(20, 8)), PruneSettings(ratio=0.5)
    same = outputs_row([in_memory(proto), in_memory(proto)], data, settings, count=20)
    assert same is not None
    assert same.distance.value == 0
    other = onnx.ModelProto()
    other.CopyFrom(proto)
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.zeros(8, np.float32), "low"))
    far = outputs_row([in_memory(proto), in_memory(other)], data, settings, count=20)
    assert far is not None
    assert far.distance.value == np.inf


def test_of_several_outputs_the_farthest_is_named() -> None:
    proto = model(
        """(float[n,8] x) => (float[n,8,4] y, float[n,8,4] z) <float[4] v, float[4] w, int64[1] a = {2}> {
            e = Unsqueeze(x, a) y = Mul(e, v) z = Mul(e, w) }"""
    )
    row = outputs_row([in_memory(proto), changed(proto, 1)], Arrays(x=noise(20, 8)), PruneSettings(ratio=0.5), count=20)
    assert row is not None
    assert row.compared == 2
    assert off_by("3%", row.farthest) == f"output {row.distance.output!r} is off by 3% of its norm, the most of all"
    alone = row.model_copy(update={"compared": 1})
    assert off_by("3%", alone.farthest) == "outputs are off by 3% of their norm"


@pytest.mark.parametrize(
    ("told", "classes"),
    [
        ({}, True),
        ({"eval": "rmse"}, False),
        ({"eval": "cosine"}, False),
        ({"recover": "finetune", "output_form": ("y=mse",)}, False),
    ],
)
def test_numbers_have_no_largest_class(told: dict[str, object], *, classes: bool) -> None:
    proto, settings = model(NET), PruneSettings.parse({"ratio": 0.5, **told})
    row = outputs_row([in_memory(proto), changed(proto, 0.9)], Arrays(x=noise(60, 8)), settings, count=60)
    assert row is not None
    assert (row.agreement is not None) == classes
