"""Constants are held against those of the graph that they came from, without a run that reaches them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.errors import ProofFailed
from compressor.graph.form.normalise import normalise
from compressor.pruning.proofs.constants import demand_same_constants

TABLE = """<ir_version: 10, opset_import: ["" : 20]>
g (int64[n] ids) => (float[n,2] y) <float[2,3] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, float one = {1.0}> {
    t = Transpose(w)  table = Exp(t)  picked = Gather(table, ids)  y = Min(picked, one)
}"""


def read(text: str) -> ir.Model:
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


def folded(change: float = 0.0, name: str = "table") -> ir.Model:
    """The graph with its table computed, the last entry off by ``change``."""
    table = np.exp(np.asarray([[1, 4], [2, 5], [3, 6]], np.float32))
    table[-1, -1] += change
    made = read(TABLE)
    gather = next(node for node in made.graph if node.op_type == "Gather")
    value = ir.Value(name=name, const_value=ir.tensor(table, name=name))
    for node in [n for n in made.graph if n.op_type in ("Exp", "Transpose")]:
        for output in node.outputs:
            output.name = f"{output.name}.folded"
    made.graph.register_initializer(value)
    gather.replace_input_with(0, value)
    return made


@pytest.mark.parametrize("name", ["table", "table.1"])
def test_what_folding_computed(name: str) -> None:
    demand_same_constants(read(TABLE), folded(name=name), "cpu")
    with pytest.raises(ProofFailed, match="'table' was folded to other numbers"):
        demand_same_constants(read(TABLE), folded(1.0, name), "cpu")


@pytest.mark.parametrize("name", ["one", "one.1"])
def test_a_bound_that_nothing_exceeds(name: str) -> None:
    made = read(TABLE)
    bound = made.graph.initializers.pop("one")
    value = ir.Value(name=name, const_value=ir.tensor(np.asarray(7, np.float32), name=name))
    made.graph.register_initializer(value)
    bound.replace_all_uses_with(value)
    with pytest.raises(ProofFailed, match="weight 'one' is not what the file holds"):
        demand_same_constants(read(TABLE), made, "cpu")


def test_what_depends_on_an_input_is_for_the_runs() -> None:
    text = TABLE.replace("table = Exp(t)", "r = Shape(ids)  f = CastLike(r, t)  table = Mul(t, f)")
    demand_same_constants(read(text), folded(1.0), "cpu")


def test_one_that_does_not_run_says_nothing_of_the_others() -> None:
    """It is named, and a wrong number beside it is still found."""
    broken = "t = Transpose(w)  one = Constant<value_float=1.0>()  bad = MatMul(w, w)  z = ReduceSum(bad)"
    text = TABLE.replace(", float one = {1.0}", "").replace("t = Transpose(w)", broken)
    text = text.replace("y = Min(picked, one)", "q = Min(picked, one)  y = Add(q, z)")
    made = folded()
    made.graph.register_initializer(ir.Value(name="z", const_value=ir.tensor(np.float32(3), name="z")))
    (missing,) = demand_same_constants(read(text), made, "cpu")
    assert missing.group == "z"
    made = folded(1.0)
    made.graph.register_initializer(ir.Value(name="z", const_value=ir.tensor(np.float32(3), name="z")))
    with pytest.raises(ProofFailed, match="'table' was folded to other numbers"):
        demand_same_constants(read(text), made, "cpu")


def test_bodies_may_call_different_weights_alike() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
g (float[n,2] x, bool c) => (float[n,2] y) {
    y = If(c) <then_branch = one () => (float[n,2] p) <float[2,2] w = {1.0, 2.0, 3.0, 4.0}> { p = MatMul(x, w) },
              else_branch = two () => (float[n,2] q) <float[2,2] w = {5.0, 6.0, 7.0, 8.0}> { q = MatMul(x, w) }>
}"""
    source = read(text)
    assert demand_same_constants(source, normalise(source.clone()), "cpu") == []
