"""Attention as one operator: heads or their dimensions, grouped queries, masks, rotary positions."""

from __future__ import annotations

import pytest

from .case import Case, check, token

DIMS = {"attention": "dims"}
PROJECT = "q = MatMul(a, wq)  k = MatMul(a, wk)  u = MatMul(a, wu)"
FULL = "float[16,16] wq, float[16,16] wk, float[16,16] wu"
GROUPED = "float[16,16] wq, float[16,8] wk, float[16,8] wu"
SPLIT = """q1 = Reshape(q, split)  q2 = Transpose<perm=[0,2,1,3]>(q1)  k1 = Reshape(k, split)
      k2 = Transpose<perm=[0,2,1,3]>(k1)
    u1 = Reshape(u, split)  u2 = Transpose<perm=[0,2,1,3]>(u1)"""
JOIN = "o1 = Transpose<perm=[0,2,1,3]>(o)  b = Reshape(o1, join)"
SHAPES = ", int64[4] split = {3,5,4,4}, int64[3] join = {3,5,16}"


def attention(name: str, body: str, removed: dict[str, int] | None = None, more: str = "", **options: object) -> Case:
    return token(f"Attention {name}", body, {"w": 8, "v": 3, **(removed or {"wq": 8})}, more=more, opset=24, **options)


CASES = (
    attention("by heads", f"{PROJECT}  b = Attention<q_num_heads=4,kv_num_heads=4>(q, k, u)", more=FULL),
    attention("by dims", f"{PROJECT}  b = Attention<q_num_heads=4,kv_num_heads=4>(q, k, u)", {"wq": 8, "wu": 8},
          more=FULL,
              settings=DIMS),
    attention("with a scale", f"{PROJECT}  b = Attention<q_num_heads=4,kv_num_heads=4,scale=0.3>(q, k, u)", {"wq": 8,
          "wu": 8},
              more=FULL, settings=DIMS),
    attention("causal", f"{PROJECT}  b = Attention<q_num_heads=4,kv_num_heads=4,is_causal=1>(q, k, u)", more=FULL),
    attention("of grouped queries", f"{PROJECT}  b = Attention<q_num_heads=4,kv_num_heads=2>(q, k, u)", more=GROUPED),
    attention("of grouped queries by dims", f"{PROJECT}  b = Attention<q_num_heads=4,kv_num_heads=2>(q, k, u)",
              {"wq": 8, "wu": 4}, more=GROUPED, settings=DIMS),
    attention("in four axes", f"{PROJECT}  {SPLIT}  o = Attention(q2, k2, u2)  {JOIN}", more=FULL + SHAPES),
    attention("in four axes by dims", f"{PROJECT}  {SPLIT}  o = Attention(q2, k2, u2)  {JOIN}", {"wq": 8, "wu": 8},
              more=FULL + SHAPES, settings=DIMS),
    attention("with a mask", f"{PROJECT}  b = Attention<q_num_heads=4,kv_num_heads=4>(q, k, u, mask)",
          more=FULL + ", float[5,5] mask"),
    attention("with a mask for each batch", f"{PROJECT}  b = Attention<q_num_heads=4,kv_num_heads=4>(q, k, u, mask)",
              more=FULL + ", float[3,1,5,5] mask"),
    attention("with a mask for each head", f"{PROJECT}  b = Attention<q_num_heads=4,kv_num_heads=4>(q, k, u, mask)",
              more=FULL + ", float[1,4,5,5] mask"),
    attention("with a boolean mask",
          f"{PROJECT}  c = Less(mask, half)  b = Attention<q_num_heads=4,kv_num_heads=4>(q, k, u, c)",
              more=FULL + ", float[5,5] mask, float half = {0.5}"),
    token("Attention that hands out its keys",
          f"{PROJECT}  o, pk, pv = Attention<q_num_heads=4,kv_num_heads=4>(q, k, u)"
              "  r = ReduceMax<keepdims=0>(pk)  b = Add(o, r)", {"w": 8, "v": 3}, opset=24, more=FULL,
              frozen={"wq": "has a key/value cache"}),
    token("RotaryEmbedding of three axes",
          """q = MatMul(a, wq)  b = RotaryEmbedding<num_heads=4>(q, cosines, sines, at)""",
          {"w": 8, "wq": 8, "v": 3}, opset=23,
          more="float[16,16] wq, float[9,2] cosines, float[9,2] sines,"
          " int64[3,5] at = {0,1,2,3,4,1,2,3,4,5,4,3,2,1,0}"),
    token("RotaryEmbedding of four axes", f"q = MatMul(a, wq)  r = Reshape(q, split)  t = Transpose<perm=[0,2,1,3]>(r)"
          f"  o = RotaryEmbedding(t, cosines, sines)  {JOIN}", {"w": 8, "wq": 8, "v": 3}, opset=23,
          more="float[16,16] wq, float[3,5,2] cosines, float[3,5,2] sines" + SHAPES),
    token("RotaryEmbedding of part of each head", """q = MatMul(a, wq)
          b = RotaryEmbedding<num_heads=2,rotary_embedding_dim=4,interleaved=1>(q, cosines, sines)""",
          {"w": 8, "wq": 8, "v": 3}, opset=23, more="float[16,16] wq, float[3,5,2] cosines, float[3,5,2] sines"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_attention(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(("name", "heads"), [("by heads", (2, 2)), ("of grouped queries", (2, 1)), ("by dims", (4, 4))])
def test_head_counts_follow(name: str, heads: tuple[int, int]) -> None:
    graph = next(c for c in CASES if c.name == f"Attention {name}").prune().model.graph
    node = next(n for n in graph if n.op_type == "Attention")
    assert tuple(node.attributes.get_int(k, 0) for k in ("q_num_heads", "kv_num_heads")) == heads


def test_scale_stays_that_of_the_original_head() -> None:
    """Without the attribute the operator would divide by the root of the smaller head."""
    graph = next(c for c in CASES if c.name == "Attention by dims").prune().model.graph
    node = next(n for n in graph if n.op_type == "Attention")
    assert node.attributes.get_float("scale", 0) == pytest.approx(0.5)
