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
from tests.operators.case import Case
from tests.operators.every import CASES
from tests.property.pieces import Key, every_node

from .test_shapes import inputs_of, run_all, values

OURS = {key for key, record in RULES.items() if key[0] == MICROSOFT and record.shapes is not None}


def ours_in(case: Case) -> set[Key]:
    """Operators of ONNX Runtime that stand in the model of a case and say which shapes they make."""
    return OURS & {(node.domain, node.op_type) for node in every_node(case.build().graph.node)}


WITH_OURS = [case for case in CASES if ours_in(case)]


@pytest.mark.parametrize("case", WITH_OURS, ids=repr)
def test_shapes_and_types_are_those_of_the_runtime(case: Case) -> None:
    source = normalise(in_memory(case.build()))
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
    assert {key for key, record in RULES.items() if key[0] == MICROSOFT and not record.whole} == OURS


def test_every_operator_has_a_case() -> None:
    held = set[Key]().union(*map(ours_in, WITH_OURS))
    assert held >= OURS - {(MICROSOFT, "FusedMatMul")}  # it is taken apart


def test_a_pool_whose_channels_come_last_is_not_inferred() -> None:
    case = next(case for case in CASES if (MICROSOFT, "QLinearGlobalAveragePool") in ours_in(case))
    source = normalise(in_memory(case.build()))
    node = next(n for n in source.graph if n.domain == MICROSOFT)
    node.attributes["channels_last"] = ir.AttrInt64("channels_last", 1)
    assert infer(source)(node.outputs[0]) is None
