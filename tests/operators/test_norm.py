"""Normalisations: per channel, over groups, over channels with statistics of the kept ones, and softmax."""

from __future__ import annotations

import pytest

from .case import Case, check, image, token, whole

KEEP = {"keep_norm_axes": True}

CASES = (
    image("BatchNormalization", "b = BatchNormalization(a, s, p, q, s2)",
          more="float[16] s, float[16] p, float[16] q, float[16] s2"),
    image("BatchNormalization 9", "b = BatchNormalization(a, s, p, q, s2)", opset=9,
          more="float[16] s, float[16] p, float[16] q, float[16] s2"),
    token("BatchNormalization of tokens",
          "t = Transpose<perm=[0,2,1]>(a) n = BatchNormalization(t, s, p, q, s2) b = Transpose<perm=[0,2,1]>(n)",
          more="float[16] s, float[16] p, float[16] q, float[16] s2"),
    whole("BatchNormalization whose statistics are outputs",
          """(float[3,4,6,6] x) => (float y, float[16] m, float[16] t)
          <float[16,4,3,3] w, float[16] s, float[16] p, float[16] q, float[16] s2, float[8,16,1,1] v,
                float[2,8,1,1] head> {
          a = Conv(x, w)  b, m, t = BatchNormalization<training_mode=1>(a, s, p, q, s2)  z = Conv(b, v)
                y = Conv(z, head) }""", {"v": 4}, frozen={"w": "is an output of the model"}),
    image("InstanceNormalization", "b = InstanceNormalization(a, s, p)", more="float[16] s, float[16] p"),
    image("InstanceNormalization as GroupNorm", """r = Reshape(a, split)  n = InstanceNormalization(r, s, p)
          c = Reshape(n, join)  d = Mul(c, s2)  b = Add(d, p2)""",
          more="float[4] s, float[4] p, float[16,1,1] s2, float[16,1,1] p2,"
          "int64[3] split = {0,4,-1}, int64[4] join = {0,16,6,6}"),
    image("InstanceNormalization, norm axes kept", "b = InstanceNormalization(a, s, p)",
          more="float[16] s, float[16] p",
          settings=KEEP),
    image("GroupNormalization by group", "b = GroupNormalization<num_groups=4>(a, s, p)", more="float[4] s, float[4] p",
          checked=False),
    image("GroupNormalization by channel", "b = GroupNormalization<num_groups=4>(a, s, p)",
          more="float[16] s, float[16] p", opset=21),
    image("GroupNormalization of one group", "b = GroupNormalization<num_groups=1>(a, s, p)",
          more="float[16] s, float[16] p", opset=21),
    image("GroupNormalization of single channels", "b = GroupNormalization<num_groups=16>(a, s, p)",
          more="float[16] s, float[16] p", opset=21),
    image("GroupNormalization, norm axes kept", "b = GroupNormalization<num_groups=4>(a, s, p)", {"v": 4},
          more="float[16] s, float[16] p", opset=21, settings=KEEP,
          frozen={"w": "GroupNormalization normalises along it"}),
    token("LayerNormalization", "b = LayerNormalization(a, s, p)", more="float[16] s, float[16] p"),
    token("LayerNormalization without bias", "b = LayerNormalization<epsilon=0.01>(a, s)", more="float[16] s"),
    token("LayerNormalization, norm axes kept", "b = LayerNormalization(a, s, p)", {"v": 3}, settings=KEEP,
          more="float[16] s, float[16] p", frozen={"w": "LayerNormalization normalises along it"}),
    token("LayerNormalization over tokens too", "b = LayerNormalization<axis=1>(a, s, p)",
          more="float[5,16] s, float[5,16] p"),
    image("LayerNormalization of an image", """t = Transpose<perm=[0,2,3,1]>(a)  n = LayerNormalization(t, s, p)
          b = Transpose<perm=[0,3,1,2]>(n)""", more="float[16] s, float[16] p"),
    image("LayerNormalization over the width", "b = LayerNormalization(a, s)", more="float[6] s"),
    token("LayerNormalization whose mean is read", "n, mean, deviation = LayerNormalization(a, s)  b = Add(n, mean)",
          {"v": 3}, more="float[16] s", frozen={"w": "its statistics are read"}),
    token("LayerNormalization in a residual", """n = LayerNormalization(a, s, p)  h = MatMul(n, u)  g = Relu(h)
          r = MatMul(g, t)  b = Add(a, r)""", {"w": 8, "u": 10, "v": 3},
          more="float[16] s, float[16] p, float[16,20] u, float[20,16] t"),
    token("RMSNormalization", "b = RMSNormalization(a, s)", more="float[16] s", opset=23),
    token("RMSNormalization of images", "c = RMSNormalization<axis=-2>(a, s) b = Neg(c)", more="float[5,16] s",
          opset=23),
    token("LpNormalization over features", "b = LpNormalization<axis=-1,p=2>(a)"),
    token("LpNormalization by sums of magnitudes", "b = LpNormalization<axis=2,p=1>(a)"),
    token("LpNormalization over tokens", "b = LpNormalization<axis=1>(a)"),
    token("LpNormalization, norm axes kept", "b = LpNormalization(a)", {"v": 3}, settings=KEEP,
          frozen={"w": "LpNormalization normalises along it"}),
    image("MeanVarianceNormalization", "b = MeanVarianceNormalization(a)", checked=False),
    image("MeanVarianceNormalization over channels", "b = MeanVarianceNormalization<axes=[1,2,3]>(a)"),
    image("MeanVarianceNormalization of small numbers",
          "s = Mul(a, tiny)  b = MeanVarianceNormalization<axes=[1,2,3]>(s)", more="float tiny = {0.001}"),
    image("MeanVarianceNormalization over negative axes", "b = MeanVarianceNormalization<axes=[-3]>(a)"),
    image("MeanVarianceNormalization of rows that are all zero",
          "s = Sub(a, two)  r = Relu(s)  b = MeanVarianceNormalization<axes=[1]>(r)", more="float two = {2.0}"),
    # Each of five rows loses features of its own, and behind that nothing says which of them stand in one column.
    *(whole(f"{op} over rows that keep different features", f"""(float[3,8] x) => (float[n,c] y) <float[8,80] w,
            float[80,6] v, int64[3] rows = {{3,5,16}}, int64[2] flat = {{3,80}}> {{
            a = MatMul(x, w)  c = Reshape(a, rows)  b = {op}<{axis}>(c)  f = Reshape(b, flat)  y = MatMul(f, v) }}""",
            {"w": 40}) for op, axis in (("MeanVarianceNormalization", "axes=[-2]"), ("LpNormalization", "axis=1"))),
    whole("GroupNormalization of channels that keep different positions", """(float[3,8] x) => (float[n,c] y)
          <float[8,64] w, float[4] s, float[4] p, float[64,6] v, int64[4] split = {3,4,4,4}, int64[2] flat = {3,64}> {
          a = MatMul(x, w)  c = Reshape(a, split)  b = GroupNormalization<num_groups=2>(c, s, p)  f = Reshape(b, flat)
          y = MatMul(f, v) }""", {"w": 32}, opset=21),
    image("MeanVarianceNormalization over negative axes, norm axes kept", "b = MeanVarianceNormalization<axes=[-3]>(a)",
          {"v": 4}, settings=KEEP, frozen={"w": "MeanVarianceNormalization normalises along it"}),
    image("LRN", "b = LRN<alpha=0.5,size=3>(a)"),
    image("LRN before pads were an input", "b = LRN<alpha=0.5,size=5>(a)", opset=10),
    *(image(f"{op} over channels", f"b = {op}<axis=1>(a)", {"v": 4}, frozen={"w": f"{op} runs over it"})
      for op in ("Softmax", "LogSoftmax", "Hardmax")),
    *(image(f"{op} over the width", f"b = {op}<axis=-1>(a)") for op in ("Softmax", "LogSoftmax", "Hardmax")),
    image("Softmax 11 flattens", "b = Softmax<axis=2>(a)", opset=11),
    image("Softmax 11 flattens channels", "b = Softmax(a)", {"v": 4}, opset=11, frozen={"w": "Softmax runs over it"}),
    image("Softmax over heads of channels", """r = Reshape(a, split)  p = Softmax<axis=1>(r)  b = Reshape(p, join)""",
          more="int64[5] split = {0,4,4,6,6}, int64[4] join = {0,16,6,6}"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_norm(case: Case) -> None:
    check(case)


MASKED = [c for c in CASES if c.name in (
    "LayerNormalization", "GroupNormalization by channel", "MeanVarianceNormalization over channels",
    "RMSNormalization", "InstanceNormalization as GroupNorm")]  # fmt: skip


@pytest.mark.parametrize("case", MASKED, ids=repr)
def test_statistics_run_over_kept_channels(case: Case) -> None:
    assert check(case).masked_statistics


def test_batch_norm_needs_no_masked_statistics() -> None:
    assert not check(CASES[0]).masked_statistics
