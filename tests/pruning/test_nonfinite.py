"""Lossless pruning where numbers are not finite: NaN stays NaN, and what can still be told apart still goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToProve, NothingToPrune
from tests.models import in_memory, model

DEAD = (2, 5)
"""Filters whose weights and biases are zero."""


def spoilt(body: str, weights: Mapping[str, tuple[Any, float]]) -> onnx.ModelProto:
    """``body`` from ``a`` to ``b`` between two convolutions; outputs ``z``, and ``y`` of one that nothing spoils."""
    proto = model(f"""
        (float[3,4,6,6] x) => (float[n,c,h,w] y, float[n,c,h,w] z)
        <float[8,4,3,3] w, float[8] bias, float[5,8,1,1] v, float[2,4,1,1] head, float[8,1,1] shift> {{
            a = Conv<pads=[1,1,1,1]>(x, w, bias)
            {body}
            z = Conv(b, v)
            y = Conv(x, head)
        }}""")
    parts = {"w": (list(DEAD), 0.0), "bias": (list(DEAD), 0.0), **weights}
    for tensor in proto.graph.initializer:
        if tensor.name in parts:
            array = numpy_helper.to_array(tensor).copy()
            index, number = parts[tensor.name]
            array[index] = number
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return proto


def removed(proto: onnx.ModelProto) -> int:
    """Channels of ``w`` that go; the two models then agree, NaN for NaN."""
    try:
        result = prune(in_memory(proto), PruneSettings(lossless=True))
    except NothingToPrune:
        return 0
    sessions = [onnxruntime.InferenceSession(m.SerializeToString()) for m in (proto, ir.to_proto(result.model))]
    x = np.random.default_rng(7).normal(size=(3, 4, 6, 6)).astype(np.float32)
    for one, two in zip(*(s.run(None, {"x": x}) for s in sessions), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)
    return {g.name: g.removed for g in result.report.groups}["w"]


@pytest.mark.parametrize(
    ("body", "weights", "gone"),
    [
        ("b = Relu(a)", {}, 2),
        ("b = Relu(a)", {"v": (np.s_[0, 5], np.inf)}, 1),
        ("b = Relu(a)", {"v": (np.s_[:, 5], np.nan)}, 1),
        ("b = Add(a, shift)", {"shift": (5, np.nan), "v": (np.s_[:, (2, 5)], 0.0)}, 1),
        ("c = Relu(a) b = Reciprocal(c)", {"v": (np.s_[:, (1, 2)], 0.0)}, 0),
        ("b = Mul(a, shift)", {"shift": (2, np.inf)}, 1),
        ("s = Constant<value_float=inf>() c = Mul(a, s) b = Relu(c)", {}, 0),
    ],
    ids=["finite", "an infinite weight", "weights that are no numbers", "a shift that is none", "one over zero",
         "zero times infinity", "everything infinite"],
)  # fmt: skip
def test_what_reads_it_stays(body: str, weights: Mapping[str, tuple[Any, float]], gone: int) -> None:
    assert removed(spoilt(body, weights)) == gone


def test_outputs_that_hold_no_number_prove_nothing() -> None:
    proto = model("""
        (float[3,4,6,6] x) => (float[n,c,h,w] z) <float[8,4,3,3] w, float[5,8,1,1] v> {
            a = Conv(x, w) s = Constant<value_float=nan>() b = Mul(a, s) z = Conv(b, v) }""")
    (w,) = [t for t in proto.graph.initializer if t.name == "w"]
    array = numpy_helper.to_array(w).copy()
    array[3] = 0
    w.CopyFrom(numpy_helper.from_array(array, "w"))
    with pytest.raises(NothingToProve):
        prune(in_memory(proto), PruneSettings(lossless=True))


def test_inputs_that_the_model_refuses_are_no_obstacle() -> None:
    """Random trips are few, and without one the sum of slices has no shape that can be added."""
    proto = model("""
        (float[n,6] x, int64 trips) => (float y) <float[6,16] w, float[16,3] v, bool go = {1}, int64[1] first = {0}> {
            a = MatMul(x, w)
            h, slices = Loop(trips, go, a) <body = body (int64 i, bool c, float[p,16] s) =>
                (bool d, float[p,16] t, float[p,16] o) { d = Identity(c) t = Relu(s) o = Identity(a) }>
            m = ReduceSum<keepdims=0>(slices, first)
            r = Add(h, m)
            y = MatMul(r, v)
        }""")
    with pytest.raises(NothingToPrune):
        prune(in_memory(proto), PruneSettings(lossless=True))


@pytest.mark.parametrize("goes", [True, False])
def test_an_infinite_channel_that_a_recurrent_layer_reads_is_proved(goes: bool) -> None:
    """Zeros in the layer's weights make no number of it, whether the channel goes, or hidden units that read it."""
    text = """(float[5,n,8] x) => (float[5,1,n,3] z)
        <float[8,6] w, float[1,4,6] k, float[1,4,4] r, float[6] shift, float[4,3] u> {
        a = MatMul(x, w)  b = Add(a, shift)  y, h = RNN<hidden_size=4>(b, k, r)  z = MatMul(y, u) }"""
    proto = model(text)
    arrays = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in proto.graph.initializer}
    arrays["shift"][2] = -np.inf
    arrays["k"][:, :, 2] *= 1e-3 if goes else 1e3
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    settings = PruneSettings(ratio=0.4, criterion="consumers", scope="local", recover="none", round_to=1)
    result = prune(in_memory(proto), settings)
    assert [row.removed for row in result.report.groups] == [2, 2]
    left = result.model.graph.initializers["shift"].const_value
    assert left is not None
    assert bool(np.isfinite(left.numpy()).all()) is goes
    assert result.report.proof is not None
