"""Shape arithmetic: it keeps its values, or follows the planned shapes where a size is made of it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune
from tests.models import MERGED_HEADS, in_memory, model

from .case import Case, check, image, whole

RAW = {"simplify": False}

CASES = (
    # the scale keeps its value although the axis shrinks
    *(image(f"Shape in a scale{word}",
          """f = Shape(a)  c = Gather(f, one)  d = Cast<to=1>(c)  q = Sqrt(d)  b = Div(a, q)""",
            more="int64 one = {1}", settings=own) for word, own in ((" folded", {}), ("", RAW))),
    image("Shape of some axes", "f = Shape<start=1,end=2>(a)  d = Cast<to=1>(f)  b = Div(a, d)", settings=RAW),
    image("Shape of the last axes",
          "f = Shape<start=-3>(a)  n = Shape<end=1>(a)  t = Concat<axis=0>(n, f)  r = Reshape(a, t)"
          " b = Neg(r)", settings=RAW),
    whole("Shape with a dynamic batch", """(float[N,4,6,6] x) => (float y) <float[8,4,3,3] w, float[6,8,1,1] v> {
          a = Conv(x, w)  f = Shape(a)  d = Cast<to=1>(f)  m = ReduceMean(d)  c = Div(a, m)  y = Conv(c, v) }""",
                {"w": 4}),
    whole("Shape vector with a dynamic batch in a Reshape", """(float[N,4,6,6] x) => (float y)
          <float[8,4,3,3] w, float[6,8,1,1] v> {
          a = Conv(x, w)  f = Shape(a)  n = Neg(a)  r = Reshape(n, f)  y = Conv(r, v) }""", {"w": 4}),
    *(image(f"Size{word}", "i = Size(a)  d = Cast<to=1>(i)  l = Log(d)  b = Div(a, l)", settings=own)
      for word, own in ((" folded", {}), ("", RAW))),
    whole("Size with a dynamic batch",
          """(float[N,4,6,6] x) => (float y) <float[8,4,3,3] w, float[6,8,1,1] v, float[8,6,1,1] u> {
          a = Conv(x, w)  z = Size(a)  d = Cast<to=1>(z)  l = Log(d)  c = Div(a, l)  e = Conv(c, v)  r = Relu(e)
                y = Conv(r, u) }""",
          {"v": 3}, frozen={"w": "Size counts its elements at run time"}),
    image("ConstantOfShape", "k = ConstantOfShape<value = float[1] {2.0}>(to)  b = Mul(a, k)",
          more="int64[4] to = {3,16,6,6}", settings=RAW),
    image("ConstantOfShape of another's shape", "f = Shape(a)  k = ConstantOfShape(f)  b = Concat<axis=1>(a, k)",
          {"w": 8, "v": 8, "v#2": 4}, out=32, settings=RAW),
    whole("ConstantOfShape with a dynamic batch",
          """(float[N,4,6,6] x) => (float y) <float[8,4,3,3] w, float[6,8,1,1] v> {
          a = Conv(x, w)  f = Shape(a)  k = ConstantOfShape<value = float[1] {0.5}>(f)  c = Sub(a, k)
                y = Conv(c, v) }""", {"w": 4}),
    whole("ConstantOfShape as the states of a recurrent layer", """(float[5,N,8] x) => (float y)
          <float[1,64,8] u, float[1,64,16] t, float[16,6] v, int64[1] one = {1}, int64[1] two = {2},
                int64[1] ends = {1},
           int64[1] wide = {16}, int64[1] zero = {0}> {
          f = Shape(x)  n = Slice(f, one, two)  to = Concat<axis=0>(ends, n, wide)  k = ConstantOfShape(to)
          all, last, cell = LSTM<hidden_size=16>(x, u, t, , , k, k)  q = Squeeze(all, one)  y = MatMul(q, v) }""",
          {"u": 32}),
)  # fmt: skip


PART = MERGED_HEADS.replace("f = Shape(o)", "").replace("m = Gather(f, zero)", "m = Shape<end=1>(o)")
FILLED = "g = Shape(s)  c = ConstantOfShape<value = float[1] {0.5}>(g)  e = Mul(s, c)  p = Softmax(e)"
MERGED = {"whole": MERGED_HEADS, "part": PART, "filled": MERGED_HEADS.replace("p = Softmax(s)", FILLED)}


@pytest.mark.parametrize("name", MERGED)
@pytest.mark.parametrize("attention", ["heads", "dims"])
def test_batch_times_heads_at_other_batches(attention: str, name: str) -> None:
    """An axis that both depends on the batch and loses heads; the proof runs other batches."""
    settings = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "attention": attention})
    try:
        proto = ir.to_proto(prune(in_memory(model(MERGED[name])), settings).model)
    except NothingToPrune:
        return
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 7):
        (found,) = session.run(None, {"x": np.ones((batch, 5, 8), np.float32)})
        assert found.shape == (batch, 5, 6)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_shape(case: Case) -> None:
    check(case)


def test_sizes_that_are_outputs_stay() -> None:
    """Outputs are users, too: a caller is told the size that the original has."""
    text = """(float[n,4] x) => (float[n,3] y, int64[2] s) <float[4,8] w, float[8,3] v> {
        a = MatMul(x, w)  b = Relu(a)  s = Shape(b)  y = MatMul(b, v) }"""
    result = prune(in_memory(model(text)), PruneSettings(ratio=0.5, round_to=1))
    session = ort.InferenceSession(ir.to_proto(result.model).SerializeToString(), providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["y", "s"]
    assert session.run(["s"], {"x": np.ones((5, 4), np.float32)})[0].tolist() == [5, 8]
    assert sum(group.removed for group in result.report.groups) == 4
