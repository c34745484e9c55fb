"""Nodes of the smaller model read what they read in the original, also where no input of the proof shows it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import ProofFailed
from compressor.pruning.cut import analysis, surgery
from compressor.pruning.proofs import preparation, proof
from compressor.pruning.proofs.graphs.wiring import demand_same_wiring, demand_wiring_beside
from tests.models import in_memory, model

SETTINGS = PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local")
RARE = """(float[n,6] x) => (float[n,3] y, float[n,16] z) <float[6,16] w, float[16,3] v, float[6,16] w2,
    float low = {-90}, float high = {90}, float higher = {91}, float[1] most = {95}, float[1] fill = {2}> {
    a = MatMul(x, w)  big = Greater(a, most)  b = Where(big, fill, a)  c = Clip(b, low, high)  d = Clip(a, low, higher)
    s = Add(c, d)  y = MatMul(s, v)  z0 = MatMul(x, w2)  z = Clip(z0, low, high) }"""


def node(graph: ir.Graph, output: str) -> ir.Node:
    return next(n for n in graph if n.outputs[0].name == output)


def another_bound(graph: ir.Graph) -> None:
    node(graph, "c").replace_input_with(2, node(graph, "d").inputs[2])


def passed_over(graph: ir.Graph) -> None:
    node(graph, "b").outputs[0].replace_all_uses_with(node(graph, "a").outputs[0])


def another_operator(graph: ir.Graph) -> None:
    node(graph, "big").op_type = "GreaterOrEqual"


def another_value(graph: ir.Graph) -> None:
    node(graph, "d").replace_input_with(0, node(graph, "b").outputs[0])


def another_result(graph: ir.Graph) -> None:
    z = node(graph, "z")
    z.outputs[0].name, node(graph, "z0").outputs[0].name = "z1", "z"
    graph.outputs[1] = node(graph, "z").outputs[0]


def at_most_a_thousand(graph: ir.Graph) -> None:
    """A bound that a node between has."""
    most = ir.Value(name="thousand", const_value=ir.tensor(np.asarray(1000, np.float32)))
    graph.initializers["thousand"] = most
    last = node(graph, "s")
    part = ir.node("Min", [last.outputs[0], most], name="part")
    last.outputs[0].replace_all_uses_with(part.outputs[0])
    part.replace_input_with(0, last.outputs[0])
    last.append(part)


def nothing_any_more(graph: ir.Graph) -> None:
    """A node that passes on what it read, under its name."""
    bound = node(graph, "d")
    made = ir.node("Identity", [bound.inputs[0]], name=bound.name)
    bound.prepend(made)
    bound.outputs[0].replace_all_uses_with(made.outputs[0])
    graph.remove(bound, safe=True)


FAULTS: dict[Callable[[ir.Graph], None], str] = {
    another_bound: "reads other values|is not what the file holds",
    passed_over: "reads other values",
    another_operator: "is a GreaterOrEqual, was a Greater",
    another_value: "reads other values",
    another_result: "comes from elsewhere",
    at_most_a_thousand: "reads other values",
    nothing_any_more: "is a Identity, was a Clip|reads other values",
}


def plant(monkeypatch: pytest.MonkeyPatch, fault: Callable[[ir.Graph], None], *, preparing: bool) -> None:
    """A fault in the graph that is prepared, or in the one that is cut."""
    honest = analysis.normalise if preparing else surgery.remove

    def wrong(given: ir.Model, *rest: Any) -> Any:
        made = honest(given, *rest)
        fault(given.graph)
        return made

    monkeypatch.setattr(*((analysis, "normalise") if preparing else (surgery, "remove")), wrong)
    monkeypatch.setattr(proof, "_at", lambda *_: None)  # a run on large numbers sees some of it, too


@pytest.mark.parametrize("preparing", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_no_input_of_the_proof_shows(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[ir.Graph], None], preparing: bool
) -> None:
    assert prune(in_memory(model(RARE)), SETTINGS).report.proof
    plant(monkeypatch, fault, preparing=preparing)
    with pytest.raises(ProofFailed, match=FAULTS[fault]):
        prune(in_memory(model(RARE)), SETTINGS)


TWICE = """(float[n,6] x) => (float[n,3] y) <float[6,16] w, float[16,3] v, float low = {-90}, float high = {90},
    float higher = {9000}, float[1] most = {95}, float[16] fill> {
    a = MatMul(x, w)  big = Greater(a, most)  b = Where(big, fill, a)  c = Clip(b, low, higher)  d = Clip(c, low, high)
    y = MatMul(d, v) }"""


def one_of_two(graph: ir.Graph) -> None:
    """The tighter of two nodes of one kind."""
    node(graph, "d").outputs[0].replace_all_uses_with(node(graph, "c").outputs[0])


def renamed(graph: ir.Graph) -> None:
    bound = node(graph, "d")
    bound.name = "another"
    bound.replace_input_with(2, node(graph, "c").inputs[2])


def a_constant(graph: ir.Graph) -> None:
    """What is rarely there is always zero."""
    zero = ir.Value(name="zero", const_value=ir.tensor(np.zeros(16, np.float32), name="zero"))
    graph.initializers["zero"] = zero
    node(graph, "c").replace_input_with(0, zero)


@pytest.mark.parametrize("fault", [one_of_two, renamed, a_constant])
def test_preparing_leaves_nodes_of_one_kind_apart(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[ir.Graph], None]
) -> None:
    assert prune(in_memory(model(TWICE)), SETTINGS).report.proof
    plant(monkeypatch, fault, preparing=True)
    with pytest.raises(ProofFailed, match=r"of the prepared graph (reads|is made)|is not what the file holds"):
        prune(in_memory(model(TWICE)), SETTINGS)


def test_recovery_leaves_bounds_where_they_are() -> None:
    before = in_memory(model(TWICE))
    demand_same_wiring(before, before.clone())
    after = before.clone()
    node(after.graph, "d").replace_input_with(2, node(after.graph, "c").inputs[2])
    with pytest.raises(ProofFailed, match="of the recovered model reads other values"):
        demand_same_wiring(before, after)
    after = before.clone()
    node(after.graph, "d").replace_input_with(0, node(after.graph, "c").inputs[1])
    with pytest.raises(ProofFailed, match="of the recovered model reads other values"):
        demand_same_wiring(before, after)


def test_a_branch_that_is_gone_is_told() -> None:
    branches = """then_branch = one () => (float[n,6] p) { p = Relu(x) },
        else_branch = two () => (float[n,6] q) { q = Neg(x) }"""
    before = in_memory(model(f"(bool c, float[n,6] x) => (float[n,6] y) {{ y = If(c) <{branches}> }}"))
    after = before.clone()
    del node(after.graph, "y").attributes["else_branch"]
    with pytest.raises(ProofFailed, match="has 1 bodies, had 2"):
        demand_same_wiring(before, after)


COUNTED = """(float[n,6] x, float[3] given) => (float[n,k] y, int64[n,k] i, float[n,3] z)
    <float[6,16] w, float[16,3] v, int64[1] k = {2}, float[3] given = {1, 2, 3}> {
    a = MatMul(x, w)  r = Relu(a)  m = MatMul(r, v)  z = Add(m, given)  y, i = TopK(m, k) }"""


def one_more(graph: ir.Graph) -> None:
    node(graph, "y").replace_input_with(1, whole_number(graph, [3]))


def computed(graph: ir.Graph) -> None:
    top = node(graph, "y")
    part = ir.node("Min", [top.inputs[1], whole_number(graph, [40])], name="part")
    top.prepend(part)
    top.replace_input_with(1, part.outputs[0])


def from_the_bottom(graph: ir.Graph) -> None:
    node(graph, "y").attributes["largest"] = ir.AttrInt64("largest", 0)


def unsorted(graph: ir.Graph) -> None:
    node(graph, "y").attributes["sorted"] = ir.AttrInt64("sorted", 0)


def a_copy_of_the_default(graph: ir.Graph) -> None:
    value = ir.Value(name="copy", const_value=ir.tensor(np.asarray([1, 2, 3], np.float32), name="copy"))
    graph.initializers["copy"] = value
    node(graph, "z").replace_input_with(1, value)


def whole_number(graph: ir.Graph, numbers: list[int]) -> ir.Value:
    value = ir.Value(name="number", const_value=ir.tensor(np.asarray(numbers, np.int64), name="number"))
    graph.initializers["number"] = value
    return value


ANYWHERE = (one_more, from_the_bottom, unsorted, a_copy_of_the_default)


@pytest.mark.parametrize(("fault", "preparing"), [(computed, False), *product(ANYWHERE, [False, True])])
def test_whole_numbers_and_defaults_where_nothing_goes(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[ir.Graph], None], preparing: bool
) -> None:
    assert prune(in_memory(model(COUNTED)), SETTINGS).report.proof
    plant(monkeypatch, fault, preparing=preparing)
    with pytest.raises(ProofFailed, match=r"reads other|none that the original has|none in the result|is off by"):
        prune(in_memory(model(COUNTED)), SETTINGS)


LINEAR = """(float[n,6] x) => (float[m,3] y) <float[6,16] w, float[16,3] v> {
    a = MatMul(x, w)  r = Relu(a)  y = MatMul(r, v) }"""


def insert(
    graph: ir.Graph, op_type: str, behind: str, *numbers: float | list[int], dtype: ir.DataType = ir.DataType.FLOAT
) -> None:
    """A node of its own behind a value; it reads numbers, besides."""
    constants = [ir.Value(name=f"n{k}", const_value=ir.tensor(n, dtype, name=f"n{k}")) for k, n in enumerate(numbers)]
    for value in constants:
        graph.initializers[str(value.name)] = value
    last = node(graph, behind)
    part = ir.node(op_type, [last.outputs[0], *constants], name="part")
    last.outputs[0].replace_all_uses_with(part.outputs[0])
    part.replace_input_with(0, last.outputs[0])
    last.append(part)


def first_rows(graph: ir.Graph) -> None:
    """Right for up to four samples."""
    insert(graph, "Slice", "r", [0], [4], dtype=ir.DataType.INT64)


def bounded(graph: ir.Graph) -> None:
    """Right for ordinary numbers."""
    insert(graph, "Clip", "a", -70.0, 70.0)


def test_a_cut_is_run_on_large_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = proof._at
    plant(monkeypatch, bounded, preparing=False)
    monkeypatch.setattr(proof, "_at", honest)  # runs alone are asked here
    with pytest.raises(ProofFailed, match="of the smaller model is off by"):
        prune(in_memory(model(RARE)), SETTINGS)


def test_batches_larger_than_those_of_other_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, first_rows, preparing=False)
    with pytest.raises(ProofFailed):
        prune(in_memory(model(LINEAR)), SETTINGS)


@pytest.mark.parametrize(("text", "fault"), [(LINEAR, first_rows), (RARE, bounded)])
def test_preparation_is_run_on_large_batches_and_numbers(
    monkeypatch: pytest.MonkeyPatch, text: str, fault: Callable[[ir.Graph], None]
) -> None:
    monkeypatch.setattr(preparation, "demand_prepared_wiring", lambda *_: None)  # runs alone are asked here
    plant(monkeypatch, fault, preparing=True)
    with pytest.raises(ProofFailed, match="differs from the file"):
        prune(in_memory(model(text)), SETTINGS)


PLACES = """(int64[n,t] given) => (float[n,t,4] y)
    <float[600,16] e, float[16,8] w, float[8,4] v, int64 last = {500}, int64 axis = {1}> {
    s = CumSum(given, axis)  c = Min(s, last)  x = Gather(e, c)  a = MatMul(x, w)  r = Relu(a)  y = MatMul(r, v) }"""


def a_nearer_last(graph: ir.Graph) -> None:
    node(graph, "c").replace_input_with(1, ir.Value(name="n", const_value=ir.tensor(np.asarray(499), name="n")))
    graph.register_initializer(node(graph, "c").inputs[1])


def test_a_bound_on_whole_numbers_that_are_no_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prune(in_memory(model(PLACES)), SETTINGS).report.proof
    plant(monkeypatch, a_nearer_last, preparing=False)
    with pytest.raises(ProofFailed, match="reads other values than it did"):
        prune(in_memory(model(PLACES)), SETTINGS)


WRITTEN = RARE.replace("a = MatMul(x, w)", "a1 = MatMul(x, thin)  a = MatMul(a1, wide)").replace(
    "float[6,16] w,", "float[6,2] thin, float[2,16] wide,"
)


@pytest.mark.parametrize("fault", [None, another_bound, passed_over, another_value])
def test_beside_layers_that_are_written_anew(fault: Callable[[ir.Graph], None] | None) -> None:
    before, after = in_memory(model(RARE)), in_memory(model(WRITTEN))
    for graph in (before.graph, after.graph):
        for made in graph:
            made.name = made.outputs[0].name
    if fault is None:
        demand_wiring_beside(before, after, ["a"], "it")
        return
    fault(after.graph)
    with pytest.raises(ProofFailed, match=FAULTS[fault]):
        demand_wiring_beside(before, after, ["a"], "it")


def test_weights_that_are_made_of_constants() -> None:
    before = in_memory(model(LINEAR))
    packed = LINEAR.replace("float[6,16] w,", "int8[6,16] q, float scale,")
    after = in_memory(
        model(packed.replace("a = ", "f = Cast<to=1>(q)  wide = Mul(f, scale)  a = ").replace("x, w", "x, wide"))
    )
    for graph in (before.graph, after.graph):
        for made in graph:
            made.name = made.outputs[0].name
    demand_wiring_beside(before, after, [], "it")
    insert(after.graph, "Clip", "a", -70.0, 70.0)
    with pytest.raises(ProofFailed, match="reads other values"):
        demand_wiring_beside(before, after, [], "it")


JOINED = """(float[n,6] x) => (float[n,4] y) <float[6,16] w, float[16,4] v, float[6,4] u, float low = {-1000}> {
    a = MatMul(x, w)  r = Relu(a)  m = MatMul(r, v)  p = MatMul(x, u)  q = Min(p, low)
    m1 = Unsqueeze(m, axes)  q1 = Unsqueeze(q, axes)  c = Concat<axis=0>(m1, q1)
    y = ReduceMax<keepdims=0>(c, axes) }""".replace("float low", "int64[1] axes = {0}, float low")


def one_part_alone(graph: ir.Graph) -> None:
    node(graph, "y").replace_input_with(0, node(graph, "m1").outputs[0])


@pytest.mark.parametrize("preparing", [False, True])
def test_a_part_does_not_stand_for_what_is_joined(monkeypatch: pytest.MonkeyPatch, preparing: bool) -> None:
    """The other part is smaller than anything that the runs reach."""
    assert prune(in_memory(model(JOINED)), SETTINGS).report.proof
    plant(monkeypatch, one_part_alone, preparing=preparing)
    with pytest.raises(ProofFailed, match="reads"):
        prune(in_memory(model(JOINED)), SETTINGS)


NORMED = """(float[n,4,6,6] x) => (float[n,5,6,6] y) <float[16,4,1,1] w, float[5,16,1,1] v> {
    a = Conv(x, w)  b = LRN<size=5, alpha=0.0001>(a)  y = Conv(b, v) }"""


def bounded_before(graph: ir.Graph) -> None:
    """In front of the node that does the work on all channels, whose result is cut."""
    whole = next(made for made in graph if made.op_type == "LRN")
    top = ir.Value(name="top", const_value=ir.tensor(np.asarray(60, np.float32), name="top"))
    graph.initializers["top"] = top
    part = ir.node("Min", [whole.inputs[0], top], name="part")
    whole.prepend(part)
    whole.replace_input_with(0, part.outputs[0])


def another_bias(graph: ir.Graph) -> None:
    next(made for made in graph if made.op_type == "LRN").attributes["bias"] = ir.AttrFloat32("bias", 1.00001)


@pytest.mark.parametrize("fault", [bounded_before, another_bias])
def test_work_on_all_channels_is_the_same_work(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[ir.Graph], None]
) -> None:
    assert prune(in_memory(model(NORMED)), SETTINGS).report.proof
    plant(monkeypatch, fault, preparing=False)
    with pytest.raises(ProofFailed, match="is a Gather, was a LRN"):
        prune(in_memory(model(NORMED)), SETTINGS)
