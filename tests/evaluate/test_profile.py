"""Costs by node: every row is a node, and together they are the totals of the report."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.evaluate.profile import detailed, layer_rows
from compressor.graph.disk import files
from tests.models import model

MODELS = Path(__file__).parents[2] / "models"

TWO = """
(float[N,4,6,6] x) => (float[N,8,6,6] y) <float[16,4,3,3] w, float[16] b, float[8,16,1,1] v> {
    a = Conv<pads=[1,1,1,1]>(x, w, b)
    c = Relu(a)
    y = Conv(c, v)
}"""


@pytest.mark.parametrize("name", ["digits-resnet.onnx", "digits-mobilenet.onnx"])
def test_rows_add_up_to_the_totals(name: str) -> None:
    settings = PruneSettings(ratio=0.5, verify=False)
    result = prune(MODELS / name, settings)
    rows = layer_rows(files.load_model(MODELS / name), result.model, settings)
    before = result.report.input.macs
    assert sum(row.macs_before or 0 for row in rows) == before
    after = sum(row.macs_after or 0 for row in rows)
    assert 0 < after < before / 2
    assert all(row.macs_before is not None and row.macs_after is not None for row in rows), "every node has its partner"


def test_costs_of_each_node_by_hand() -> None:
    source = ir.from_proto(model(TWO))
    settings = PruneSettings(ratio=0.5, round_to=1, verify=False)
    first, second = layer_rows(source, prune(source, settings).model, settings)
    assert (first.op_type, first.weight, first.macs_before, first.macs_after) == (
        "Conv",
        "w",
        16 * 4 * 9 * 36,
        8 * 4 * 9 * 36,
    )
    assert (second.weight, second.macs_before, second.macs_after) == ("v", 8 * 16 * 36, 8 * 8 * 36)


def test_a_node_that_only_one_model_has() -> None:
    source = ir.from_proto(model(TWO))
    other = ir.from_proto(
        model(
            "(float[N,4,6,6] x) => (float[N,8,6,6] y) <float[8,4,1,1] u> { z = Relu(x)\n q = Conv(z, u)\n y = Relu(q) }"
        )
    )
    rows = {row.weight: row for row in layer_rows(source, other, PruneSettings())}
    assert rows["w"].macs_after is None
    assert rows["u"].macs_before is None
    assert rows["u"].macs_after == 8 * 4 * 36


def test_nodes_are_matched_by_output_before_name() -> None:
    source, renamed = ir.from_proto(model(TWO)), ir.from_proto(model(TWO))
    first, _, second = renamed.graph
    first.name, second.name = second.name, "other"
    rows = layer_rows(source, renamed, PruneSettings(simplify=False))
    assert [(row.weight, row.macs_before == row.macs_after) for row in rows] == [("w", True), ("v", True)]


def test_nodes_without_a_common_output_are_matched_by_name() -> None:
    source, renamed = ir.from_proto(model(TWO)), ir.from_proto(model(TWO))
    next(iter(renamed.graph)).outputs[0].name = "elsewhere"
    rows = layer_rows(source, renamed, PruneSettings(simplify=False))
    assert [row.macs_before == row.macs_after for row in rows] == [True, True]


def test_a_detailed_report_says_where_it_ran_and_what_each_node_costs() -> None:
    path, settings = MODELS / "digits-resnet.onnx", PruneSettings(ratio=0.5, verify=False)
    result = prune(path, settings)
    report = detailed(result.report, path, result.model, settings)
    assert sum(row.macs_before or 0 for row in report.layers) == report.input.macs
    assert all(row.ms_before is not None and row.ms_after is not None for row in report.layers)
    assert all(row.ms_noise is not None and row.ms_noise >= 0.001 for row in report.layers)
    before, after = (sum(getattr(row, f"ms_{when}") for row in report.layers) for when in ("before", "after"))
    assert 0 < after < before, "a quarter of the work is left"
    assert {"onnx", "numpy"} <= set(report.environment.packages)
    plain = detailed(result.report, path, result.model, settings, timed=False)
    untimed = {"ms_before": None, "ms_after": None, "ms_noise": None}
    assert plain.layers == [row.model_copy(update=untimed) for row in report.layers]


def test_noise_is_what_measurements_of_one_model_are_apart() -> None:
    one, other = ir.from_proto(model(TWO)), ir.from_proto(model(TWO))
    names = [str(node.outputs[0].name) for node in one.graph if node.op_type == "Conv"]
    turns = ([dict.fromkeys(names, 0.5), dict.fromkeys(names, 0.7)], [dict.fromkeys(names, 0.2)] * 2)
    settings = PruneSettings(simplify=False)
    for row in layer_rows(one, other, settings, turns):
        assert (row.ms_before, row.ms_after) == pytest.approx((0.6, 0.2))
        assert row.ms_noise == pytest.approx(0.2)
        assert row.time_tells
    turns[1][:] = [dict.fromkeys(names, 0.45)] * 2
    assert not any(row.time_tells for row in layer_rows(one, other, settings, turns))


def test_neither_model_is_changed() -> None:
    source = ir.from_proto(model(TWO))
    text = ir.to_proto(source).SerializeToString()
    layer_rows(source, source, PruneSettings())
    assert ir.to_proto(source).SerializeToString() == text
