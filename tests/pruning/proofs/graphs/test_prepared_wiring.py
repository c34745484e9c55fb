"""What preparing may write anew between nodes that both graphs have, and what it may not."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.errors import ProofFailed
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.proofs.graphs.prepared_wiring import demand_prepared_wiring
from tests.models import in_memory

BRANCH = "then_branch = t () => (float[n,6] p) { p = Neg(x) }, else_branch = e () => (float[n,6] q) { q = Abs(x) }"
PASSING = BRANCH.replace("Neg", "Identity")
WRITTEN_ANEW = {
    "elements of sequences": """s = SequenceConstruct(a, b)  one = Constant<value_int=1>()
        zero = Constant<value_int=0>()  c = SequenceAt(s, one)  d = SequenceAt(s, zero)  y = Sub(c, d)""",
    "equal nodes": "c = Relu(a)  d = Relu(a)  e = Neg(c)  f = Neg(d)  y = Sub(e, f)",
    "equal results": "c = Relu(a)  y = Identity(c)  d = Relu(a)  z = Identity(d)",
    "one of several results": """c, , , d = com.microsoft.SkipLayerNormalization(a, b, gamma)  e = Neg(d)
        y = Sub(c, e)""",
    "a call that is equal to a node": "c = loc.Act(a)  d = LeakyRelu(a)  e = Neg(c)  f = Neg(d)  y = Sub(e, f)",
    "a shape with fewer copies": """t = Shape(a)  m = Expand(bias, t)  c = Add(a, m)  y = Mul(c, b)""",
    "a switch that passes on": f"""yes = Constant<value_int=1>()  c = Cast<to=9>(yes)  d = If(c)<{PASSING}>
        e = Relu(d)  f = Relu(x)  h = Neg(f)  i = Sub(e, h)  y = Sub(i, a)""",
    "a shuffle of what a branch gives": f"""yes = Constant<value_int=1>()  k = Cast<to=9>(yes)  c = If(k)<{BRANCH}>
        i = Constant<value_ints=[0,2,3]>()  o = Constant<value_ints=[0,6]>()  d = Reshape(c, i)
        e = Transpose<perm=[0,2,1]>(d)  f = Reshape(e, o)  y = Add(f, a)""",
    "a part of a shape that turns out to be empty": """s = Shape(a)  o = Constant<value_ints=[1]>()
        t = Constant<value_ints=[2]>()  e = Constant<value_ints=[9]>()  l = Shape<start=0, end=1>(a)
        none = Constant<value_ints: ints = []>()  i = Slice(s, o, t)  j = Slice(s, t, e)
        k = Concat<axis=0>(l, none, i, j)
        c = Reshape(b, k)  y = Sub(c, a)""",
    "what only passes on": "c = Identity(a)  d = Dropout(c)  e = Concat<axis=1>(d)  y = Sub(e, b)",
    "the branch that runs": f"yes = Constant<value_int=1>()  c = Cast<to=9>(yes)  d = If(c)<{BRANCH}>  y = Sub(d, a)",
    "copies for each reader": """t = Constant<value_ints=[1,6]>()  o = Constant<value_ints=[-1,1,6]>()
        m = Expand(bias, t)  r = Reshape(a, o)  c = Add(r, m)  d = Mul(r, m)  e = Sub(c, d)
        z = Constant<value_ints=[1]>()  y = Squeeze(e, z)""",
    "a shuffle": """i = Constant<value_ints=[0,2,3]>()  o = Constant<value_ints=[0,6]>()  c = Reshape(a, i)
        d = Transpose<perm=[0,2,1]>(c)  e = Reshape(d, o)  f = ReduceSum(c)  g = Add(e, f)  y = Sub(g, b)""",
}


def written(nodes: str) -> ir.Model:
    """A model of these nodes between a, b, x and y; values inside have no types, as in files of many exporters."""
    more = ", float[n,6] z" if " z = " in nodes else ""
    text = f"""<ir_version: 10, opset_import: ["" : 18, "loc" : 1, "com.microsoft" : 1]>
        g (float[n,6] x) => (float[n,6] y{more}) <float[6,6] w, float[6,6] v, float[1,6] bias, float[6] gamma> {{
        a = MatMul(x, w)  b = MatMul(x, v)  {nodes} }}
        <domain: "loc", opset_import: ["" : 18]> Act (p) => (q) {{ q = LeakyRelu(p) }}"""
    made = onnx.parser.parse_model(text)
    for name, shape in {"w": (6, 6), "v": (6, 6), "bias": (1, 6), "gamma": (6,)}.items():
        numbers = np.linspace(-1, 1, prod(shape), dtype=np.float32).reshape(shape)
        made.graph.initializer.append(onnx.numpy_helper.from_array(numbers, name))
    del made.graph.value_info[:]
    return in_memory(made)


@pytest.mark.parametrize("nodes", WRITTEN_ANEW.values(), ids=WRITTEN_ANEW.keys())
def test_what_may_be_written_anew(nodes: str) -> None:
    source = written(nodes)
    demand_prepared_wiring(source, analyse(source, PruneSettings(ratio=0.5)).model)


@pytest.mark.parametrize("nodes", WRITTEN_ANEW.values(), ids=WRITTEN_ANEW.keys())
def test_another_value_in_front_is_seen_all_the_same(nodes: str) -> None:
    source = written(nodes)
    made = analyse(source, PruneSettings(ratio=0.5)).model
    a = next(value for node in made.graph for value in node.outputs if value.name == "a")
    reader, slot = next(iter(a.uses()))
    reader.replace_input_with(slot, made.graph.inputs[0])
    with pytest.raises(ProofFailed):
        demand_prepared_wiring(source, made)
