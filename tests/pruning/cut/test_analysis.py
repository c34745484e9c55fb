"""A model ready to be cut: which weights that several nodes share stay one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import compressor
from compressor.config import PruneSettings
from compressor.pruning.cut.analysis import analyse
from tests.models import in_memory, model, weight

SETTINGS = PruneSettings(ratio=0.5)
TWICE = """(float[n,8] x) => (float[n,4] y) <float[8,8] w, float[8] b, float[8,4] v> {
    a = MatMul(x, w)  c = Add(a, b)  d = Tanh(c)  e = MatMul(d, w)  f = Add(e, b)  g = Tanh(f)  y = MatMul(g, v) }"""
BRANCHES = """(float[n,3,8,8] x, float[n,3,8,8] z) => (float[n,2,6,6] y) <float[16,3,3,3] w, float[2,16,1,1] v> {
    a = Conv(x, w)  b = Conv(z, w)  c = Sub(a, b)  d = Relu(c)  y = Conv(d, v) }"""
PLACES = """(float[n,8] x) => (float[n,4] y) <float[8,8] w, float[8,4] v> {
    a = MatMul(x, w)  b = Relu(a)  c = Gemm(b, w)  d = Relu(c)  y = MatMul(d, v) }"""
TABLE = """(float[n,8,8] x) => (float[n,8,4] y) <float[8,8] t, float[8,4] v> {
    a = Add(x, t)  b = Relu(a)  c = Mul(b, t)  y = MatMul(c, v) }"""


def copies(proto: onnx.ModelProto) -> list[str]:
    return sorted(name for name in analyse(in_memory(proto), SETTINGS).model.graph.initializers if ".1" in name)


@pytest.mark.parametrize(("text", "apart"), [(BRANCHES, []), (TWICE, ["b.1"]), (PLACES, ["w.1"]), (TABLE, ["t.1"])])
def test_the_kernel_of_a_layer_that_is_called_twice_stays_one(text: str, apart: list[str]) -> None:
    assert copies(model(text)) == apart


def test_kernels_of_one_number_may_be_several_that_were_merged() -> None:
    proto = model(BRANCHES)
    kernel = next(t for t in proto.graph.initializer if t.name == "w")
    kernel.CopyFrom(onnx.numpy_helper.from_array(np.zeros((16, 3, 3, 3), np.float32), "w"))
    assert copies(proto) == ["w.1"]


def test_a_shared_kernel_is_cut_once() -> None:
    proto = model(BRANCHES)
    result = compressor.prune(in_memory(proto), ratio=0.5, recover="none")
    assert result.proved
    assert weight(result.model, "w").shape == (8, 3, 3, 3)
    assert result.report.output is not None
    assert result.report.output.params * 2 == result.report.input.params


def test_numbers_behind_a_branch_that_is_taken_are_known() -> None:
    """As those of a Tile that an exporter writes for any rank."""
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 18]>
        g (float[n,4] x) => (float[n,2] y) <float[4,8] w, float[8,2] v, float[1,8] t, int64 zero = {0},
        int64[2] twice = {1, 1}, int64[3] thrice = {1, 1, 1}> {
        a = MatMul(x, w)  s = Shape(a)  k = Size(s)  c = Equal(k, zero)
        r = If(c) <then_branch = m () => (p) { p = Identity(thrice) }, else_branch = e () => (q) { q = Neg(twice) }>
        i = Abs(r)  u = Tile(t, i)  b = Mul(a, u)  y = MatMul(b, v) }""")
    for name, shape in {"w": (4, 8), "v": (8, 2), "t": (1, 8)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    result = compressor.prune(in_memory(proto), ratio=0.5, recover="none", round_to=1)
    assert weight(result.model, "w").shape == (4, 4)
