"""ONNX Runtime's attention: heads, repeats of grouped queries beside a cache, masks, rotary positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from compressor.commands.prune import prune
from tests.models import in_memory

from .case import MICROSOFT, Case, check, token, whole

DIMS = {"attention": "dims"}
PROJECT = "q = MatMul(a, wq)  k = MatMul(a, wk)  u = MatMul(a, wu)"
FULL = "float[16,16] wq, float[16,16] wk, float[16,16] wu"
GROUPED = "float[16,32] wq, float[16,16] wk, float[16,16] wu"
LENGTHS = ", int32[3] last = {4,4,4}, int32 total = {5}"
MULTI = "b = com.microsoft.MultiHeadAttention<num_heads=4>"
QUERY = "com.microsoft.GroupQueryAttention<num_heads=4,kv_num_heads=2>"
JOINT = "b = com.microsoft.Attention<num_heads=4>(a, wj, bj)"
JOINED = "float[16,48] wj, float[48] bj"


def multi(name: str, body: str, removed: dict[str, int] | None = None, more: str = FULL, **options: Any) -> Case:
    removed = {"w": 8, "wq": 8, "v": 3} if removed is None else removed
    return token(f"MultiHeadAttention {name}", f"{PROJECT}  {body}", removed, more=more, **MICROSOFT, **options)


CASES = (
    multi("by heads", f"{MULTI}(q, k, u)"),
    multi("by dims", f"{MULTI}(q, k, u)", {"w": 8, "wq": 8, "wu": 8, "v": 3}, settings=DIMS),
    multi("with a scale", "b = com.microsoft.MultiHeadAttention<num_heads=4,scale=0.3>(q, k, u)",
          {"w": 8, "wq": 8, "wu": 8, "v": 3}, settings=DIMS),
    multi("causal", "b = com.microsoft.MultiHeadAttention<num_heads=4,unidirectional=1>(q, k, u)"),
    multi("with a bias", f"{MULTI}(q, k, u, bj)", more=f"{FULL}, float[48] bj"),
    multi("with lengths", f"{MULTI}(q, k, u, , pad)", more=f"{FULL}, int32[3] pad = {{5,3,4}}"),
    multi("with a mask of keys", f"{MULTI}(q, k, u, , pad)",
          more=f"{FULL}, int32[3,5] pad = {{1,1,1,1,1,1,1,1,1,1,1,1,1,1,0}}"),
    multi("with scores added", f"{MULTI}(q, k, u, , , add)", more=f"{FULL}, float[1,4,5,5] add"),
    multi("of heads in four axes", f"""k1 = Reshape(k, split)  k2 = Transpose<perm=[0,2,1,3]>(k1)
          u1 = Reshape(u, split)  u2 = Transpose<perm=[0,2,1,3]>(u1)  {MULTI}(q, k2, u2)""",
          more=f"{FULL}, int64[4] split = {{3,5,4,4}}"),
    multi("with a cache", f"b, pk, pv = {MULTI[4:]}(q, k, u, , , , past, past)  f = ReduceMax<keepdims=0>(pk)",
          {"w": 8, "wq": 8, "v": 3}, more=f"{FULL}, float[3,4,2,4] past", settings=DIMS),
    token("Attention of three in one", JOINT, {"w": 8, "wj": 24, "v": 3}, more=JOINED, **MICROSOFT),
    token("Attention of three in one by dims", JOINT, {"w": 8, "wj": 16, "wj#2": 8, "v": 3}, more=JOINED,
          settings=DIMS, **MICROSOFT),
    token("GroupQueryAttention", f"{PROJECT}  b = {QUERY}(q, k, u, , , last, total)",
          {"w": 8, "wq": 16, "v": 3}, out=32, more=GROUPED + LENGTHS, **MICROSOFT),
    token("GroupQueryAttention of three in one", f"j = MatMul(a, wj)  b = {QUERY}(j, , , , , last, total)",
          {"w": 8, "wj": 32, "v": 3}, out=32, more="float[16,64] wj" + LENGTHS, **MICROSOFT),
    whole("GroupQueryAttention with a cache", f"""
        (float[1,n,8] x, float[1,2,p,8] pk, float[1,2,p,8] pv, float[1,m] ones)
        => (float[a,c,d] y, float[a,kv,l,8] nk, float[a,kv,l,8] nv)
        <float[8,16] w, float[16,32] wq, float[16,16] wk, float[16,16] wu, float[32,6] v,
         int64[1] one = {{1}}, int64 at = {{1}}> {{
            a = MatMul(x, w)  {PROJECT}
            all = Cast<to=6>(ones)  sums = Shape(ones)  long = Gather(sums, at)  total = Cast<to=6>(long)
            less = Sub(long, one)  both = Expand(less, rows)  last = Cast<to=6>(both)
            o, nk, nv = {QUERY}(q, k, u, pk, pv, last, total)
            y = MatMul(o, v) }}""".replace("at = {1}", "at = {1}, int64[1] rows = {1}"),
          {"w": 8, "wq": 16}, frozen={"wk": "works along this axis as a whole"}, **MICROSOFT),
    token("RotaryEmbedding of ONNX Runtime",
          "q = MatMul(a, wq)  b = com.microsoft.RotaryEmbedding<num_heads=4>(q, at, cosines, sines)",
          {"w": 8, "wq": 8, "v": 3}, more="float[16,16] wq, float[9,2] cosines, float[9,2] sines, int64[1] at = {3}",
          **MICROSOFT),
    token("RotaryEmbedding of heads that the cosines tell",
          "q = MatMul(a, wq)  b = com.microsoft.RotaryEmbedding(q, at, cosines, sines)",
          {"w": 8, "wq": 8, "v": 3}, more="float[16,16] wq, float[9,2] cosines, float[9,2] sines, int64[1] at = {3}",
          **MICROSOFT),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_fused_attention(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(
    ("name", "heads"),
    [("MultiHeadAttention by heads", (2, 0)), ("MultiHeadAttention by dims", (4, 0)), ("GroupQueryAttention", (2, 1)),
     ("GroupQueryAttention with a cache", (2, 2)), ("Attention of three in one", (2, 0))],
)  # fmt: skip
def test_head_counts_follow(name: str, heads: tuple[int, int]) -> None:
    graph = next(c for c in CASES if c.name == name).prune().model.graph
    node = next(n for n in graph if n.op_type.endswith("Attention"))
    assert tuple(node.attributes.get_int(k, 0) for k in ("num_heads", "kv_num_heads")) == heads


def test_each_group_chooses_its_own_repeats_beside_a_cache() -> None:
    case = next(c for c in CASES if c.name == "GroupQueryAttention with a cache")
    proto = case.build()
    weight = next(t for t in proto.graph.initializer if t.name == "wq")
    array = onnx.numpy_helper.to_array(weight).copy()
    array[:, :8] *= 0.01  # of the first group, the first head goes, of the second, the second
    array[:, 24:] *= 0.01
    weight.CopyFrom(onnx.numpy_helper.from_array(array, "wq"))
    settings = case.options.model_copy(update={"criterion": "l1"})
    kept = prune(in_memory(proto), settings).model.graph.initializers["wq"].const_value
    assert kept is not None
    before = onnx.numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == "wq"))
    rows = [r for r in range(16) if any(np.allclose(before[r, 8:24], k) for k in kept.numpy())]
    assert len(rows) == 8
