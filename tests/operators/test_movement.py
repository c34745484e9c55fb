"""Movement: channels are split, merged, permuted, repeated and interleaved, and stay who they are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from compressor.channels.labels import Term
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.operators.movement import _even
from tests.models import in_memory

from .case import Case, check, image, token, whole

SHUFFLE = """r = Reshape(a, split)  t = Transpose<perm=[0,2,1,3,4]>(r)  c = Reshape(t, join)
    b = Conv<group=2>(c, u)"""
SHUFFLE_NEEDS = "int64[5] split = {3,2,8,6,6}, int64[4] join = {3,16,6,6}, float[16,8,1,1] u"

CASES = (
    # Reshape
    image("Reshape of space", "r = Reshape(a, to)  b = Reshape(r, back)",
          more="int64[3] to = {0,0,-1}, int64[4] back = {0,0,6,6}"),
    image("Reshape with sizes written out", "r = Reshape(a, to)  n = Neg(r)  b = Reshape(n, back)",
          more="int64[3] to = {3,16,36}, int64[4] back = {3,16,6,6}"),
    image("Reshape of channels with -1", "r = Reshape(a, to)  n = Neg(r)  b = Reshape(n, back)",
          more="int64[3] to = {3,-1,36}, int64[4] back = {3,-1,6,6}"),
    image("Reshape into groups", "r = Reshape(a, to)  n = Neg(r)  b = Reshape(n, back)",
          more="int64[5] to = {3,4,4,6,6}, int64[4] back = {3,16,6,6}"),
    image("Reshape with allowzero", "r = Reshape<allowzero=1>(a, to)  b = Reshape<allowzero=1>(r, back)",
          more="int64[3] to = {3,16,36}, int64[4] back = {3,16,6,6}"),
    image("Reshape merges two independent axes", "c = Conv(x, u)  t = Transpose<perm=[0,2,3,1]>(c)  d = MatMul(t, k)"
          " f = Reshape(d, flat)  g = Gemm(f, h)  i = Reshape(g, gate)  b = Mul(a, i)", {"w": 8, "u": 2, "k": 2,
          "v": 4},
          more="float[4,4,1,1] u, float[4,4] k, float[144,16] h, int64[2] flat = {0,-1}, int64[4] gate = {0,16,1,1}"),
    image("Reshape with the shape computed",
          """f = Shape(a)  n = Gather(f, zero)  c = Gather(f, one)  to = Concat<axis=0>(n, c, rest)
          r = Reshape(a, to)  s = Softmax(r)  b = Reshape(s, back)""",
          more="int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}, int64[4] back = {0,0,6,6}"),
    whole("Reshape with a dynamic batch", """(float[N,4,6,6] x) => (float y)
          <float[8,4,3,3] w, float[6,8] v, int64[1] zero = {0}, int64[1] rest = {-1}, int64[3] back = {-1,16,8},
                int64[2] flat = {-1,8}> {
          a = Conv(x, w)  f = Shape(a)  n = Gather(f, zero)  c = Constant<value_ints=[8]>()
                to = Concat<axis=0>(n, c, rest)
          r = Reshape(a, to)  t = Transpose<perm=[0,2,1]>(r)  s = Softmax<axis=1>(t)  k = Reshape(s, back)
          l = Reshape(k, flat)  y = Gemm<transB=1>(l, v) }""", {"w": 4}),
    whole("Reshape by a dynamic shape that names channels", """(float[N,4,H,W] x) => (float y)
          <float[8,4,3,3] w, float[6,8,1,1] v, int64[1] rest = {-1}, int64[1] zero = {0}, int64[1] two = {2}> {
          a = Conv(x, w)  f = Shape(a)  nc = Slice(f, zero, two)  to = Concat<axis=0>(nc, rest)
          r = Reshape(a, to)  s = Softmax(r)  q = Reshape(s, f)  y = Conv(q, v) }""", {"w": 4}),
    whole("Reshape leaves two sizes open", """(float[N,T,8] x) => (float y)
          <float[8,16] w, float[16,6] v, int64[1] zero = {0}, int64[1] one = {1}, int64[2] split = {4,4}> {
          a = MatMul(x, w)  f = Shape(a)  nt = Slice(f, zero, two)  to = Concat<axis=0>(nt, split)
          two = Constant<value_ints=[2]>()
          r = Reshape(a, to)  s = Neg(r)  c = Constant<value_ints=[16]>()  tb = Concat<axis=0>(nt, c)
          q = Reshape(s, tb)  y = MatMul(q, v) }""".replace("two = Constant<value_ints=[2]>()", "")
          .replace("int64[1] one = {1}", "int64[1] two = {2}"), {"w": 8}),
    # Flatten, Squeeze, Unsqueeze
    image("Flatten", "f = Flatten(a)  g = Gemm(f, u)  h = Unsqueeze(g, last)  b = Mul(a, h)", {"w": 8, "v": 4},
          more="float[576,16] u, int64[2] last = {2,3}"),
    image("Flatten at another axis", "f = Flatten<axis=2>(a)  n = Neg(f)  b = Reshape(n, back)",
          more="int64[4] back = {3,16,6,6}"),
    image("Flatten from behind", "f = Flatten<axis=-2>(a)  n = Neg(f)  b = Reshape(n, back)",
          more="int64[4] back = {3,16,6,6}"),
    token("Flatten everything", "f = Flatten<axis=0>(a)  n = Neg(f)  b = Reshape(n, back)",
          more="int64[3] back = {3,5,16}"),
    *(image(f"Unsqueeze {v}", "u = Unsqueeze<axes=[2]>(a)  n = Neg(u)  b = Squeeze<axes=[2]>(n)", opset=v) for v in (9,
          11)),
    *(image(f"Unsqueeze {v}", "u = Unsqueeze(a, at)  n = Neg(u)  b = Squeeze(n, at)", more="int64[1] at = {-3}",
          opset=v)
      for v in (13, 18, 21)),
    image("Squeeze of all axes of size 1",
          "g = GlobalAveragePool(a)  q = Squeeze(g)  h = Gemm(q, u)  e = Unsqueeze(h, last)"
          "  b = Mul(a, e)", more="float[16,16] u, int64[2] last = {-1,-2}"),
    # Transpose
    image("Transpose", "t = Transpose<perm=[0,2,3,1]>(a)  n = Neg(t)  b = Transpose<perm=[0,3,1,2]>(n)"),
    image("Transpose reversed by default", "t = Transpose(a)  n = Neg(t)  b = Transpose(n)"),
    image("Transpose in a channel shuffle", SHUFFLE, {"w": 8, "u": 8, "v": 4}, more=SHUFFLE_NEEDS),
    image("Transpose in a channel shuffle after groups", f"g = Conv<group=2>(a, k)  {SHUFFLE.replace('(a,', '(g,')}",
          {"w": 8, "k": 8, "u": 8, "v": 4}, more=SHUFFLE_NEEDS + ", float[16,8,1,1] k"),
    # Expand and Tile
    image("Expand", "c = Conv(g, u)  e = Expand(c, to)  b = Add(a, e)",
          more="float[16,4,1,1] u, int64[4] to = {3,16,6,6}, float[1,4,1,1] g"),
    image("Expand of an activation", "m = GlobalAveragePool(a)  e = Expand(m, to)  b = Concat<axis=1>(a, e)",
          more="int64[4] to = {3,16,6,6}", out=32),
    image("Expand with ones", "m = GlobalMaxPool(a)  e = Expand(m, to)  b = Sub(a, e)", more="int64[4] to = {1,1,6,6}"),
    image("Expand of one number", "e = Expand(half, to)  b = Mul(a, e)",
          more="float half = {0.5}, int64[4] to = {3,16,6,6}",
          settings={"simplify": False}),
    image("Expand of one number, folded", "e = Expand(half, to)  b = Mul(a, e)",
          more="float half = {0.5}, int64[4] to = {3,16,6,6}"),
    image("Expand to the shape of another", "f = Shape(a)  e = Expand(half, f)  b = Mul(a, e)",
          more="float half = {0.5}",
          settings={"simplify": False}),
    whole("Expand with a dynamic batch", """(float[N,5,8] x) => (float y)
          <float[8,16] w, float[16,6] v, float[1,1,16] p, int64[1] zero = {0}, int64[1] one = {1},
                int64[2] rest = {1,16}> {
          a = MatMul(x, w)  f = Shape(a)  n = Slice(f, zero, one)  to = Concat<axis=0>(n, rest)  e = Expand(p, to)
          c = Concat<axis=1>(e, a)  y = MatMul(c, v) }""", {"w": 8}),
    whole("Reshape to a batch of heads and to an open length", """(float[N,T,8] x) => (float y)
          <float[8,16] w, float[16,6] v, int64[4] split = {0,0,4,4}, int64[1] four = {4}, int64[1] rest = {-1},
           int64[3] join = {0,0,16}> {
            a = MatMul(x, w)  r = Reshape(a, split)  t = Transpose<perm=[0,2,1,3]>(r)
            n = Shape<end=1>(x)  m = Mul(n, four)  to = Concat<axis=0>(m, rest, four)  f = Reshape(t, to)
            o = Softmax(f)  back = Concat<axis=0>(n, four, rest, four)  u = Reshape(o, back)
            p = Transpose<perm=[0,2,1,3]>(u)  q = Reshape(p, join)  y = MatMul(q, v) }""", {"w": 8}),
    whole("Expand beside an open batch", """(float[N,5,8] x) => (float y)
          <float[8,16] w, float[16,6] v, int64[4] split = {0,5,4,4}, int64[3] flat = {-1,5,4}, int64[1] four = {4},
           int64[1] five = {5}, int64[4] back = {-1,4,5,4}, int64[3] join = {0,5,16},
           int64[1,5,4] j = {0,1,2,3,3,2,1,0,0,0,1,1,2,2,3,3,1,3,0,2}> {
            a = MatMul(x, w)  r = Reshape(a, split)  t = Transpose<perm=[0,2,1,3]>(r)  f = Reshape(t, flat)
            n = Shape<end=1>(x)  m = Mul(n, four)  to = Concat<axis=0>(m, five, four)  e = Expand(j, to)
            g = GatherElements<axis=2>(f, e)  u = Reshape(g, back)  p = Transpose<perm=[0,2,1,3]>(u)
            q = Reshape(p, join)  y = MatMul(q, v) }""", {"w": 8}),
    whole("Expand for grouped queries beside a cache", """(float[2,5,8] x, float[2,2,p,4] past) => (float[b,t,c] y,
          float[b,kv,s,d] present)
          <float[8,16] w, float[16,16] wq, float[16,8] wk, float[16,6] v, int64[4] split = {2,5,4,4},
           int64[4] two = {2,5,2,4}, int64[1] at = {2}, int64[5] to = {2,1,2,1,4}, int64[4] flat = {2,4,-1,4},
           int64[3] join = {2,5,16}> {
            a = MatMul(x, w)
            q1 = MatMul(a, wq)  q2 = Reshape(q1, split)  q = Transpose<perm=[0,2,1,3]>(q2)
            k1 = MatMul(a, wk)  k2 = Reshape(k1, two)    k3 = Transpose<perm=[0,2,1,3]>(k2)
            present = Concat<axis=2>(past, k3)
            r1 = Unsqueeze(present, at)  r2 = Expand(r1, to)  k = Reshape(r2, flat)
            kt = Transpose<perm=[0,1,3,2]>(k)  s = MatMul(q, kt)  e = Softmax(s)  o = MatMul(e, k)
            o1 = Transpose<perm=[0,2,1,3]>(o)  b = Reshape(o1, join)  y = MatMul(b, v) }""",
          {"w": 8, "wq": 8}, frozen={"wk": "past meets it in Concat"}),
    whole("Expand for rotary positions of grouped queries beside a cache", """(float[2,5,8] x, float[5,1] t,
          float[2,2,p,4] past) => (float[b,t,c] y, float[b,kv,s,d] present)
          <float[8,16] w, float[16,16] wq, float[16,8] wk, float[16,6] v, float[2] f, int64[4] split = {2,5,4,4},
           int64[4] two = {2,5,2,4}, int64[1] at = {2}, int64[5] to = {2,1,2,1,4}, int64[4] flat = {2,4,-1,4},
           int64[3] join = {2,5,16}, int64[3] pair = {5,2,2}, int64[4] wide = {1,1,5,4}> {
            m = Mul(t, f)  c1 = Unsqueeze(m, at)  c2 = Expand(c1, pair)  c3 = Reshape(c2, wide)  c = Cos(c3)
            a = MatMul(x, w)
            q1 = MatMul(a, wq)  q2 = Reshape(q1, split)  q3 = Transpose<perm=[0,2,1,3]>(q2)  q = Mul(q3, c)
            k1 = MatMul(a, wk)  k2 = Reshape(k1, two)    k3 = Transpose<perm=[0,2,1,3]>(k2)  k4 = Mul(k3, c)
            present = Concat<axis=2>(past, k4)
            r1 = Unsqueeze(present, at)  r2 = Expand(r1, to)  k = Reshape(r2, flat)
            kt = Transpose<perm=[0,1,3,2]>(k)  s = MatMul(q, kt)  e = Softmax(s)  o = MatMul(e, k)
            o1 = Transpose<perm=[0,2,1,3]>(o)  b = Reshape(o1, join)  y = MatMul(b, v) }""",
          {"w": 8, "wq": 8}, frozen={"wk": "past meets it in Concat"}),
    token("Expand for grouped queries", """k1 = MatMul(a, wk)  k2 = Reshape(k1, split)  k3 = Unsqueeze(k2, at)
          k4 = Expand(k3, grow)  k = Reshape(k4, heads)  q1 = MatMul(a, wq)  q = Reshape(q1, heads)
          c = Mul(q, k)  b = Reshape(c, join)""", {"w": 8, "wk": 4, "v": 3},
          more="""float[16,8] wk, float[16,16] wq, int64[4] split = {3,5,2,4}, int64[1] at = {3},
          int64[5] grow = {3,5,2,2,4},
          int64[4] heads = {3,5,4,4}, int64[3] join = {3,5,16}"""),
    image("Tile of space", "t = Tile(a, by)  b = Neg(t)", more="int64[4] by = {1,1,2,1}"),
    image("Tile of an activation over space", "m = GlobalAveragePool(a)  e = Tile(m, by)  b = Concat<axis=1>(a, e)",
          more="int64[4] by = {1,1,6,6}", out=32),
    token("Tile of an index over the channels that it gathers", """k = ReduceMax(a, last)  q, i = TopK<axis=1>(k, four)
          j = Tile(i, by)  b = GatherElements<axis=1>(a, j)""",
          more="int64[1] last = {2}, int64[1] four = {4}, int64[3] by = {1,1,16}", opset=20),
    image("Tile of channels", "t = Tile(a, by)  b = Neg(t)", more="int64[4] by = {1,2,1,1}", out=32),
    image("Tile of a stretched axis", "m = GlobalAveragePool(a)  t = Tile(m, by)  b = Add(a, t)",
          more="int64[4] by = {1,1,6,6}"),
    token("Tile of groups", "r = Reshape(a, split)  t = Tile(r, by)  b = Reshape(t, join)", out=32,
          more="int64[4] split = {3,5,4,4}, int64[4] by = {1,1,2,1}, int64[3] join = {3,5,32}"),
    # space and depth
    image("DepthToSpace DCR", "b = DepthToSpace<blocksize=2>(a)", out=4),
    image("DepthToSpace CRD", 'b = DepthToSpace<blocksize=2,mode="CRD">(a)', out=4),
    image("SpaceToDepth", "b = SpaceToDepth<blocksize=2>(a)", out=64),
    image("DepthToSpace there and back", "d = DepthToSpace<blocksize=2>(a)  b = SpaceToDepth<blocksize=2>(d)"),
    image("DepthToSpace written with Reshape",
          """r = Reshape(a, split)  t = Transpose<perm=[0,1,4,2,5,3]>(r)  c = Reshape(t, join)
          b = Conv(c, u)""", {"w": 8, "u": 8, "v": 4},
          more="int64[6] split = {3,4,2,2,6,6}, int64[4] join = {3,4,12,12}, float[16,4,3,3] u"),
    image("DepthToSpace written with Reshape, then a pointwise convolution", """r = Reshape(a, split)
          t = Transpose<perm=[0,1,4,2,5,3]>(r)  b = Reshape(t, join)""", out=4,
          more="int64[6] split = {3,4,2,2,6,6}, int64[4] join = {3,4,12,12}"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_movement(case: Case) -> None:
    check(case)


def test_as_many_repeats_go_from_every_group() -> None:
    """Both query heads of the first group matter least, and still one of each group goes."""
    proto = next(c for c in CASES if c.name == "Expand for grouped queries beside a cache").build()
    weight = next(t for t in proto.graph.initializer if t.name == "wq")
    array = onnx.numpy_helper.to_array(weight).copy()
    array[:, :8] *= 0.01
    weight.CopyFrom(onnx.numpy_helper.from_array(array, "wq"))
    settings = PruneSettings(ratio=0.5, round_to=1, criterion="l1")
    kept = prune(in_memory(proto), settings).model.graph.initializers["wq"].const_value
    assert kept is not None
    assert sorted(np.abs(kept.numpy()).max(axis=0) < 0.1) == [False] * 4 + [True] * 4


@pytest.mark.parametrize(("units", "even"), [([1, 2, 1, 2], True), ([1, 1, 2, 2], True), ([1, 2, 2, 1], False)])
def test_parts_of_an_axis_are_even(units: list[int], *, even: bool) -> None:
    """A batch in front of two heads, behind them, and neither."""
    assert _even(Term((1,), np.array(units)), 1, 2) is even
