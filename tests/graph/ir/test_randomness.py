"""What may give something else each time."""

from __future__ import annotations

import onnx
import pytest

from compressor.graph.ir.randomness import RANDOM, may_draw
from tests.models import in_memory, model

MISLABELLED = {"AffineGrid"}
"""Functions of ONNX that its schema calls random because their body has an If."""


def test_random_operators_are_those_that_the_standard_calls_so() -> None:
    schemas = [schema for schema in onnx.defs.get_all_schemas() if schema.domain == ""]
    random = onnx.defs.OpSchema.NodeDeterminism.NonDeterministic
    graph = onnx.defs.OpSchema.AttrType.GRAPH
    found = {
        schema.name
        for schema in schemas
        if schema.node_determinism == random and all(a.type != graph for a in schema.attributes.values())
    }
    assert found - MISLABELLED == RANDOM


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{ y = Relu(x) }", False),
        ("{ n = RandomNormalLike(x)  y = Add(x, n) }", True),
        ("{ c = ReduceSum <keepdims = 0> (x)  b = Cast <to = 9> (c)  y = If (b) <"
         "then_branch = g () => (float[2,3] t) { t = RandomUniformLike(x) }, "
         "else_branch = h () => (float[2,3] e) { e = Relu(x) }> }", True),
    ],
)  # fmt: skip
def test_what_may_draw_at_random(body: str, expected: bool) -> None:
    made = model(f"(float[2,3] x) => (float y) {body}")
    assert may_draw(in_memory(made)) is expected


@pytest.mark.parametrize(
    ("operator", "expected"), [("RandomNormalLike", True), ("Relu", False), ("com.vendor.Own", True)]
)
def test_functions_may_draw_too(operator: str, expected: bool) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17, "f" : 1]>
    g (float[2,3] x) => (float[2,3] y) {{ y = f.own(x) }}
    <domain: "f", opset_import: ["" : 17]> own (a) => (b) {{ b = {operator}(a) }}"""
    assert may_draw(in_memory(onnx.parser.parse_model(text))) is expected
