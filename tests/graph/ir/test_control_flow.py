"""What passes between a node and its bodies."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from compressor.graph.ir.control_flow import Flow, flow_of, sliced_shape
from tests.models import in_memory, model

IF = """(float[2] x, bool c) => (float[2] y) {
    y = If(c)<
        then_branch = g () => (float[2] t) { t = Relu(x) }, else_branch = h () => (float[2] e) { e = Neg(x) }> }"""
LOOP = """(int64 n, bool c, float[2] x) => (float[2] y, float[k,2] z) {
    y, z = Loop(n, c, x)<body = g (int64 i, bool go, float[2] s) => (bool on, float[2] t, float[2] u) {
        on = Identity(go) t = Relu(s) u = Neg(s) }> }"""
SCAN = """(float[2] x, float[2,5] w) => (float[2] y, float[2,5] z) {
    y, z = Scan(x, w)<num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [-1], body =
        g (float[2] s, float[2] p) => (float[2] t, float[2] q) { t = Add(s, p) q = Neg(p) }> }"""


def names(values: object) -> list[str]:
    return [str(v.name) for v in values]  # type: ignore[attr-defined]


def flow(text: str) -> Flow:
    (node,) = in_memory(model(text)).graph
    found = flow_of(node)
    assert found is not None
    return found


def test_branches_are_alternatives_and_run_once() -> None:
    found = flow(IF)
    (choice,) = found.choices
    assert (names(choice.options), choice.result.name) == (["t", "e"], "y")
    assert not (found.states)
    assert not (found.read)
    assert not (found.stacked)
    assert not (found.counters)
    assert not (found.conditions)


def test_a_loop_hands_on_its_state_and_stacks_the_rest() -> None:
    found = flow(LOOP)
    (state,), (stack,) = found.states, found.stacked
    assert names((state.before, state.inside, state.after, state.result)) == ["x", "s", "t", "y"]
    assert (stack.whole.name, stack.slice.name, stack.axis) == ("z", "u", 0)
    assert (names(found.counters), names(found.conditions)) == (["i", "go"], ["on"])


def test_a_scan_takes_slices_along_its_axes() -> None:
    found = flow(SCAN)
    (state,), (read,), (stack,) = found.states, found.read, found.stacked
    assert names((state.before, state.inside, state.after, state.result)) == ["x", "s", "t", "y"]
    assert (read.whole.name, read.slice.name, read.axis) == ("w", "p", 1)
    assert (stack.whole.name, stack.slice.name, stack.axis) == ("z", "q", -1)


@pytest.mark.parametrize("text", [IF, LOOP, SCAN])
def test_a_node_whose_numbers_do_not_fit_its_body_is_not_followed(text: str) -> None:
    (node,) = in_memory(model(text)).graph
    node.resize_outputs(len(node.outputs) + 2)
    assert flow_of(node) is None


def test_other_nodes_have_no_bodies() -> None:
    (node,) = in_memory(model("(float[2] x) => (float[2] y) { y = Relu(x) }")).graph
    assert flow_of(node) is None
    assert flow_of(ir.Node("here", "If", list(node.inputs))) is None


def test_the_shape_of_a_slice() -> None:
    assert sliced_shape((2, "n", 5), 1) == (2, 5)
    assert sliced_shape((2, "n", 5), -1) == (2, "n")
