"""Reductions over channels and over space, searches, and global pooling."""

from __future__ import annotations

import pytest

from .case import Case, check, image, token

ALL = (
    "ReduceL1",
    "ReduceL2",
    "ReduceSum",
    "ReduceSumSquare",
    "ReduceMax",
    "ReduceMin",
    "ReduceLogSumExp",
    "ReduceMean",
)
POSITIVE = "p = Abs(a)  q = Add(p, half)"

CASES = (
    image("ReduceSum over splits", "r = Reshape(a, split) b = ReduceSum<keepdims=0>(r, axis)", out=8,
          more="int64[5] split = {3,2,8,6,6}, int64[1] axis = {1}"),
    image("ReduceSum over splits of what was weighed by split attention",
          """r = Reshape(a, split) g = ReduceSum<keepdims=0>(r, axis) p = GlobalAveragePool(g) e = Conv(p, u)
          f = Relu(e) h = Conv(f, t) k = Reshape(h, split2) m = Softmax<axis=1>(k) j = Mul(r, m)
          b = ReduceSum<keepdims=0>(j, axis)""", {"w": 8, "u": 2, "v": 4}, out=8,
          more="int64[5] split = {3,2,8,6,6}, int64[5] split2 = {3,2,8,1,1}, int64[1] axis = {1}, float[4,8,1,1] u, "
               "float[16,4,1,1] t"),
    # over channels: what is left gates all of them
    *(image(f"{op} over channels", f"r = {op}<keepdims=1>(a, axes)  b = Mul(a, r)",
          more="int64[1] axes = {1}") for op in ALL),
    *(image(f"{op} over channels", f"{POSITIVE}  r = {op}(q, axes)  b = Mul(a, r)",
            more="int64[1] axes = {-3}, float half = {0.5}") for op in ("ReduceLogSum", "ReduceProd")),
    # over space, as an attribute, as an input, with and without the axes kept
    *(image(f"{op} over space", f"r = {op}(a, axes)  b = Mul(a, r)", more="int64[2] axes = {2,3}") for op in ALL),
    *(image(f"{op} over space 11", f"r = {op}<axes=[-2,-1]>(a)  b = Mul(a, r)", opset=11) for op in ALL),
    *(image(f"{op} over space", f"{POSITIVE}  r = {op}<axes=[2,3]>(q)  b = Mul(a, r)", more="float half = {0.5}",
          opset=13)
      for op in ("ReduceLogSum", "ReduceProd")),
    image("ReduceSum over space 13", "r = ReduceSum(a, axes)  b = Mul(a, r)", more="int64[2] axes = {2,3}", opset=13),
    image("ReduceMean, axes dropped", """r = ReduceMean<keepdims=0>(a, axes)  g = Gemm(r, u)  h = Unsqueeze(g, axes)
          b = Mul(a, h)""", more="int64[2] axes = {2,3}, float[16,16] u"),
    image("ReduceMean over everything", "r = ReduceMean(a)  b = Mul(a, r)"),
    image("ReduceMean over nothing", "r = ReduceMean<noop_with_empty_axes=1>(a)  b = Mul(a, r)"),
    image("ReduceMax over channels and height", "r = ReduceMax(a, axes)  b = Add(a, r)", more="int64[2] axes = {1,2}"),
    image("ReduceMax 21 over channels", "r = ReduceMax(a, axes)  b = Add(a, r)", more="int64[1] axes = {1}", opset=21),
    # integers and truth values have neutral elements of their own; all entries are on one side of zero
    *(image(f"{op} of {sign} {kind} over channels",
            f"p = Abs(a)  q = Add(p, half)  s = {change}(q)  i = Cast<to={number}>(s)  r = {op}(i, axes)"
            "  f = Cast<to=1>(r)  b = Mul(a, f)",
            more="int64[1] axes = {1}, float half = {1.5}", opset=21)
      for op, sign, change in (("ReduceMin", "positive", "Identity"), ("ReduceMax", "negative", "Neg"))
      for kind, number in (("int32", 6), ("int64", 7), ("int8", 3))),
    *(image(f"{op} of truth values over channels",
            f"p = Abs(a)  i = {test}(p, half)  r = {op}(i, axes)  f = Cast<to=1>(r)  b = Sub(a, f)",
            more="int64[1] axes = {1}, float half = {1.5}", opset=21)
      for op, test in (("ReduceMin", "Less"), ("ReduceMax", "Greater"))),
    token("ReduceMean over features", "r = ReduceMean(a, axes)  b = Sub(a, r)", more="int64[1] axes = {-1}"),
    token("ReduceMean over features kept", "r = ReduceMean(a, axes)  b = Sub(a, r)", {"v": 3},
          more="int64[1] axes = {-1}",
          settings={"keep_norm_axes": True}, frozen={"w": "ReduceMean normalises along it"}),
    token("ReduceMean in a layer norm of steps", """e = ReduceMean(a, axes)  c = Sub(a, e)  q = Mul(c, c)
          n = ReduceMean(q, axes)  f = Add(n, small)  d = Sqrt(f)  b = Div(c, d)""",
          more="int64[1] axes = {-1}, float small = {0.00001}"),
    token("ReduceMean of a grouped axis", """r = Reshape(a, split)  e = ReduceMean(r, axes)  c = Sub(r, e)
          b = Reshape(c, join)""", more="int64[4] split = {0,0,4,4}, int64[3] join = {0,0,16}, int64[1] axes = {-1}"),
    token("ReduceMax over heads", """r = Reshape(a, split)  e = ReduceMax(r, axes)  c = Sub(r, e)
          b = Reshape(c, join)""", more="int64[4] split = {0,0,4,4}, int64[3] join = {0,0,16}, int64[1] axes = {2}"),
    # searches
    *(image(f"{op} over channels", f"i = {op}<axis=1>(a)  j = Cast<to=1>(i)  b = Mul(a, j)", {"v": 4},
            frozen={"w": f"{op} counts along it"}) for op in ("ArgMax", "ArgMin")),
    *(image(f"{op} over the width",
          f"i = {op}<axis=3,keepdims=0>(a)  j = Cast<to=1>(i)  k = Unsqueeze(j, last)  b = Mul(a, k)",
            more="int64[1] last = {3}") for op in ("ArgMax", "ArgMin")),
    image("TopK over channels", "b, i = TopK<axis=1>(a, k)", {"v": 4}, more="int64[1] k = {16}",
          frozen={"w": "TopK counts along it"}),
    image("TopK over the width", "b, i = TopK(a, k)", more="int64[1] k = {3}"),
    image("TopK 9 over the width", "b, i = TopK<k=3>(a)", opset=9),
    image("CumSum over channels", "b = CumSum(a, axis)", {"v": 4}, more="int64 axis = {1}",
          frozen={"w": "CumSum counts along it"}),
    image("CumSum over the width", "b = CumSum<reverse=1>(a, axis)", more="int64 axis = {-1}"),
    image("CumProd over channels", "b = CumProd(a, axis)", {"v": 4}, more="int64 axis = {1}", opset=26,
          frozen={"w": "CumProd counts along it"}),
    image("CumProd over the width", "b = CumProd(a, axis)", more="int64 axis = {-1}", opset=26),
    # global pooling
    *(image(op, f"g = {op}(a)  b = Mul(a, g)") for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")),
    image("GlobalAveragePool in a squeeze-and-excite", """g = GlobalAveragePool(a)  h = Conv(g, u)  r = Relu(h)
          e = Conv(r, t)  s = Sigmoid(e)  b = Mul(a, s)""", {"w": 8, "u": 2, "v": 4},
                more="float[4,16,1,1] u, float[16,4,1,1] t"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_reduce(case: Case) -> None:
    check(case)
