"""Weights are read where they lie, moved on the way or not, and written back there."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.reconstruct.form import Unrepairable
from compressor.reconstruct.weights import ReadWeight, may_be_replaced, readers, weight_of
from tests.models import in_memory, model, weight

MOVED = """(float[2,4] x) => (float[2,6] y, float[2,6] z) <float[6,4] w, int64[2] shape = {4,6}> {
    t = Transpose(w)  y = MatMul(x, t)  r = Reshape(w, shape)  z = MatMul(x, r) }"""


def read(source: ir.Model, name: str) -> ReadWeight | None:
    node = next(node for node in source.graph if node.outputs[0].name == name)
    return weight_of(node.inputs[1], source.opset_imports)


def test_a_weight_is_read_as_its_node_sees_it() -> None:
    source = in_memory(model(MOVED))
    w, turned, shaped = weight(source, "w"), read(source, "y"), read(source, "z")
    assert turned is not None
    assert shaped is not None
    np.testing.assert_array_equal(turned.read(), w.T)
    np.testing.assert_array_equal(shaped.read(), w.reshape(4, 6))
    assert not turned.same(shaped), "one initializer, read in two ways"
    assert turned.same(turned)


def test_what_is_written_stands_where_it_was_read() -> None:
    source = in_memory(model(MOVED))
    w, found = weight(source, "w").copy(), read(source, "y")
    assert found is not None
    new = np.arange(24, dtype=np.float64).reshape(4, 6)
    found.write(new)
    np.testing.assert_array_equal(weight(source, "w"), new.T)
    np.testing.assert_array_equal(found.read(), new)
    assert weight(source, "w").dtype == w.dtype


def test_whoever_reads_what_a_weight_is_moved_to_reads_the_weight() -> None:
    source = in_memory(model(MOVED))
    assert readers(source.graph.initializers["w"]) == {("MatMul_1", 1), ("MatMul_3", 1)}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("t = Neg(w)  y = MatMul(x, t)", "its weight is computed by Neg"),
        ("t = Gather(w, rows)  y = MatMul(x, t)", "its weight holds one number in several places"),
        ("t = MatMul(x, w)  y = MatMul(t, t)", None),
    ],
)
def test_why_a_weight_cannot_be_fitted(body: str, reason: str | None) -> None:
    text = f"(float[4,4] x) => (float[n,m] y) <float[4,4] w, int64[4] rows = {{0, 1, 1, 2}}> {{ {body} }}"
    source = in_memory(model(text))
    if reason is None:
        assert read(source, "y") is None
        return
    with pytest.raises(Unrepairable, match=reason):
        read(source, "y")


def test_only_a_default_that_is_an_input_may_be_replaced() -> None:
    source = in_memory(model(MOVED))
    w, [x] = source.graph.initializers["w"], source.graph.inputs
    assert not may_be_replaced([w, x, None])
    source.graph.inputs.append(w)
    assert may_be_replaced([x, w])
