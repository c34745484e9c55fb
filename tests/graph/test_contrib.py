"""Shapes and types of ONNX Runtime's operators against what the runtime makes of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.graph.contrib import LIKE, MICROSOFT, SAME_AS_FIRST
from compressor.graph.normalise import normalise
from compressor.graph.shapes import infer
from tests.models import in_memory
from tests.ops.test_integer import CASES

from .test_shapes import inputs_of, run_all, values

OURS = {op for domain, op in SAME_AS_FIRST if domain == MICROSOFT} | set(LIKE)
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


def test_every_operator_has_a_case() -> None:
    assert {name.split()[0] for name in BUILT} >= OURS


def test_a_pool_whose_channels_come_last_is_not_inferred() -> None:
    build = BUILT["QLinearGlobalAveragePool"]
    source = normalise(in_memory(build()))
    node = next(n for n in source.graph if n.domain == MICROSOFT)
    node.attributes["channels_last"] = ir.AttrInt64("channels_last", 1)
    assert infer(source)(node.outputs[0]) is None
