"""Matrix products: with weights, of activations, batched, transposed, as Gemm and as Einsum."""

from __future__ import annotations

import pytest

from compressor.channels.groups import blocked
from compressor.config import PruneSettings
from compressor.pruning.cut.analysis import analyse
from tests.models import in_memory, tokens

from .case import MICROSOFT, Case, check, token, whole

HEADS = """
    q1 = MatMul(a, wq)   q2 = Reshape(q1, split)  q = Transpose<perm=[0,2,1,3]>(q2)
    k1 = MatMul(a, wk)   k2 = Reshape(k1, split)  k = Transpose<perm=[0,2,3,1]>(k2)
    u1 = MatMul(a, wu)   u2 = Reshape(u1, split)  u = Transpose<perm=[0,2,1,3]>(u2)
    s = MatMul(q, k)     p = Softmax<axis=-1>(s)  o = MatMul(p, u)
    o2 = Transpose<perm=[0,2,1,3]>(o)  o3 = Reshape(o2, join)  b = MatMul(o3, wo)"""
HEAD_WEIGHTS = """float[16,16] wq, float[16,16] wk, float[16,16] wu, float[16,16] wo,
    int64[4] split = {0,0,4,4}, int64[3] join = {0,0,16}"""
GRAM = "t = Transpose<perm=[0,2,1]>(a)  g = MatMul(a, t)  p = Softmax(g)  n = Neg(a)  b = MatMul(p, n)"

CASES = (
    token("MatMul", "b = MatMul(a, u)", {"w": 8, "u": 10, "v": 3}, more="float[16,20] u", out=20),
    token("MatMul of a stack of weights",
          "e = Unsqueeze(a, axis) c = MatMul(e, u) r = Relu(c) s = ReduceSum<keepdims=0>(r, axis)"
          " b = Identity(s)", {"w": 8, "u": 2, "u#2": 8, "v": 3}, more="int64[1] axis = {1}, float[4,16,16] u"),
    token("MatMul weight on the left",
          "t = Transpose<perm=[0,2,1]>(a)  c = MatMul(u, t)  b = Transpose<perm=[0,2,1]>(c)",
          {"w": 8, "u": 10, "v": 3}, more="float[20,16] u", out=20),
    token("MatMul of activations", GRAM),
    token("MatMul attention heads", HEADS, {"w": 8, "wq": 8, "wo": 8, "v": 3}, more=HEAD_WEIGHTS),
    token("MatMul attention dims", HEADS, {"w": 8, "wq": 8, "wu": 8, "wo": 8, "v": 3}, more=HEAD_WEIGHTS,
          settings={"attention": "dims"}),
    token("MatMul with a transposed tied weight", "c = MatMul(a, u) d = Relu(c) t = Transpose(u) b = MatMul(d, t)",
          {"w": 8, "u": 2100, "v": 3}, more="float[16,4200] u"),
    token("FusedMatMul", "t = Transpose<perm=[0,2,1]>(a) b = com.microsoft.FusedMatMul<transA=1>(t, u)",
          {"w": 8, "u": 10, "v": 3}, more="float[16,20] u", out=20, **MICROSOFT),
    token("FusedMatMul of activations",
          """c = com.microsoft.FusedMatMul<transB=1,alpha=0.1>(a, a) d = com.microsoft.FusedMatMul(c, a)
          t = Transpose<perm=[0,2,1]>(d) b = com.microsoft.FusedMatMul<transA=1,transB=0>(t, u)""",
          {"w": 8, "u": 8, "v": 3}, more="float[16,16] u", **MICROSOFT),
    token("MatMul by a vector", "c = MatMul(a, u)  e = Unsqueeze(c, last) b = Mul(a, e)",
          more="float[16] u, int64[1] last = {2}"),
    whole("Gemm", """(float[3,8] x) => (float y) <float[8,16] w, float[16] bias, float[6,16] v, float[6] c> {
          a = Gemm(x, w, bias)  r = Relu(a)  y = Gemm<transB=1,alpha=0.5,beta=2.0>(r, v, c) }""", {"w": 8}),
    whole("Gemm with a bias for each row",
          """(float[3,8] x) => (float y) <float[16,8] w, float[16,1] bias, float[6,16] v> {
          a = Gemm<transB=1>(w, x, bias)  r = Relu(a)  y = MatMul(v, r) }""", {"w": 8}),
    whole("Gemm with the data transposed",
          """(float[8,3] x) => (float y) <float[8,16] w, float[1,16] bias, float[16,6] v> {
          a = Gemm<transA=1>(x, w, bias)  r = Relu(a)  y = Gemm(r, v) }""", {"w": 8}),
    whole("Gemm with a scalar bias", """(float[3,8] x) => (float y) <float[8,16] w, float[1] bias, float[16,6] v> {
          a = Gemm(x, w, bias)  r = Relu(a)  y = Gemm(r, v) }""", {"w": 8}),
    whole("Gemm after flattening",
          """(float[3,4,6,6] x) => (float y) <float[8,4,3,3] w, float[8] bias, float[6,128] v> {
          a = Conv(x, w, bias)  r = Relu(a)  f = Flatten(r)  y = Gemm<transB=1>(f, v) }""", {"w": 4}),
    token("Einsum", 'b = Einsum<equation="bti,io->bto">(a, u)', {"w": 8, "u": 8, "v": 3}, more="float[16,16] u"),
    token("Einsum without an arrow", 'c = Einsum<equation="tbi,io">(a, u)  b = Transpose<perm=[2,0,1]>(c)',
          {"w": 8, "u": 8, "v": 3}, more="float[16,16] u"),
    token("Einsum of activations",
          'g = Einsum<equation="bti,bsi->bts">(a, a)  b = Einsum<equation="bts,bsi->bti">(g, a)'),
    token("Einsum of three", 'b = Einsum<equation="bti,ij,jo->bto">(a, u, t)', {"w": 8, "t": 8, "v": 3},
          more="float[16,16] u, float[16,16] t"),
    token("Einsum that transposes", 'c = Einsum<equation="bti->bit">(a)  b = Transpose<perm=[0,2,1]>(c)'),
    token("Einsum of a diagonal",
          'c = Einsum<equation="bti,ij->btij">(a, u) d = Einsum<equation="btii->bti">(c) b = Relu(d)',
          {"v": 3}, more="float[16,16] u", frozen={"w": "repeats an index"}),
    token("Einsum with an ellipsis", 'b = Einsum<equation="...i,io->...o">(a, u)', {"w": 8, "u": 8, "v": 3},
          more="float[16,16] u"),
    token("Einsum with an ellipsis, without an arrow", 'b = Einsum<equation="...i,io">(a, u)',
          {"w": 8, "u": 8, "v": 3}, more="float[16,16] u"),
    token("Einsum of activations with an ellipsis",
          'g = Einsum<equation="...ti,...si->...ts">(a, a)  b = Einsum<equation="...ts,...si->...ti">(g, a)'),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_linear(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [("<transBatchA=1,transBatchB=1>", "moves its batch axes"), ("<transA=1>", "multiplies operands of 3 and 4 axes")],
)
def test_fused_products_that_are_declined(attributes: str, reason: str) -> None:
    proto = tokens(f"c = Neg(a) b = com.microsoft.FusedMatMul{attributes}(c, u)", more="float[1,3,5,16] u", **MICROSOFT)
    analysis = analyse(in_memory(proto), PruneSettings())
    assert f"FusedMatMul: {reason}" in [row.reason.reason for row in blocked(analysis.coupling)]
