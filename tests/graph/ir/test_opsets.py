"""The form of a node follows from the operator set."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.graph.ir.opsets import dft_axis, exists, node_of, place_of, softmax_axes, stated, version_of
from tests.models import in_memory, model

CASES = {
    "Slice": ({"starts": [1], "ends": [3], "axes": [1]}, 10),
    "Split": ({"axis": 1, "split": [1, 3]}, 13),
    "Unsqueeze": ({"axes": [0]}, 13),
    "ReduceSum": ({"axes": [0], "keepdims": 0}, 13),
    "ReduceMean": ({"axes": [0], "keepdims": 1}, 18),
}
"""Operator -> what it is told, and the version from which its lists are inputs."""


@pytest.mark.parametrize("op", CASES)
@pytest.mark.parametrize("newer", [False, True])
def test_a_node_is_in_the_form_of_its_operator_set(op: str, newer: bool) -> None:
    settings, since = CASES[op]
    opset = since if newer else since - 1
    x = ir.Value(name="x", shape=ir.Shape([2, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    held: dict[str, ir.Value] = {}

    def constant(name: str, array: np.ndarray) -> ir.Value:
        tensor = ir.tensor(array, name=name)
        held[name] = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        return held[name]

    node = node_of(op, x, settings, opset, constant, outputs=2 if op == "Split" else 1)
    for place, value in enumerate(node.outputs):
        value.name, value.type, value.shape = f"y{place}", x.type, ir.Shape([None])
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=held.values(), opset_imports={"": opset}, name="g")
    onnx.checker.check_model(ir.to_proto(ir.Model(graph, ir_version=8)))
    lists = {name for name, numbers in settings.items() if isinstance(numbers, list)}
    assert set(held) == (lists if newer else set())
    found = {name: stated(node, name, opset, lambda v: v and v.const_value and v.const_value.numpy()) for name in lists}
    assert {name: array.tolist() for name, array in found.items()} == {name: settings[name] for name in lists}


def test_what_is_not_said_is_none() -> None:
    graph = in_memory(model("(float[2,4] x) => (float y) { y = ReduceMean(x) }", opset=18)).graph
    assert stated(graph[0], "axes", 18, lambda value: None if value is None else np.zeros(1)) is None
    assert stated(graph[0], "axes", 13, lambda value: None if value is None else np.zeros(1)) is None
    assert place_of("ReduceMean", "nothing", 18) is None


def test_operators_come_with_a_version() -> None:
    assert [exists("Gelu", opset) for opset in (19, 20)] == [False, True]
    graph = ir.Graph([], [], nodes=[], opset_imports={"ai.onnx": 12}, name="g")
    assert [version_of(graph), version_of(None)] == [12, 1]


def test_defaults_that_moved() -> None:
    assert [dft_axis(19), dft_axis(20)] == [1, -2]
    assert [softmax_axes(None, 3, 12), softmax_axes(None, 3, 13)] == [range(1, 3), range(2, 3)]
    assert [softmax_axes(-2, 3, 12), softmax_axes(-2, 3, 13)] == [range(1, 3), range(1, 2)]
