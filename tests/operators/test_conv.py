"""Convolutions: plain, grouped, depthwise, transposed, of one to three spatial axes."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from .case import Case, check, image, whole

CASES = (
    image("Conv", "b = Conv<pads=[1,1,1,1]>(a, u)", {"w": 8, "u": 8, "v": 4}, more="float[16,16,3,3] u"),
    image("Conv strided and dilated",
          "c = Conv<strides=[2,2],dilations=[2,2],pads=[2,2,2,2],kernel_shape=[3,3]>(a, u, p)"
          " b = Relu(c)", {"w": 8, "u": 10, "v": 4}, more="float[20,16,3,3] u, float[20] p", out=20),
    image("Conv without padding", 'c = Conv<auto_pad="SAME_UPPER">(a, u) b = Relu(c)', {"w": 8, "u": 8, "v": 4},
          more="float[16,16,3,3] u"),
    image("Conv depthwise", "b = Conv<group=16,pads=[1,1,1,1]>(a, u, p)", more="float[16,1,3,3] u, float[16] p"),
    image("Conv depthwise with multiplier", "b = Conv<group=16,pads=[1,1,1,1]>(a, u)", {"w": 8, "v": 4},
          more="float[32,1,3,3] u", out=32),
    image("Conv grouped", "b = Conv<group=4,pads=[1,1,1,1]>(a, u, p)", {"w": 8, "u": 8, "v": 4},
          more="float[16,4,3,3] u, float[16] p"),
    image("Conv grouped, other widths", "b = Conv<group=2>(a, u)", {"w": 8, "u": 16, "v": 4},
          more="float[32,8,1,1] u", out=32),
    image("Conv grouped between depthwise", "d = Conv<group=16>(a, t) c = Conv<group=4>(d, u) b = Conv<group=16>(c, r)",
          {"w": 8, "u": 8, "v": 4}, more="float[16,1,1,1] t, float[16,4,1,1] u, float[16,1,1,1] r"),
    image("Conv grouped twice in a residual", "c = Conv<group=4>(a, u) b = Add(a, c)",
          {"w": 8, "v": 4}, more="float[16,4,1,1] u"),
    image("Conv grouped two ways", "c = Conv<group=4>(a, u) d = Conv<group=8>(c, t) b = Relu(d)",
          {"w": 8, "u": 8, "t": 8, "v": 4}, more="float[16,4,1,1] u, float[16,2,1,1] t"),
    image("Conv with a standardised weight", "m = ReduceMean<axes=[1,2,3]>(u) c = Sub(u, m) b = Conv(a, c)",
          {"w": 8, "u": 8, "v": 4}, more="float[16,16,1,1] u", opset=17, settings={"simplify": False}),
    image("Conv with a standardised weight, folded", "m = ReduceMean<axes=[1,2,3]>(u) c = Sub(u, m) b = Conv(a, c)",
          {"w": 8, "c": 8, "v": 4}, more="float[16,16,1,1] u", opset=17),
    image("Conv with a weight that another one reads", "c = Conv(a, u) d = Relu(c) b = Conv(d, u)",
          {"w": 8, "u": 8, "u.1": 8, "v": 4}, more="float[16,16,1,1] u"),
    image("Conv with a large weight that another one reads", 'c = Conv<auto_pad="SAME_UPPER">(a, u) d = Relu(c)'
          ' b = Conv<auto_pad="SAME_UPPER">(d, u)', {"w": 8, "v": 4}, more="float[16,16,17,17] u"),
    image("Conv over channels", "p = GlobalAveragePool(a)  r = Squeeze(p, last)  t = Transpose<perm=[0,2,1]>(r)"
          "  c = Conv<pads=[1,1]>(t, u, q)  s = Sigmoid(c)  k = Transpose<perm=[0,2,1]>(s)  g = Unsqueeze(k, last)"
          "  b = Mul(a, g)", more="float[1,1,3] u, float[1] q, int64[1] last = {3}"),
    image("Conv over channels and space, depthwise", "t = Transpose<perm=[0,2,1,3]>(a)"
          "  c = Conv<group=6,pads=[1,1,1,1]>(t, u)  r = Relu(c)  b = Transpose<perm=[0,2,1,3]>(r)",
          more="float[6,1,3,3] u"),
    image("Conv over two axes of channels", "h = MatMul(a, k)  t = Transpose<perm=[0,2,1,3]>(h)"
          "  c = Conv<group=6,pads=[1,1,1,1]>(t, u)  r = Transpose<perm=[0,2,1,3]>(c)  b = MatMul(r, m)",
          {"w": 8, "k": 4, "v": 4}, more="float[6,8] k, float[6,1,3,3] u, float[8,6] m"),
    image("Conv over channels with filters", "t = Transpose<perm=[0,2,1,3]>(a)  c = Conv<pads=[1,1,1,1]>(t, u)"
          "  b = Transpose<perm=[0,2,1,3]>(c)", {"v": 4}, more="float[6,6,3,3] u",
          frozen={"w": "Conv works along this axis as a whole"}),
    image("Conv over rows of channels", "r = Reshape(a, split)  c = Conv<group=4,pads=[1,1]>(r, u)"
          "  b = Reshape(c, join)", more="float[4,1,3] u, int64[3] split = {3,4,-1}, int64[4] join = {3,16,6,6}"),
    whole("Conv of sequences", """(float[3,4,9] x) => (float y) <float[8,4,3] w, float[8] b, float[6,8,3] v> {
          a = Conv(x, w, b)  c = Relu(a)  y = Conv(c, v) }""", {"w": 4}),
    whole("Conv of volumes", """(float[3,2,4,4,4] x) => (float y) <float[8,2,2,2,2] w, float[6,8,1,1,1] v> {
          a = Conv(x, w)  c = Relu(a)  y = Conv(c, v) }""", {"w": 4}),
    whole("Conv with a dynamic batch", """(float[N,4,6,6] x) => (float y) <float[8,4,3,3] w, float[6,8,1,1] v> {
          a = Conv(x, w)  c = Relu(a)  y = Conv(c, v) }""", {"w": 4}),
    image("ConvTranspose", "b = ConvTranspose<strides=[2,2]>(a, u, p)", {"w": 8, "u": 8, "v": 4},
          more="float[16,16,2,2] u, float[16] p"),
    image("ConvTranspose depthwise", "b = ConvTranspose<group=16>(a, u)", more="float[16,1,3,3] u"),
    image("ConvTranspose grouped", "b = ConvTranspose<group=4>(a, u, p)", {"w": 8, "u": 2, "v": 4},
          more="float[16,4,2,2] u, float[16] p"),
    image("DeformConv", "o = Conv<pads=[1,1,1,1]>(x, t)  b = DeformConv<pads=[1,1,1,1]>(a, u, o, p)",
          {"w": 8, "u": 8, "v": 4}, more="float[18,4,3,3] t, float[16,16,3,3] u, float[16] p", opset=22,
          frozen={"t": "DeformConv works along this axis as a whole"}),
    image("DeformConv modulated",
          "o = Conv<pads=[1,1,1,1]>(x, t)  h = Conv<pads=[1,1,1,1]>(x, k)  m = Sigmoid(h)"
          "  b = DeformConv<pads=[1,1,1,1]>(a, u, o, p, m)", {"w": 8, "u": 8, "v": 4}, opset=22,
          more="float[18,4,3,3] t, float[9,4,3,3] k, float[16,16,3,3] u, float[16] p"),
    image("DeformConv with a computed kernel",
          "o = Conv(x, t)  g = ReduceMean(x)  k = Mul(u, g)  h = Sigmoid(a)  b = DeformConv(h, k, o)",
          {"w": 8, "u": 8, "v": 4}, more="float[18,4,3,3] t, float[16,16,3,3] u", opset=22),
    image("DeformConv depthwise", "o = Conv(x, t)  b = DeformConv<group=16>(a, u, o)",
          {"w": 8, "v": 4}, more="float[18,4,3,3] t, float[16,1,3,3] u", opset=22),
    image("DeformConv with a kernel of one", "o = Conv(x, t)  b = DeformConv(a, u, o)",
          {"w": 8, "u": 8, "v": 4}, more="float[2,4,1,1] t, float[16,16,1,1] u", opset=22),
    image("DeformConv with offset groups", "o = Conv(x, t)  b = DeformConv<offset_group=2>(a, u, o)",
          {"w": 8, "u": 8, "v": 4}, more="float[36,4,3,3] t, float[16,16,3,3] u", opset=22),
    image("DeformConv with an offset for each channel", "o = Conv(x, t)  b = DeformConv<offset_group=16>(a, u, o)",
          {"v": 4}, more="float[288,4,3,3] t, float[16,16,3,3] u", opset=22,
          frozen={"w": "has several offset groups"}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_conv(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("Conv depthwise", 8),
        ("Conv depthwise with multiplier", 8),
        ("Conv grouped", 4),
        ("ConvTranspose depthwise", 8),
        ("DeformConv depthwise", 8),
    ],
)
def test_group_attribute_follows(name: str, group: int) -> None:
    case = next(c for c in CASES if c.name == name)
    groups = [n.attributes.get_int("group", 1) for n in case.prune().model.graph]
    assert [g for g in groups if g != 1] == [group]


def test_channels_of_each_group_go_in_equal_numbers() -> None:
    case = next(c for c in CASES if c.name == "Conv grouped")
    graph = case.prune().model.graph
    kernel = graph.initializers["u"].const_value
    assert isinstance(kernel, ir.TensorProtocol)
    assert list(kernel.shape) == [8, 2, 3, 3]
