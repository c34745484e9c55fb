"""Quantised operators that keep their channels: their weights count as weights, and what they compute is counted."""

from __future__ import annotations

import pytest

from compressor.config import PruneSettings
from compressor.pruning.budgets.cost import graph_params, macs_per_sample, uncounted
from compressor.pruning.cut.measured_shapes import shapes_of
from tests.models import in_memory, model

from .case import MICROSOFT

LSTM = """(float[5,1,8] x) => (float[5,1,1,4] y) <int8[1,8,16] w, int8[1,4,16] r, float[1,32] b, float[1,16] s,
    int8[1,16] z> { y, h, c = com.microsoft.DynamicQuantizeLSTM<hidden_size=4>(x, w, r, b, , , , , s, z, s, z) }"""
ATTENTION = """(uint8[1,6,8] x) => (float[1,6,8] y) <int8[8,24] w, float[24] b, float s, float[24] t, uint8 z,
    int8[24] q> { y = com.microsoft.QAttention<num_heads=2>(x, w, b, s, t, , z, q) }"""
CONVOLUTION = """(uint8[1,8,8,3] x) => (uint8[1,6,6,4] y) <int8[4,3,3,3] w, float s, uint8 z, float[4] t, int8[4] q,
    int32[4] b> { y = com.microsoft.QLinearConv<channels_last=1>(x, s, z, w, t, q, s, z, b) }"""
FOUR_BITS = """(float[2,64] x) => (float[2,8] y) <uint8[256] w, float[16] s> {
    y = com.microsoft.MatMulBnb4<K=64,N=8,block_size=32,quant_type=1>(x, w, s) }"""


@pytest.mark.parametrize(
    ("text", "params", "macs"),
    [
        (LSTM, 8 * 16 + 4 * 16 + 32, 5 * (8 * 16 + 4 * 16)),
        (ATTENTION, 8 * 24 + 24, 6 * 8 * 24 + 2 * 6 * 6 * 8),
        (CONVOLUTION, 4 * 27 + 4, 36 * 4 * 27),
        (FOUR_BITS, 512, 2 * 512),
    ],
    ids=["DynamicQuantizeLSTM", "QAttention", "QLinearConv", "MatMulBnb4"],
)
def test_weights_and_products_count_and_scales_do_not(text: str, params: int, macs: int) -> None:
    source = in_memory(model(text, **MICROSOFT))
    assert graph_params(source.graph) == params
    shapes = shapes_of(source, PruneSettings())
    assert uncounted(source.graph, shapes) == []
    assert macs_per_sample(source.graph, shapes) * shapes.batch == macs


def test_experts_of_few_bits_count_by_their_numbers() -> None:
    text = """(float[6,32] x, float[6,4] p) => (float[6,32] y) <uint8[4,64,16] v, float[4,64] s, uint8[4,32,32] w,
        float[4,32] t> { y = com.microsoft.QMoE<k=2>(x, p, v, s, , w, t) }"""
    assert graph_params(in_memory(model(text, **MICROSOFT)).graph) == 4 * (64 * 32 + 32 * 64)
