"""Shapes are inferred by records, which whoever infers is given: it does not matter what was imported before."""

from __future__ import annotations

from compressor.graph.form.normalise import normalise
from compressor.graph.ir.nodes import MICROSOFT
from compressor.graph.sizes.shapes import infer_shapes
from compressor.operators.sizes import infer
from compressor.operators.table import RULES
from tests.models import in_memory
from tests.operators.test_integer import CASES

BUILT = {case.name: case.build for case in CASES}


def test_records_say_what_inference_does_not_know() -> None:
    source = normalise(in_memory(BUILT["QLinearAdd"]()))
    [made] = [node.outputs[0] for node in source.graph if node.domain == MICROSOFT]
    made.shape = None
    assert infer_shapes(source, {})(made) is None
    assert infer(source)(made) == infer_shapes(source, RULES)(made) != None  # noqa: E711 - of both


def test_records_that_were_used_are_kept() -> None:
    """What is inferred anew, of a cut or after a run, is inferred by the same."""
    source = normalise(in_memory(BUILT["QLinearAdd"]()))
    shapes = infer(source)
    assert shapes.records is RULES
    assert shapes.completed(source, {}).records is RULES
