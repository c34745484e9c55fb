"""Costs of networks that are counted by hand, and estimates that agree with what is left after a cut."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compressor.channels.groups import group
from compressor.channels.plan import units_of
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer
from compressor.pruning.budgets.cost import CostModel, graph_macs, graph_params, uncounted
from compressor.pruning.budgets.select import choose_channels
from compressor.steps.counts import stats_in_memory
from tests.models import in_memory, model
from tests.oracle import couple, pair
from tests.property.idioms import IDIOMS

KNOWN = {
    "convolution": (
        """(float[2,3,8,8] x) => (float y) <float[16,3,3,3] w, float[16] b, float[10,16,1,1] v> {
            a = Conv<strides=[2,2],pads=[1,1,1,1]>(x, w, b)  r = Relu(a)  y = Conv(r, v) }""",
        2 * 16 * 16 * 27 + 2 * 10 * 16 * 16,
        16 * 27 + 16 + 160,
    ),
    "quantised": (
        """(float[1,8,5,5] x) => (float y) <int8[16,8,1,1] k, float[16] s, int8[16] z, int64[2] shape = {16,25}> {
            w = DequantizeLinear<axis=0>(k, s, z)  a = Conv(x, w)  y = Reshape(a, shape) }""",
        16 * 8 * 25,
        16 * 8,
    ),
    "integers": (
        """(uint8[1,8,5,5] x) => (int32 y) <int8[16,8,1,1] k> { y = ConvInteger(x, k) }""",
        16 * 8 * 25,
        16 * 8,
    ),
    "grouped": (
        """(float[1,8,5,5] x) => (float y) <float[16,2,3,3] w> { y = Conv<group=4>(x, w) }""",
        16 * 9 * 2 * 9,
        16 * 2 * 9,
    ),
    "depthwise": (
        """(float[1,8,5,5] x) => (float y) <float[8,1,3,3] w> { y = Conv<group=8>(x, w) }""",
        8 * 9 * 9,
        72,
    ),
    "transposed": (
        """(float[1,8,5,5] x) => (float y) <float[8,4,2,2] w> { y = ConvTranspose<strides=[2,2]>(x, w) }""",
        8 * 25 * 4 * 4,
        128,
    ),
    "linear": (
        """(float[7,5,8] x) => (float y) <float[8,6] w> { y = MatMul(x, w) }""",
        7 * 5 * 8 * 6,
        48,
    ),
    "gemm": (
        """(float[7,8] x) => (float y) <float[6,8] w, float[6] b> { y = Gemm<transB=1>(x, w, b) }""",
        7 * 8 * 6,
        54,
    ),
    "gemm of a transposed input": (
        """(float[8,7] x) => (float y) <float[8,6] w> { y = Gemm<transA=1>(x, w) }""",
        7 * 8 * 6,
        48,
    ),
    "products of activations": (
        """(float[2,4,5,8] x) => (float y) { t = Transpose<perm=[0,1,3,2]>(x)  s = MatMul(x, t)  y = MatMul(s, x) }""",
        2 * 4 * (5 * 8 * 5 + 5 * 5 * 8),
        0,
    ),
    "einsum": (
        """(float[2,5,4,8] x) => (float y) { y = Einsum<equation="bthd,bshd->bhts">(x, x) }""",
        2 * 4 * 5 * 5 * 8,
        0,
    ),
    "lstm": (
        """(float[5,3,8] x) => (float y) <float[1,64,8] u, float[1,64,16] t, float[1,128] b> {
            y = LSTM<hidden_size=16>(x, u, t, b) }""",
        5 * 3 * 64 * (8 + 16),
        64 * 24 + 128,
    ),
    "gru in both directions": (
        """(float[5,3,8] x) => (float y) <float[2,48,8] u, float[2,48,16] t> {
            y = GRU<hidden_size=16,direction="bidirectional">(x, u, t) }""",
        5 * 3 * 2 * 48 * (8 + 16),
        2 * 48 * 24,
    ),
    "no product at all": ("(float[2,3] x) => (float y) <float[3] s> { r = Relu(x)  y = Mul(r, s) }", 0, 3),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_networks(name: str) -> None:
    text, expected_macs, expected_params = KNOWN[name]
    found = stats_in_memory(in_memory(model(text)), PruneSettings())
    assert (found.macs, found.params) == (expected_macs, expected_params)


def test_attention_as_one_operator() -> None:
    text = """(float[2,5,16] x) => (float y) { y = Attention<q_num_heads=4,kv_num_heads=4>(x, x, x) }"""
    assert stats_in_memory(in_memory(model(text, opset=23)), PruneSettings()).macs == 2 * 2 * 5 * 5 * 16


def test_attention_of_grouped_queries() -> None:
    text = """(float[2,5,16] x, float[2,7,8] k) => (float y) { y = Attention<q_num_heads=4,kv_num_heads=2>(x, k, k) }"""
    assert stats_in_memory(in_memory(model(text, opset=23)), PruneSettings()).macs == 2 * 2 * 5 * 7 * 16


ESTIMATED = ["network.resnet", "network.mobilenet", "network.densenet", "network.vit", "network.llama",
      "network.tagger",
             "network.shufflenet", "network.wav2vec", "image.conv_transpose", "image.group_norm"]  # fmt: skip


@pytest.mark.parametrize("name", [n for n in ESTIMATED if n in IDIOMS])
def test_estimates_are_what_is_left(name: str) -> None:
    """The search of a target is only as good as the estimate it searches with."""
    source = in_memory(IDIOMS[name]())
    settings = PruneSettings(ratio=0.5, round_to=1, verify=False)
    try:
        result = prune(source, settings)
    except NothingToPrune:
        pytest.skip("nothing to prune")
    _, coupling = couple(source, settings)
    choose_channels(coupling, settings, 1)
    removed = units_of(result.plan, coupling)
    estimate = CostModel(coupling)
    assert estimate.macs_after(removed) == macs_of(result.model, settings)
    assert estimate.params_after(removed) == graph_params(pair(source, settings).smaller.graph)
    assert estimate.macs == graph_macs(coupling.graph, coupling.shapes)
    assert estimate.params == graph_params(coupling.graph)


def macs_of(found: ir.Model, settings: PruneSettings) -> int:
    """Of one run at the bound sizes; the report divides by the batch."""
    plain = normalise(found.clone())
    return graph_macs(plain.graph, infer(plain, settings.input_shapes, settings.dims))


def test_bytes_follow_the_element_type() -> None:
    text = """(float[2,3,8,8] x) => (float y) <float[16,3,3,3] w, float[4,16,1,1] v> {
        a = Conv(x, w)  r = Relu(a)  y = Conv(r, v) }"""
    _, coupling = couple(in_memory(model(text)), PruneSettings())
    cost = CostModel(coupling)
    units = group(coupling)[0].units
    assert cost.bytes_after(np.zeros(0, np.int64)) == 4 * (16 * 27 + 64)
    assert cost.bytes_after(units[:4]) == 4 * (12 * 27 + 48)
    assert cost.params_after(units[:4]) == 12 * 27 + 48
    assert cost.macs_after(units[:4]) == 2 * 12 * 36 * 27 + 2 * 4 * 36 * 12


@pytest.mark.parametrize("rows", [4, 6])
def test_what_is_computed_once_counts_by_its_share(rows: int) -> None:
    """Whether or not the sum is a multiple of the batch: else two models would be counted by different rules."""
    text = f"""(float[N,{rows}] x) => (float y) <float[{rows},5] u, float[5,7] v> {{
        w = MatMul(u, v)  y = MatMul(x, w) }}"""
    found = in_memory(model(text))
    batch = infer(normalise(found.clone())).batch
    assert batch == 3
    assert stats_in_memory(found, PruneSettings()).macs == round(rows * 5 * 7 / batch) + rows * 7


def test_a_node_that_does_not_fit_is_not_counted() -> None:
    """Its rule declines it, or fails; its cost is then said to be unknown."""
    source = in_memory(
        model("""(float[3,5,8] x) => (float y) <float[8,16] w, float[16,6] v> {
            a = MatMul(x, w)  b = Einsum<equation = "ab,bc->ac">(a, v)  y = Relu(b) }""", checked=False)
    )  # fmt: skip
    shapes = {v: (3, 5, 8) for n in source.graph for v in (*n.inputs, *n.outputs) if v is not None}
    assert graph_macs(source.graph, shapes.get) >= 0
    assert "Einsum" in {node.op_type for node in uncounted(source.graph, shapes.get)}
