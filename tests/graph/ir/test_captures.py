"""What stands behind values: walks back, where they end, what bodies read from around them."""

from __future__ import annotations

import onnx_ir as ir

from compressor.graph.ir.captures import captured_values, let_go, nodes_by_name, sources, walk_back
from tests.models import in_memory, model

CHAIN = """(float[2,3] x) => (float[2,3] y) <float[2,3] w> {
    a = Relu(x)  b = Neg(a)  c = Add(b, w)  d = Abs(a)  y = Add(c, d) }"""
BRANCHES = """(bool p, float[2] x) => (float[2] y) <float[2] w> { a = Relu(x)
    y = If(p)<then_branch = t () => (float[2] s) { s = Add(a, w) },
              else_branch = e () => (float[2] q) { r = Neg(x)  q = Abs(r) }> }"""


def names(values: object) -> list[str]:
    return sorted(str(value.name) for value in values)  # type: ignore[attr-defined]


def test_everything_before_a_value_is_met_once() -> None:
    graph = in_memory(model(CHAIN)).graph
    assert names(walk_back(graph.outputs, lambda node, _: node.inputs)) == ["a", "b", "c", "d", "w", "x", "y"]


def test_a_walk_ends_where_nothing_stands_before() -> None:
    graph = in_memory(model(CHAIN)).graph

    def before(node: ir.Node, _: ir.Value) -> list[ir.Value | None] | None:
        return None if node.op_type == "Neg" else list(node.inputs)

    assert names(walk_back(graph.outputs, before)) == ["a", "b", "c", "d", "w", "x", "y"], "over the other branch"
    assert names(sources(graph.outputs, before)) == ["b", "w", "x"]


def test_what_reads_nothing_is_no_source() -> None:
    """A node without inputs is passed through; only what ``through`` has None of counts."""
    [node] = (ir.node("Constant", [], attributes={"value_int": 1}),)
    assert not list(sources(node.outputs, lambda *_: ()))
    assert list(sources(node.outputs, lambda *_: None)) == list(node.outputs)


def test_bodies_read_from_around_them() -> None:
    graph = in_memory(model(BRANCHES)).graph
    switch = graph.outputs[0].producer()
    assert switch is not None
    assert names(captured_values(switch)) == ["a", "w", "x"]


def test_a_removed_node_reads_nothing_in_its_bodies() -> None:
    graph = in_memory(model(BRANCHES)).graph
    switch = graph.outputs[0].producer()
    assert switch is not None
    assert let_go(switch)
    assert not captured_values(switch)
    first = next(iter(graph))
    assert not let_go(first)


def test_names_that_two_nodes_have_are_left_out() -> None:
    graph = in_memory(model(CHAIN)).graph
    nodes = list(graph)
    nodes[0].name = nodes[1].name = "same"
    assert sorted(nodes_by_name(graph)) == sorted(str(node.name) for node in nodes[2:])
