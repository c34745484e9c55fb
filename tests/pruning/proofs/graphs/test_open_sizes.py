"""Sizes that a caller chooses are what they were, at every size."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.errors import ProofFailed
from tests.models import in_memory, model
from tests.pruning.proofs.graphs.test_wiring import LINEAR, SETTINGS, insert, node, plant, whole_number


def more_rows_than_are_run(graph: ir.Graph) -> None:
    insert(graph, "Slice", "r", [0], [3_000_000], dtype=ir.DataType.INT64)


def a_triangle_wider_than_any_run(graph: ir.Graph) -> None:
    insert(graph, "Trilu", "r", 3_000_000.0, dtype=ir.DataType.INT64)
    next(made for made in graph if made.name == "part").attributes["upper"] = ir.AttrInt64("upper", 0)


HEADS = """(float[n,t,8] x) => (float[n,t,3] y) <float[8,16] w, float[16,3] v, int64[1] eight = {8},
    int64[1] last = {16}, int64[1] two = {2}, int64[2] start = {0,0},
    int64[2] end = {4000000000,8}, int64[2] axes = {1,2}, int64[3] shape = {0,-1,8}> {
    a = MatMul(x, w)  s = Slice(a, start, end, axes)  d = Slice(a, eight, last, two)  j = Concat<axis=2>(s, d)
    y = MatMul(j, v) }"""


def an_end_on_another_axis(graph: ir.Graph) -> None:
    cut = node(graph, "s")
    tensor = cut.inputs[2].const_value
    cut.replace_input_with(2, whole_number(graph, [3_000_000, int(tensor.numpy()[-1])]))


FLAT = """(float[n,t,8] x) => (float[n,t,3] y) <float[8,16] w, float[16,3] v, int64[1] last = {-1},
    int64[1] sixteen = {16}> {
    a = MatMul(x, w)  z = Shape<start=0, end=1>(x)  k = Concat<axis=0>(z, last, sixteen)  r = Reshape(a, k)
    y = MatMul(r, v) }"""


def at_most_so_many(graph: ir.Graph) -> None:
    made = node(graph, "k")
    part = ir.node("Min", [made.inputs[0], whole_number(graph, [3_000_000])], name="part")
    made.prepend(part)
    made.replace_input_with(0, part.outputs[0])


FAULTS: list[tuple[str, Callable[[ir.Graph], None]]] = [
    (LINEAR, more_rows_than_are_run),
    (LINEAR, a_triangle_wider_than_any_run),
    (HEADS, an_end_on_another_axis),
    (FLAT, at_most_so_many),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS)
def test_sizes_beyond_all_runs(monkeypatch: pytest.MonkeyPatch, text: str, fault: Callable[[ir.Graph], None]) -> None:
    assert prune(in_memory(model(text)), SETTINGS).report.proof
    plant(monkeypatch, fault, preparing=False)
    with pytest.raises(ProofFailed, match=r"was put in and changes more than channels|entries in the smaller model"):
        prune(in_memory(model(text)), SETTINGS)
