"""Constants of a file, whichever way it holds them, and nodes that become copies."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

import compressor
from compressor.graph.ir.nodes import (
    become_identity,
    default_number,
    input_of,
    is_constant,
    is_standard,
    number_of,
    optional_input,
    tensor_of,
)
from tests.models import in_memory, model


def test_numbers_of_initializers_and_of_constant_nodes() -> None:
    text = """(float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
        c = Constant<value = float[2] {3, 4}>() a = Add(w, c) y = Add(x, a) }"""
    graph = in_memory(model(text)).graph
    constant, inner, _ = graph
    assert [is_constant(node) for node in graph] == [True, False, False]
    held = [tensor_of(v) for v in (graph.initializers["w"], constant.outputs[0])]
    assert [t.numpy().tolist() for t in held if t is not None] == [[1, 2], [3, 4]]
    assert tensor_of(inner.outputs[0]) is None
    assert tensor_of(graph.inputs[0]) is None
    assert tensor_of(None) is None


def test_a_constant_of_a_single_number_is_left_alone() -> None:
    (node,) = in_memory(model("() => (float y) { y = Constant<value_float = 2.0>() }")).graph
    assert not is_constant(node)


def test_a_node_becomes_a_copy_and_keeps_the_name_of_its_output() -> None:
    graph = in_memory(model("(float[2,3] x) => (float y) { y = LpNormalization<axis = 0, p = 1>(x) }")).graph
    (node,) = graph
    become_identity(node, graph.inputs[0])
    assert (node.op_type, len(node.attributes), [v.name for v in node.outputs]) == ("Identity", 0, ["y"])
    assert graph.outputs[0].name == "y"


def test_numbers_that_are_left_out_are_those_of_the_standard() -> None:
    text = """(float[2,3] x) => (float y) <float[3] w> {
        a = LayerNormalization(x, w) y = LayerNormalization<epsilon = 0.5>(a, w) }"""
    plain, given = in_memory(model(text)).graph
    assert (number_of(plain, "epsilon"), number_of(given, "epsilon")) == (1e-5, 0.5)
    assert default_number("BatchNormalization", "momentum") == 0.9
    for name in ("axis", "no such attribute"):
        with pytest.raises(KeyError):
            number_of(plain, name)


def test_inputs_that_may_be_left_out() -> None:
    graph = in_memory(model("(float[2] x) => (float[2] y) { y = Clip(x) }")).graph
    node = graph[0]
    assert input_of(node, 0) is optional_input(node, 0) is graph.inputs[0]
    assert [optional_input(node, k) for k in (1, None)] == [None, None]
    node.resize_inputs(2)
    assert optional_input(node, 1) is None
    with pytest.raises(AssertionError):
        input_of(node, 1)


ASKED = re.compile(r"\.domain (?:[!=]= (?:\"\"|\"ai\.onnx\")|(?:not )?in STANDARD)|not node\.domain\b")


def test_one_function_knows_the_names_of_the_own_domain() -> None:
    """Both names are one domain; who compares with one of them takes the other for a stranger's."""
    assert is_standard(onnx.NodeProto(op_type="Relu"))
    assert is_standard(onnx.NodeProto(op_type="Relu", domain="ai.onnx"))
    assert not is_standard(onnx.NodeProto(op_type="Relu", domain="ai.onnx.ml"))
    root = Path(compressor.__file__).parent
    texts = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in root.rglob("*.py")}
    # One asks, and the other spells the name as the empty one in every file that is read.
    assert {name for name, text in texts.items() if ASKED.search(text)} == {
        "graph/ir/nodes.py",
        "graph/disk/complete.py",
    }
