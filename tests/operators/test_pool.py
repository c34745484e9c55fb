"""Windows and grids over spatial axes: channels pass through."""

from __future__ import annotations

import pytest

from .case import Case, check, image, whole

SIZES = "float[4] scales = {1,1,2,2}, int64[4] sizes = {3,16,12,12}, float none = {}"

CASES = (
    image("Col2Im", "u = Conv<pads=[1,1,1,1]>(a, k)  f = Reshape(u, flat)  b = Col2Im(f, size, block)",
          {"w": 8, "k": 32, "v": 4},
          more="float[64,16,3,3] k, int64[3] flat = {0,64,36}, int64[2] size = {7,7}, int64[2] block = {2,2}"),
    image("MaxPool", "b = MaxPool<kernel_shape=[2,2],strides=[2,2]>(a)"),
    image("MaxPool with ceil", "b = MaxPool<kernel_shape=[3,3],strides=[2,2],ceil_mode=1,pads=[1,1,1,1]>(a)"),
    image("MaxPool whose indices are read", "c, i = MaxPool<kernel_shape=[1,1]>(a)  j = Cast<to=1>(i)  b = Add(c, j)",
          {"v": 4}, frozen={"w": "its indices count over all channels"}),
    image("AveragePool", "b = AveragePool<kernel_shape=[3,3],pads=[1,1,1,1],count_include_pad=1>(a)"),
    image("AveragePool of windows along one axis, channels last", """t = Transpose<perm=[0,2,3,1]>(a)
          p = AveragePool<kernel_shape=[2,1],strides=[2,1]>(t)  b = Transpose<perm=[0,3,1,2]>(p)"""),
    image("MaxPool of windows of one position that leave some out", """t = Transpose<perm=[0,2,3,1]>(a)
          p = MaxPool<kernel_shape=[2,1],strides=[1,2]>(t)  b = Transpose<perm=[0,3,1,2]>(p)""", {"v": 4}, out=8,
          frozen={"w": "MaxPool works along this axis as a whole"}),
    image("LpPool", "b = LpPool<kernel_shape=[2,2],p=2>(a)"),
    image("MaxUnpool", """p, i = MaxPool<kernel_shape=[2,2],strides=[2,2]>(a)  h = Conv(p, u)
          b = MaxUnpool<kernel_shape=[2,2],strides=[2,2]>(h, i)""", more="float[16,16,1,1] u"),
    image("MaxUnpool to a size", """p, i = MaxPool<kernel_shape=[2,2],strides=[2,2]>(a)
          b = MaxUnpool<kernel_shape=[2,2],strides=[2,2]>(p, i, size)""", more="int64[4] size = {3,16,6,6}"),
    image("MaxUnpool into another space", """p, i = MaxPool<kernel_shape=[2,2],strides=[2,2]>(a)
          b = MaxUnpool<kernel_shape=[2,2],strides=[2,2]>(p, i, size)""", {"v": 4},
          more="int64[4] size = {3,16,7,7}", frozen={"w": "puts values into [16, 7, 7] that were found in [16, 6, 6]"}),
    image("MaxUnpool by indices that were moved", """p, i = MaxPool<kernel_shape=[2,2],strides=[2,2]>(a)
          k = Add(i, nought)  b = MaxUnpool<kernel_shape=[2,2],strides=[2,2]>(p, k)""", {"v": 4},
          more="int64 nought = {0}", frozen={"w": "its indices"}),
    image("Resize by scales", 'b = Resize<mode="nearest">(a, , scales)', more="float[4] scales = {1,1,2,2}"),
    image("Resize to sizes", 'b = Resize<mode="linear">(a, , , sizes)', more="int64[4] sizes = {3,16,12,9}"),
    image("Resize to sizes of some axes", 'b = Resize<mode="linear",axes=[2,3]>(a, , , sizes)',
          more="int64[2] sizes = {12,9}"),
    image("Resize to sizes of two axes, channels named", 'b = Resize<mode="nearest",axes=[1,2,3]>(a, , , sizes)',
          more="int64[3] sizes = {16,12,9}"),
    image("Resize 10", "b = Resize(a, scales)", opset=10, more="float[4] scales = {1,1,2,2}"),
    image("Resize 11", 'b = Resize<mode="cubic">(a, roi, scales)', opset=11,
          more="float[4] scales = {1,1,2,2}, float[0] roi = {}"),
    image("Resize 11 to sizes", "b = Resize(a, roi, scales, sizes)", opset=11,
          more="float[0] scales = {}, float[0] roi = {}, int64[4] sizes = {3,16,12,12}"),
    image("Resize of channels", 'b = Resize<mode="nearest">(a, , scales)', {"v": 4},
          more="float[4] scales = {1,2,1,1}", out=32,
          frozen={"w": "Resize resamples it"}),
    image("Resize to another image",
          """c = Conv(x, u)  p = Shape<start=2>(c)  n = Shape<end=2>(a)  t = Concat<axis=0>(n, p)
          r = Resize<mode="nearest">(a, , , t)  b = Concat<axis=1>(c, r)""", {"w": 8, "u": 8, "v": 4},
          more="float[16,4,1,1] u", out=32, settings={"simplify": False}),
    image("Upsample 9", "b = Upsample(a, scales)", opset=9, more="float[4] scales = {1,1,2,2}"),
    image("Upsample 7", "b = Upsample<scales=[1.0,1.0,2.0,2.0]>(a)", opset=8),
    image("GridSample", "b = GridSample(a, grid)", more="float[3,5,4,2] grid"),
    whole("GridSample of heads around the coordinates of a box", """(float[1,6,8] x, float[1,16,8] m) => (float y)
          <float[8,16] w, float[8,12] u, float[8,2] k, float[8,6] q, float[16,4] e, int64[1] three = {3},
          int64[4] heads = {1,16,2,8}, int64[4] space = {2,8,4,4}, int64[5] offsets = {1,6,2,3,2},
          int64[5] boxes = {1,6,1,1,2}, int64[4] points = {2,6,3,2}, int64[4] parts = {1,6,2,3},
          int64[4] shares = {2,1,6,3}, int64[3] joined = {1,16,6}> {
          v = MatMul(m, w)  vh = Reshape(v, heads)  vt = Transpose<perm=[0,2,3,1]>(vh)  vs = Reshape(vt, space)
          o = MatMul(x, u)  oh = Reshape(o, offsets)  c = MatMul(x, k)  ch = Reshape(c, boxes)
          g = Add(oh, ch)  gt = Transpose<perm=[0,2,1,3,4]>(g)  gs = Reshape(gt, points)  s = GridSample(vs, gs)
          a = MatMul(x, q)  ah = Reshape(a, parts)  as = Softmax(ah)  at = Transpose<perm=[0,2,1,3]>(as)
          aw = Reshape(at, shares)  p = Mul(s, aw)  r = ReduceSum<keepdims=0>(p, three)  j = Reshape(r, joined)
          t = Transpose<perm=[0,2,1]>(j)  y = MatMul(t, e) }""", {"w": 8}, opset=20,
          frozen={"e": "is an output"}),
    image("GridSample whose grid is learned", """g = Conv(a, u)  t = Transpose<perm=[0,2,3,1]>(g)  k = Tanh(t)
          b = GridSample(a, k)""", {"w": 8, "v": 4}, more="float[2,16,1,1] u", frozen={"u": "works along this axis"},
                opset=20),
    image("RoiAlign", "b = RoiAlign<output_height=3,output_width=3>(a, boxes, index)",
          more="float[2,4] boxes = {0,0,4,4,1,1,5,5}, int64[2] index = {0,2}"),
    image("MaxRoiPool", "b = MaxRoiPool<pooled_shape=[2,2]>(a, boxes)",
          more="float[2,5] boxes = {0,0,0,4,4,2,1,1,5,5}"),
    whole("MaxPool with a dynamic size", """(float[N,4,H,W] x) => (float y) <float[8,4,3,3] w, float[6,8,1,1] v> {
          a = Conv(x, w)  c = MaxPool<kernel_shape=[2,2]>(a)  y = Conv(c, v) }""", {"w": 4}),
    whole("Resize with a dynamic size", """(float[N,4,H,W] x) => (float y)
          <float[8,4,3,3] w, float[6,8,1,1] v, float[4] scales = {1,1,2,2}> {
          a = Conv(x, w)  c = Resize<mode="linear">(a, , scales)  y = Conv(c, v) }""", {"w": 4}),
    whole("Resize to the input's size", """(float[N,4,H,W] x) => (float y)
          <float[8,4,3,3] w, float[6,8,1,1] v, int64[1] two = {2}, int64[1] four = {4}> {
          a = Conv<strides=[2,2],pads=[1,1,1,1]>(x, w)  f = Shape(x)  hw = Slice(f, two, four)  g = Shape(a)
          zero = Constant<value_ints=[0]>()  nc = Slice(g, zero, two)  to = Concat<axis=0>(nc, hw)
          c = Resize<mode="linear">(a, , , to)  y = Conv(c, v) }""", {"w": 4}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_pool(case: Case) -> None:
    check(case)
