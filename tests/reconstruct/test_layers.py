"""Which layers can be repaired, which values a cut reaches, and weights that only came out equal."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.config import PruneSettings
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.apply import apply_plan, cut_of
from compressor.reconstruct.form import Unrepairable
from compressor.reconstruct.layers import Kept, affected, repairable_layers, untie_weights
from tests.models import between, in_memory, model

TWINS = """(float[2,4] x) => (float[2,5] p, float[2,5] q) <float[4,5] r, float[4,5] s> {
    p = MatMul(x, r)  q = MatMul(x, s) }"""


def cut_in_half() -> tuple[Kept, ir.Model]:
    settings = PruneSettings(ratio=0.5, round_to=1, scope="local", recover="none")
    analysis = analyse(in_memory(between("b = Relu(a)")), settings)
    plan = choose_channels(analysis.coupling, settings, 1).plan
    return Kept(cut_of(plan, analysis)), apply_plan(analysis, plan)


def test_what_lost_positions_and_what_follows_from_it() -> None:
    kept, small = cut_in_half()
    touched, after = affected(small.graph, kept)
    assert touched == {"a", "b", "z"}
    assert after == {"a", "b", "z", "y"}


def test_a_layer_whose_weights_are_replaced_counts_as_touched() -> None:
    source = in_memory(model(TWINS))
    kept, _ = cut_in_half()
    assert affected(source.graph, kept, ["MatMul_0"]) == ({"x", "r"}, {"x", "r", "p", "q"})


def test_positions_that_stay_are_taken_of_what_the_dense_net_gives() -> None:
    kept, _ = cut_in_half()
    whole = np.arange(3 * 16 * 36, dtype=np.float32).reshape(3, 16, 6, 6)
    assert kept("a", whole).shape == (3, 8, 6, 6)
    assert kept("x", whole) is whole
    with pytest.raises(Unrepairable, match="the sizes of 'a' are not those"):
        kept("a", whole[:, :5])


def test_a_node_of_another_operator_is_no_twin() -> None:
    source = in_memory(model(TWINS))
    other = source.clone()
    first, second = other.graph
    first.op_type, second.name = "Gemm", "elsewhere"
    found, skipped = repairable_layers(source, other, {"x"})
    assert not found
    assert set(skipped.values()) == {"the dense model has no such node"}


def test_weights_that_only_came_out_equal_are_apart_again() -> None:
    dense, small = (in_memory(model(TWINS)) for _ in range(2))
    first, second = small.graph
    second.replace_input_with(1, first.inputs[1])
    untie_weights(small, dense, {"x"})
    assert first.inputs[1] is not second.inputs[1]
    assert [layer.name for layer in repairable_layers(small, dense, {"x"})[0]] == ["MatMul_0", "MatMul_1"]
