"""Nodes of the smaller model read what they read in the original, also where no input of the proof shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import ProofFailed
from compressor.pruning.cut import analysis, surgery
from compressor.pruning.proofs import preparation
from tests.models import in_memory, model

SETTINGS = PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local")
RARE = """(float[n,6] x) => (float[n,3] y, float[n,16] z) <float[6,16] w, float[16,3] v, float[6,16] w2,
    float low = {-90}, float high = {90}, float higher = {91}, float[1] most = {95}, float[1] fill = {2}> {
    a = MatMul(x, w)  big = Greater(a, most)  b = Where(big, fill, a)  c = Clip(b, low, high)  d = Clip(a, low, higher)
    s = Add(c, d)  y = MatMul(s, v)  z0 = MatMul(x, w2)  z = Clip(z0, low, high) }"""


def node(graph: ir.Graph, output: str) -> ir.Node:
    return next(n for n in graph if n.outputs[0].name == output)


def another_bound(graph: ir.Graph) -> None:
    node(graph, "c").replace_input_with(2, node(graph, "d").inputs[2])


def passed_over(graph: ir.Graph) -> None:
    node(graph, "b").outputs[0].replace_all_uses_with(node(graph, "a").outputs[0])


def another_operator(graph: ir.Graph) -> None:
    node(graph, "big").op_type = "GreaterOrEqual"


def another_value(graph: ir.Graph) -> None:
    node(graph, "d").replace_input_with(0, node(graph, "b").outputs[0])


def another_result(graph: ir.Graph) -> None:
    z = node(graph, "z")
    z.outputs[0].name, node(graph, "z0").outputs[0].name = "z1", "z"
    graph.outputs[1] = node(graph, "z").outputs[0]


FAULTS: dict[Callable[[ir.Graph], None], str] = {
    another_bound: "reads other values|is not what the file holds",
    passed_over: "reads other values",
    another_operator: "is a GreaterOrEqual, was a Greater",
    another_value: "reads other values",
    another_result: "comes from elsewhere",
}


def plant(monkeypatch: pytest.MonkeyPatch, fault: Callable[[ir.Graph], None], *, preparing: bool) -> None:
    """A fault in the graph that is prepared, or in the one that is cut."""
    honest = analysis.normalise if preparing else surgery.remove

    def wrong(given: ir.Model, *rest: Any) -> Any:
        made = honest(given, *rest)
        fault(given.graph)
        return made

    monkeypatch.setattr(*((analysis, "normalise") if preparing else (surgery, "remove")), wrong)


@pytest.mark.parametrize("preparing", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_no_input_of_the_proof_shows(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[ir.Graph], None], preparing: bool
) -> None:
    assert prune(in_memory(model(RARE)), SETTINGS).report.proof
    plant(monkeypatch, fault, preparing=preparing)
    with pytest.raises(ProofFailed, match=FAULTS[fault]):
        prune(in_memory(model(RARE)), SETTINGS)


LINEAR = """(float[n,6] x) => (float[m,3] y) <float[6,16] w, float[16,3] v> {
    a = MatMul(x, w)  r = Relu(a)  y = MatMul(r, v) }"""


def insert(
    graph: ir.Graph, op_type: str, behind: str, *numbers: float | list[int], dtype: ir.DataType = ir.DataType.FLOAT
) -> None:
    """A node of its own behind a value; it reads numbers, besides."""
    constants = [ir.Value(name=f"n{k}", const_value=ir.tensor(n, dtype, name=f"n{k}")) for k, n in enumerate(numbers)]
    for value in constants:
        graph.initializers[str(value.name)] = value
    last = node(graph, behind)
    part = ir.node(op_type, [last.outputs[0], *constants], name="part")
    last.outputs[0].replace_all_uses_with(part.outputs[0])
    part.replace_input_with(0, last.outputs[0])
    last.append(part)


def first_rows(graph: ir.Graph) -> None:
    """Right for up to four samples."""
    insert(graph, "Slice", "r", [0], [4], dtype=ir.DataType.INT64)


def bounded(graph: ir.Graph) -> None:
    """Right for ordinary numbers."""
    insert(graph, "Clip", "a", -70.0, 70.0)


def test_batches_larger_than_those_of_other_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, first_rows, preparing=False)
    with pytest.raises(ProofFailed):
        prune(in_memory(model(LINEAR)), SETTINGS)


@pytest.mark.parametrize(("text", "fault"), [(LINEAR, first_rows), (RARE, bounded)])
def test_preparation_is_run_on_large_batches_and_numbers(
    monkeypatch: pytest.MonkeyPatch, text: str, fault: Callable[[ir.Graph], None]
) -> None:
    monkeypatch.setattr(preparation, "demand_prepared_wiring", lambda *_: None)  # runs alone are asked here
    plant(monkeypatch, fault, preparing=True)
    with pytest.raises(ProofFailed, match="differs from the file"):
        prune(in_memory(model(text)), SETTINGS)
