"""Names that nobody has, nodes that take the place of others, and constants."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.graph.ir.edit import FreeNames, add_constant, constant_array, free_name, names_in, put_before, take_over
from tests.models import in_memory, model

NESTED = """(float[2] x, bool c) => (float[2] y) <float[2] w = {1, 2}> {
    y = If(c)<then_branch = g () => (float[2] t) { t = Add(x, w) }, else_branch = h () => (float[2] e) { e = Neg(x) }>
}"""


def graph() -> ir.Graph:
    return in_memory(model(NESTED)).graph


def test_names_of_bodies_count() -> None:
    assert {"x", "c", "w", "y", "t", "e"} <= names_in(graph())


def test_a_name_that_is_taken_gets_a_number() -> None:
    free = FreeNames(graph())
    assert [free("t"), free("t"), free("new"), free("new")] == ["t.1", "t.2", "new", "new.1"]
    assert free_name(graph(), "w") == "w.1"


def test_a_name_that_is_taken_goes_behind_a_stem() -> None:
    free = FreeNames(graph())
    assert [free("t", "file"), free("t", "file"), free("new", "file")] == ["file.t", "file.t.1", "new"]
    assert "new" in free
    assert "other" not in free
    free.add("other")
    assert free("other") == "other.1"


def test_a_node_is_put_before_another_and_takes_its_place() -> None:
    given = in_memory(model("(float[2] x) => (float[2] y) { a = Relu(x)  y = Neg(a) }")).graph
    place = given[1]
    called = place.name
    made = put_before(place, ir.node("Abs", [place.inputs[0]]), "layer")
    assert [node.op_type for node in given] == ["Relu", "Abs", "Neg"]
    assert (given[1].name, made.name) == ("layer.abs", "layer.abs.out")
    take_over(place, made)
    assert [node.op_type for node in given] == ["Relu", "Abs"]
    assert (given[1].name, given.outputs[0].name, list(given.outputs[0].shape or ())) == (called, "y", [2])


def test_a_constant_is_an_initializer_of_its_own() -> None:
    given = graph()
    array = np.arange(6, dtype=np.float16).reshape(2, 3)[:, ::2]
    added = add_constant(given, "w", array)
    assert added.name == "w.1"
    assert given.initializers["w.1"] is added
    assert constant_array(added).dtype == np.float16
    np.testing.assert_array_equal(constant_array(added), array)
    np.testing.assert_array_equal(constant_array(given.initializers["w"]), [1, 2])
    assert constant_array(add_constant(given, "s", np.float32(3).reshape(()))).shape == ()
