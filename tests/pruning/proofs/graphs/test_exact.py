"""Weights of the smaller model are what stays of the original's, also where no input of the proof reaches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune, ProofFailed
from compressor.graph.tensors.weights import DerivedTensor, paired_weights, seal
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut import surgery
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.apply import apply_plan, cut_of
from compressor.pruning.proofs.graphs.exact import _stands_for, demand_exact, demand_settings
from tests.models import between, in_memory, model
from tests.property.graphs import random_model

SETTINGS = PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local")
TABLE = """(int64[n,3] i) => (float[n,3,c] y) <float[5000,16] table, float[16,8] v, float[8,2] head> {
    a = Gather(table, i)  b = MatMul(a, v)  c = Relu(b)  y = MatMul(c, head) }"""


def last_rows_zero(array: np.ndarray) -> None:
    array[-1:] = 0


def upside_down(array: np.ndarray) -> None:
    array[:] = array[::-1].copy()


def planted(monkeypatch: pytest.MonkeyPatch, name: str, edit: Callable[[np.ndarray], None]) -> None:
    """Surgery leaves one weight wrong."""
    honest = surgery.remove

    def wrong(small: ir.Model, *rest: Any) -> None:
        honest(small, *rest)
        value = small.graph.initializers[name]
        assert value.const_value is not None
        array = value.const_value.numpy().copy()
        edit(array)
        value.const_value = ir.tensor(array, name=name)

    monkeypatch.setattr(surgery, "remove", wrong)


def test_rows_that_no_input_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, "table", last_rows_zero)
    with pytest.raises(ProofFailed, match="weight 'table' of the smaller model does not hold what stays"):
        prune(in_memory(model(TABLE)), SETTINGS)


@pytest.mark.parametrize("name", ["w", "v", "head", "bias"])
def test_any_weight(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    planted(monkeypatch, name, upside_down)
    with pytest.raises(ProofFailed):
        prune(in_memory(between("b = Relu(a)")), SETTINGS)


@pytest.mark.parametrize(("operator", "attribute", "other"), [("LeakyRelu<alpha = 0.01>", "alpha", 0.010001)])
def test_settings_of_nodes_that_no_cut_changes(
    monkeypatch: pytest.MonkeyPatch, operator: str, attribute: str, other: float
) -> None:
    honest = surgery.remove

    def wrong(small: ir.Model, *rest: Any) -> None:
        honest(small, *rest)
        for node in small.graph:
            if attribute in node.attributes:
                node.attributes[attribute] = ir.AttrFloat32(attribute, other)

    monkeypatch.setattr(surgery, "remove", wrong)
    with pytest.raises(ProofFailed, match=f"attribute '{attribute}' of node"):
        prune(in_memory(between(f"b = {operator}(a)")), SETTINGS)


@pytest.mark.parametrize("seed", range(32, 40))
def test_right_cuts_are_exact(seed: int) -> None:
    """Others are proved so where random graphs are pruned (tests/property), which demands it of each."""
    source = in_memory(random_model(np.random.default_rng(seed)))
    analysis = analyse(source, SETTINGS)
    try:
        plan = choose_channels(analysis.coupling, SETTINGS, 1).plan
    except NothingToPrune:
        return
    cut, small = cut_of(plan, analysis), apply_plan(analysis, plan)
    assert list(paired_weights(cut.coupling.graph, small.graph))
    demand_exact(cut, small)


@pytest.mark.parametrize(
    ("left", "same"), [([1.0, 3.0], True), ([1.0, 2.0, 3.0], True), ([3.0, 1.0], False), ([1.5], False)]
)
def test_a_list_of_a_node_may_lose_entries_and_no_more(left: list[float], same: bool) -> None:
    """As one of numbers by channel does, where its operator's repair cuts it."""
    whole, kept = ir.AttrFloat32s("scale", [1.0, 2.0, 3.0]), ir.AttrFloat32s("scale", left)
    assert _stands_for(kept, whole, shorter=True) == same
    assert _stands_for(kept, whole, shorter=False) == (kept.value == whole.value)


def test_weights_that_are_made_when_they_are_written() -> None:
    analysis = analyse(in_memory(between("b = Relu(a)")), SETTINGS)
    plan = prune(in_memory(between("b = Relu(a)")), SETTINGS).plan
    assert plan is not None
    cut, small = cut_of(plan, analysis), apply_plan(analysis, plan)
    for name, value in small.graph.initializers.items():
        source = cut.coupling.graph.initializers.get(name)
        if source is not None and source.const_value is not None and value.const_value is not None:
            part = surgery.kept_entries(cut, source)
            value.const_value = DerivedTensor(source.const_value, part, tuple(value.const_value.shape.numpy()))
    demand_exact(cut, small)
    wrong = small.graph.initializers["v"]
    assert isinstance(wrong.const_value, DerivedTensor)
    right = wrong.const_value
    wrong.const_value = DerivedTensor(right, lambda rows, first: -rows, tuple(right.shape.numpy()))
    with pytest.raises(ProofFailed, match="'v'"):
        demand_exact(cut, small)


def test_arrays_of_an_analysed_model_cannot_be_edited() -> None:
    """The reference and the smaller model are copies that share them."""
    graph = in_memory(between("b = Relu(a)")).graph
    graph.initializers["w"].const_value = ir.tensor(np.ones((16, 4, 3, 3), np.float32), name="w")
    seal(graph)
    tensor = graph.initializers["w"].const_value
    assert tensor is not None
    with pytest.raises(ValueError, match="read-only"):
        tensor.numpy()[0] = 0


@pytest.mark.parametrize("recover", ["none", pytest.param("lstsq", marks=pytest.mark.recovers)])
def test_arrays_of_a_result_cannot_be_edited(recover: str) -> None:
    """What was proved, what recovery starts from and what is written are copies that share them."""
    made = prune(in_memory(between("b = Relu(a)")), SETTINGS.resolved(recover=recover)).model
    for value in made.graph.initializers.values():
        assert value.const_value is not None
        with pytest.raises(ValueError, match="read-only"):
            value.const_value.numpy()[...] = 0


def test_a_default_that_the_file_writes_may_be_left_out() -> None:
    # Preparing drops it: a way of training that is none.
    text = """(float[n,3] x) => (float[n,2] y) <float[3,16] w, float[16] s, float[16] b, float[16] m, float[16] s2,
        float[16,2] v> { a = MatMul(x, w)  c = BatchNormalization<training_mode=0>(a, s, b, m, s2)  d = Relu(c)
        y = MatMul(d, v) }"""
    assert prune(in_memory(model(text)), SETTINGS).report.proof


@pytest.mark.parametrize("names", [True, False])
def test_what_takes_the_place_of_a_node_has_its_numbers(names: bool) -> None:
    """Of nodes without a name all count as gone, as preparing names them."""
    text = """(float[n,4] x) => (float[n,4] y) <float[4] s> {
        a = com.microsoft.QuickGelu<alpha=1.5>(x)  y = LayerNormalization<epsilon=0.001>(a, s) }"""
    before = in_memory(model(text, domains=("com.microsoft",)))
    after = in_memory(model(text.replace("com.microsoft.QuickGelu<alpha=1.5>", "LeakyRelu<alpha=1.5>")))
    for graph in (before.graph, after.graph):
        for node in graph:
            node.name = node.op_type if names or graph is after.graph else None
    demand_settings(before.graph, after.graph, "it")
    first = next(iter(after.graph))
    first.attributes["alpha"] = ir.AttrFloat32("alpha", 1.25)
    with pytest.raises(ProofFailed, match="attribute 'alpha' of node 'LeakyRelu' of it"):
        demand_settings(before.graph, after.graph, "it")


@pytest.mark.parametrize(
    "fused",
    [
        'FusedGemm<activation="LeakyRelu",alpha=1.0,activation_alpha=0.25>(x, w, b)',
        'FusedConv<activation="LeakyRelu",alpha=1.0,activation_params=[0.25]>(x, w, b)',
    ],
)
def test_a_fused_node_may_call_a_number_otherwise(fused: str) -> None:
    given = "(float[n,4] x) => (float[n,4] y) <float[4,4] w, float[4] b> {"
    before = in_memory(model(f"{given} y = com.microsoft.{fused} }}", domains=("com.microsoft",), checked=False))
    after = in_memory(model(f"{given} z = Gemm(x, w, b)  y = LeakyRelu<alpha=0.25>(z) }}"))
    demand_settings(before.graph, after.graph, "it")
    after.graph[-1].attributes["alpha"] = ir.AttrFloat32("alpha", 0.5)
    with pytest.raises(ProofFailed, match="attribute 'alpha'"):
        demand_settings(before.graph, after.graph, "it")
