"""Operators that pick positions: what is left is picked from what is left."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from compressor.channels.channel_mask import ChannelMask
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.operators.indexing import slice_positions, slice_range
from compressor.operators.repair import Repairer
from compressor.pruning.cut.analysis import analyse
from tests.models import in_memory, model

from .case import Case, check, image, token, whole

CASES = (
    token("Gather by a sum of constants",
          "i = Add(p, r)  g = Gather(t, i)  h = ReduceMean<keepdims=0>(g, zero)  b = Add(a, h)",
          {"w": 8, "v": 3, "t": 4},  # of t, half of the rows that nobody picks
          more="int64[5,1] p = {0,1,2,3,4}, int64[1,5] r = {5,4,3,2,1}, float[16,16] t, int64[1] zero = {0}",
          settings={"simplify": False}),
    # Slice
    image("Slice of space", "b = Slice(a, from, to, axes)",
          more="int64[2] from = {1,0}, int64[2] to = {5,9223372036854775807}, int64[2] axes = {2,3}"),
    image("Slice of channels", "b = Slice(a, from, to, axes)", {"w": 2, "w#2": 6, "v": 4}, out=12,
          more="int64[1] from = {2}, int64[1] to = {-2}, int64[1] axes = {1}"),
    image("Slice of every second channel", "b = Slice(a, from, to, axes, step)", {"w": 4, "w#2": 4, "v": 4}, out=8,
          more="int64[1] from = {0}, int64[1] to = {16}, int64[1] axes = {-3}, int64[1] step = {2}"),
    image("Slice reversed", "b = Slice(a, from, to, axes, step)",
          more="int64[1] from = {-1}, int64[1] to = {-9223372036854775808}, int64[1] axes = {1}, int64[1] step = {-1}"),
    image("Slice backwards from below the first", "c = Slice(a, from, to, axes, step)  b = Concat<axis=1>(a, c)",
          more="int64[1] from = {-100}, int64[1] to = {-1000}, int64[1] axes = {1}, int64[1] step = {-1}", out=17),
    image("Slice without axes", "b = Slice(a, from, to)", {"w": 4, "w#2": 4, "v": 4},
          more="int64[2] from = {0,8}, int64[2] to = {3,16}", out=8),
    image("Slice 9", "b = Slice<starts=[8],ends=[16],axes=[1]>(a)", {"w": 4, "w#2": 4, "v": 4}, opset=9, out=8),
    image("Slice 9 without axes", "b = Slice<starts=[0,8],ends=[3,100]>(a)", {"w": 4, "w#2": 4, "v": 4}, opset=9,
          out=8),
    image("Slice into halves that are added",
          "c = Slice(a, zero, eight, one)  d = Slice(a, eight, end, one)  b = Add(c, d)",
          {"w": 8, "v": 4}, more="int64[1] zero = {0}, int64[1] one = {1}, int64[1] eight = {8}, int64[1] end = {16}",
          out=8),
    token("Slice of a rotation", """c = Slice(a, zero, eight, last)  d = Slice(a, eight, end, last)  n = Neg(d)
          r = Concat<axis=-1>(n, c)  b = Add(a, r)""",
          more="int64[1] zero = {0}, int64[1] last = {-1}, int64[1] eight = {8}, int64[1] end = {16}"),
    whole("Slice at run time", """(float[N,T,8] x) => (float y)
          <float[8,16] w, float[16,6] v, float[1,64,16] p, int64[1] zero = {0}, int64[1] one = {1},
                int64[1] two = {2}> {
          a = MatMul(x, w)  f = Shape(a)  t = Slice(f, one, two)  q = Slice(p, zero, t, one)  c = Add(a, q)
                y = MatMul(c, v) }""",
          {"w": 8}),
    # Split
    image("Split", "c, d = Split<axis=1>(a, sizes)  b = Concat<axis=1>(d, c)", {"w": 8, "v": 4},
          more="int64[2] sizes = {6,10}"),
    image("Split 11", "c, d = Split<axis=1,split=[6,10]>(a)  b = Concat<axis=1>(d, c)", {"w": 8, "v": 4}, opset=11),
    image("Split 11 in equal parts", "c, d = Split<axis=1>(a)  b = Mul(c, d)", opset=11, out=8),
    image("Split 13 in equal parts", "c, d = Split<axis=1>(a)  b = Mul(c, d)", opset=13, out=8),
    image("Split 18 in equal parts", "c, d = Split<axis=-3,num_outputs=2>(a)  b = Mul(c, d)", opset=18, out=8),
    image("Split 18 in unequal parts", "c, d, e = Split<axis=1,num_outputs=3>(a)  b = Concat<axis=1>(e, d, c)",
          opset=18),
    image("Split of space", "c, d = Split<axis=2,num_outputs=2>(a)  b = Mul(c, d)"),
    token("Split of queries, keys and values", """h = MatMul(a, u)  q, k, e = Split<axis=-1,num_outputs=3>(h)
          t = Transpose<perm=[0,2,1]>(k)  s = MatMul(q, t)  p = Softmax(s)  b = MatMul(p, e)""",
          {"w": 8, "u": 16, "u#2": 8, "v": 3}, more="float[16,48] u"),
    # Gather
    image("Gather of channels", "b = Gather<axis=1>(a, at)", {"w": 2, "w#2": 6, "v": 4},
          more="int64[4] at = {3,0,-1,7}", out=4),
    image("Gather that repeats channels", "b = Gather<axis=1>(a, at)", {"w": 1, "w#2": 7, "v": 4},
          more="int64[5] at = {3,0,3,3,0}", out=5),
    image("Gather one channel", "c = Gather<axis=1>(a, at)  d = Unsqueeze(c, one)  b = Mul(a, d)",
          {"w": 8, "v": 4}, more="int64 at = {5}, int64[1] one = {1}"),
    image("Gather with an index of two axes", "c = Gather<axis=1>(a, at)  b = Reshape(c, to)", {"w": 2, "w#2": 6,
          "v": 4},
          more="int64[2,2] at = {3,0,-1,7}, int64[4] to = {3,4,6,6}", out=4),
    image("Gather of rows", "b = Gather<axis=2>(a, at)", more="int64[4] at = {3,0,-1,2}"),
    image("Gather at run time",
          "m = ArgMax<axis=1>(x)  f = Reshape(m, all)  c = Gather<axis=2>(a, f)  b = MaxPool<kernel_shape=[9,1]>(c)",
          more="int64[1] all = {-1}"),
    whole("Gather from a table", """(int64[N,T] i) => (float y) <float[20,16] w, float[16,6] v, float[16] s> {
          e = Gather(w, i)  c = Mul(e, s)  y = MatMul(c, v) }""", {"w": 8}),
    whole("Gather from a tied table",
          """(int64[3,5] i) => (float y) <float[4200,16] w, float[16,16] u, int64[1] one = {1}> {
          e = Gather(w, i)  c = MatMul(e, u)  t = Transpose(w)  l = MatMul(c, t)  y = ReduceMax(l, one) }""", {"w": 8}),
    # element-wise and n-dimensional
    token("Compress along the sequence", "b = Compress<axis=1>(a, held)", more="bool[5] held = {1,0,1,1,0}"),
    token("Compress of channels", "b = Compress<axis=2>(a, held)", {"v": 3}, out=13,
          more="bool[16] held = {1,0,1,1,0,1,1,1,1,1,0,1,1,1,1,1}", frozen={"w": "works along this axis"}),
    token("Compress of everything", "c = Compress(a, held)  e = ReduceMean<keepdims=0>(c)  b = Add(a, e)", {"v": 3},
          more="bool[4] held = {1,0,1,1}", frozen={"w": "picks of all axes at once"}),
    token("ReverseSequence", "b = ReverseSequence<batch_axis=0,time_axis=1>(a, long)",
          more="int64[3] long = {5,2,3}"),
    token("TensorScatter", "b = TensorScatter<axis=1>(a, new, at)", opset=24,
          more="float[3,2,16] new, int64[3] at = {0,1,2}"),
    token("TensorScatter of channels", "b = TensorScatter<axis=2>(a, new)", {"v": 3}, opset=24,
          more="float[3,5,2] new", frozen={"w": "works along this axis"}),
    image("Scatter", "i = ArgMax<axis=3>(a)  n = ReduceMax<axes=[3]>(a)  b = Scatter<axis=3>(a, i, n)", opset=10),
    *(token(f"{name} of the first channels alone", f"b = {name}<axis=1>(a, at, new)", {"v": 3}, opset=opset,
            frozen={"w": "works along this axis"}, more="int64[3,1,2] at = {1,4,0,3,2,2}, float[3,1,2] new")
      for name, opset in (("Scatter", 10), ("ScatterElements", 18))),
    token("GatherElements of the first channels alone", "c = GatherElements<axis=1>(a, at)  b = MatMul(c, u)",
          {"u": 8, "v": 3}, frozen={"w": "works along this axis"},
          more="int64[3,1,2] at = {1,4,0,3,2,2}, float[2,16] u"),
    image("GatherElements along the width", "i = ArgMax<axis=3>(a)  b = GatherElements<axis=3>(a, i)", {"w": 8,
          "v": 4}),
    image("GatherElements along channels", "i = ArgMax<axis=3>(x)  c = GatherElements<axis=1>(a, j)  b = Conv(c, u)",
          {"v": 4, "u": 8},
          more="int64[3,2,6,6] j = {" + ",".join(str(k % 4) for k in range(216)) + "}, float[16,2,1,1] u",
          frozen={"w": "works along this axis"}),
    image("ScatterElements along the width",
          "i = ArgMax<axis=3>(a)  n = ReduceMax(a, last)  b = ScatterElements<axis=3>(a, i, n)",
          more="int64[1] last = {3}"),
    image("ScatterElements along channels",
          "i = ArgMax<axis=3>(a)  n = ReduceMax(a, last)  b = ScatterElements<axis=1>(a, i, n)",
          {"v": 4}, more="int64[1] last = {3}", frozen={"w": "works along this axis"}),
    image("GatherND over batch and channels", "c = GatherND(a, at)  d = Unsqueeze(c, one)  b = Mul(a, d)", {"v": 4},
          more="int64[3,2] at = {0,1,1,5,2,9}, int64[1] one = {1}", frozen={"w": "GatherND picks along it"}),
    token("GatherND of tokens", "c = GatherND(a, at)  d = Unsqueeze(c, one)  b = Add(a, d)",
          more="int64[3,2] at = {0,1,1,4,2,0}, int64[1] one = {1}"),
    token("GatherND in batches", "c = GatherND<batch_dims=1>(a, at)  d = Unsqueeze(c, one)  b = Add(a, d)",
          more="int64[3,1] at = {1,4,0}, int64[1] one = {1}"),
    token("ScatterND of tokens", "b = ScatterND(a, at, p)", more="int64[2,2] at = {0,1,2,4}, float[2,16] p"),
    token("ScatterND of activations", "n = Neg(a)  c = GatherND(n, at)  b = ScatterND(a, at, c)",
          more="int64[2,2] at = {0,1,2,4}"),
    token("ScatterND of single features", "b = ScatterND(a, at, p)", {"v": 3},
          more="int64[2,3] at = {0,1,3,2,4,7}, float[2] p",
          frozen={"w": "ScatterND writes along it"}),
    whole("ScatterND into zeros made at run time", """(float[n,8] x) => (float y)
        <float[8,16] w, float[16,6] v, float[6,2] head, int64[2] from = {0,0}, int64[2,1] to = {0,0}> {
            a = MatMul(x, w)  s = Shape(a)  o = ConstantOfShape(s)  c = Gather(a, from)
            b = ScatterND<reduction="add">(o, to, c)  z = MatMul(b, v)  y = MatMul(z, head) }""", {"w": 8, "v": 3}),
    whole("ScatterND of zeros into zeros, and of activations into these", """(float[n,8] x) => (float y)
        <float[8,16] w, float[16,6] v, float[6,2] head, int64[2] from = {0,0}, int64[2,1] to = {0,0}> {
            a = MatMul(x, w)  s = Shape(a)  o = ConstantOfShape(s)  k = Gather(o, from)  p = ScatterND(o, to, k)
            c = Gather(a, from)  b = ScatterND(p, to, c)  z = MatMul(b, v)  y = MatMul(z, head) }""",
          {"w": 8, "v": 3}),
    whole("ScatterND of one number, to positions that are spread", """(float[48,8] x) => (float y)
        <float[8,16] w, float[16,48] v, float[48,2] head, int64[2] square = {40,40}, int64[1] last = {-1},
         int64[2] all = {48,48}, int64[40,1] rows = {%s}, int64[40] columns = {%s}> {
            a = MatMul(x, w)  z = MatMul(a, v)  o = ConstantOfShape(all)  k = ConstantOfShape(square)
            r = Expand(rows, square)  c = Expand(columns, square)  r1 = Unsqueeze(r, last)  c1 = Unsqueeze(c, last)
            at = Concat<axis=-1>(r1, c1)  p = ScatterND(o, at, k)  q = Add(z, p)  y = MatMul(q, head) }"""
          % ((",".join(map(str, range(40))),) * 2),
          {"w": 8, "v": 24}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_indexing(case: Case) -> None:
    check(case)


def test_a_slice_takes_what_onnx_runtime_takes() -> None:
    """Every start and end from far below to far above an axis of five, forwards and backwards."""
    proto = model("""(float[5] x, int64[1] from, int64[1] to, int64[1] step) => (float[n] y) <int64[1] axis = {0}> {
        y = Slice(x, from, to, axis, step) }""")
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for start, end, step in product(range(-8, 9), range(-8, 9), (-3, -2, -1, 1, 2, 3)):
        bounds = {name: np.asarray([n], np.int64) for name, n in (("from", start), ("to", end), ("step", step))}
        (found,) = session.run(None, {"x": np.arange(5, dtype=np.float32), **bounds})
        assert slice_range(5, start, end, step).tolist() == np.asarray(found).tolist(), (start, end, step)


COMPUTED = {
    "Slice": """(float[n,8] x) => (float[n,4] y) <float[8,16] w, float[16,16] u, float[16,4] v, int64 first = {0},
        int64[1] zero = {0}, int64[1] one = {1}, int64[1] six = {6}> {
        a = MatMul(x, w)  s = Shape(a)  n = Gather(s, zero)  end = Mul(n, six)
        part = Slice(a, zero, end, one)  top = ReduceMax<keepdims=1,axes=[1]>(part)  b = Add(a, top)
        c = MatMul(b, u)  r = Relu(c)  y = MatMul(r, v) }""",
    "Split": """(float[n,8] x) => (float[n,4] y) <float[8,16] w, float[16,16] u, float[16,4] v,
        int64[1] zero = {0}, int64[1] whole = {16}> {
        a = MatMul(x, w)  s = Shape(a)  n = Gather(s, zero)  rest = Sub(whole, n)
        sizes = Concat<axis=0>(n, rest)  one, two = Split<axis=1>(a, sizes)
        top = ReduceMax<keepdims=1,axes=[1]>(two)  b = Add(a, top)
        c = MatMul(b, u)  r = Relu(c)  y = MatMul(r, v) }""",
}


def test_an_axis_of_a_slice_that_is_computed_is_none_of_its_default() -> None:
    """By default ``starts`` begin with axis 0; here the second entry says which, and it depends on the batch."""
    text = """(float[n,8] x) => (float[n,4] y) <float[8,16] w, float[16,4] v, int64[1] zero = {0},
        int64[1] one = {1}, int64[1] two = {2}, int64[1] end = {16}> {
        a = MatMul(x, w)  s = Shape(a)  n = Slice(s, zero, one)  axis = Mod(n, two)
        part = Slice(a, zero, end, axis)  y = MatMul(part, v) }"""
    analysis = analyse(in_memory(model(text, opset=17)), PruneSettings(ratio=0.5))
    (node,) = [n for n in analysis.coupling.graph if n.name and n.op_type == "Slice" and n.outputs[0].name == "part"]
    assert slice_positions(node, analysis.coupling) is None


def test_a_slice_without_steps_takes_what_is_between_gaps_from_a_gather() -> None:
    text = """(float[2,8] x) => (float y) <float[8,16] w> { a = MatMul(x, w)
        y = Slice<starts=[0],ends=[16],axes=[1]>(a) }"""
    coupling = analyse(in_memory(model(text, opset=9)), PruneSettings(ratio=0.5)).coupling
    repairer = Repairer(ChannelMask(coupling, np.empty(0, np.int64)))
    node = next(n for n in coupling.graph if n.op_type == "Slice")
    repairer.slice_axis(node, 1, np.asarray([1, 3, 5]))
    picked = node.inputs[0].producer()
    assert picked.op_type == "Gather"
    assert picked.inputs[1].const_value.numpy().tolist() == [1, 3, 5]
    assert set(node.attributes) == {"starts", "ends", "axes"}


@pytest.mark.parametrize("operator", COMPUTED)
def test_channels_that_are_cut_at_a_size_of_the_input_stay(operator: str) -> None:
    """At one batch all of them are taken, at another one a part; which, no weight of the smaller model could say."""
    source = in_memory(model(COMPUTED[operator], opset=17))
    found = prune(source, PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local"))
    assert found.model.graph.initializers["w"].shape == ir.Shape([8, 16])
    assert found.model.graph.initializers["v"].shape == ir.Shape([8, 4])
