"""Shapes and types of ONNX Runtime's operators against what the runtime makes of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.graph.form.normalise import normalise
from compressor.graph.ir.nodes import MICROSOFT
from compressor.operators.sizes import infer
from compressor.operators.table import RULES
from tests.models import in_memory
from tests.operators import test_experts, test_fused_attention, test_integer, test_packed, test_quant

from .test_shapes import inputs_of, run_all, values

OURS = {name for (domain, name), record in RULES.items() if domain == MICROSOFT and record.shapes is not None}
CASES = (*test_integer.CASES, *test_experts.CASES, *test_fused_attention.CASES, *test_packed.CASES, *test_quant.CASES)
BUILT = {case.name: case.build for case in CASES}


@pytest.mark.parametrize("name", [n for n in BUILT if n.split()[0] in OURS])
def test_shapes_and_types_are_those_of_the_runtime(name: str) -> None:
    source = normalise(in_memory(BUILT[name]()))
    shapes, known = infer(source), values(source)
    found = run_all(source, inputs_of(source, shapes.inputs))
    for key, array in found.items():
        kind = shapes.dtype(known[key])
        assert kind is not None
        assert (shapes(known[key]), kind.numpy()) == (array.shape, np.dtype(array.dtype)), key


@pytest.mark.parametrize(
    ("attributes", "one", "two", "expected"),
    [
        ({}, (3, 5, 8), (8, 7), (3, 5, 7)),
        ({"transA": 1}, (3, 8, 5), (3, 8, 7), (3, 5, 7)),
        ({"transB": 1}, (2, 1, 5, 8), (3, 7, 8), (2, 3, 5, 7)),
        ({"transA": 1, "transB": 1}, (8, 5), (7, 8), (5, 7)),
        ({"transBatchA": 1}, (8, 3, 5), (8, 5, 7), None),
        ({}, (8,), (8, 7), None),
    ],
)
def test_matrices_that_are_transposed(
    attributes: dict[str, int], one: tuple[int, ...], two: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    inputs = [
        ir.Value(name=n, shape=ir.Shape(s), type=ir.TensorType(ir.DataType.FLOAT)) for n, s in (("a", one), ("b", two))
    ]
    node = ir.node("FusedMatMul", inputs, attributes=attributes, domain=MICROSOFT)
    graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": 17, MICROSOFT: 1})
    assert infer(ir.Model(graph, ir_version=8))(node.outputs[0]) == expected


def test_what_is_cut_says_which_shapes_it_makes() -> None:
    own = {name: record for (domain, name), record in RULES.items() if domain == MICROSOFT}
    assert {name for name, record in own.items() if not record.whole} == OURS


def test_every_operator_has_a_case() -> None:
    assert {name.split()[0] for name in BUILT} >= OURS - {"FusedMatMul"}  # it is taken apart


def test_a_pool_whose_channels_come_last_is_not_inferred() -> None:
    build = BUILT["QLinearGlobalAveragePool"]
    source = normalise(in_memory(build()))
    node = next(n for n in source.graph if n.domain == MICROSOFT)
    node.attributes["channels_last"] = ir.AttrInt64("channels_last", 1)
    assert infer(source)(node.outputs[0]) is None
