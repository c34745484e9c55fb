"""Quantised weights and activations: per tensor, per channel, in blocks."""

from __future__ import annotations

import pytest

from .case import MICROSOFT, Case, check, image, token

SCALES = "float[16] s, float small = {0.02}"

CASES = (
    image("QuantizeLinear of activations", "q = QuantizeLinear(a, small, zero)  b = DequantizeLinear(q, small, zero)",
          more="float small = {0.05}, uint8 zero = {128}"),
    image("QuantizeLinear by channel", "q = QuantizeLinear(a, s)  b = DequantizeLinear<axis=-3>(q, s)",
          more="float[16] s"),
    image("DequantizeLinear of a weight", "d = DequantizeLinear(k, small, zero)  b = Conv(a, d)", {"w": 8, "k": 8,
          "v": 4},
          more="int8[16,16,1,1] k, float small = {0.02}, int8 zero = {3}"),
    image("DequantizeLinear of a weight by filter", "d = DequantizeLinear<axis=0>(k, s, zero)  b = Conv(a, d)",
          {"w": 8, "k": 8, "v": 4}, more="int8[16,16,1,1] k, float[16] s, int8[16] zero"),
    token("DequantizeLinear of a weight by column", "d = DequantizeLinear<axis=1>(k, s)  b = MatMul(a, d)",
          {"w": 8, "k": 8, "v": 3}, more="int8[16,16] k, float[16] s"),
    token("DequantizeLinear by row and transposed",
          "d = DequantizeLinear<axis=0>(k, s)  t = Transpose(d)  b = MatMul(a, t)",
          {"w": 8, "k": 8, "v": 3}, more="uint8[16,16] k, float[16] s"),
    token("DequantizeLinear in blocks", "d = DequantizeLinear<axis=0,block_size=4>(k, s)  b = MatMul(a, d)",
          {"w": 8, "k": 8, "v": 3}, more="int8[16,16] k, float[4,16] s", opset=21),
    token("DequantizeLinear in blocks with zero points",
          "d = DequantizeLinear<axis=0,block_size=8>(k, s, zero)  b = MatMul(a, d)",
          {"w": 8, "k": 8, "v": 3}, more="uint8[16,16] k, float[2,16] s, uint8[2,16] zero", opset=21),
    token("DequantizeLinear of a bias by one number in a vector",
          "d = DequantizeLinear(k, s)  b = LayerNormalization(a, sw, d)", {"w": 8, "v": 3},
          more="int32[16] k, float[1] s, float[16] sw"),
    token("DequantizeLinear in blocks of which the last is not full",
          "d = DequantizeLinear<axis=0,block_size=6>(k, s)  b = MatMul(a, d)", {"k": 8, "v": 3},
          frozen={"w": "has nothing to remove there"}, more="int8[16,16] k, float[3,16] s", opset=21),
    image("QuantizeLinear as quantised training leaves it",
          """qa = QuantizeLinear(a, small, za)  da = DequantizeLinear(qa, small, za)
          dk = DequantizeLinear<axis=0>(k, s, zk)  c = Conv(da, dk, p)  r = Relu(c)
          qr = QuantizeLinear(r, small, zb)  b = DequantizeLinear(qr, small, zb)""", {"w": 8, "k": 8, "v": 4},
          more=f"int8[16,16,1,1] k, {SCALES}, float[16] p, uint8 za = {{128}}, uint8 zb = {{0}}, int8[16] zk"),
    image("QuantizeLinear and DequantizeLinear of ONNX Runtime",
          """qa = com.microsoft.QuantizeLinear(a, small, za)  da = com.microsoft.DequantizeLinear(qa, small, za)
          dk = com.microsoft.DequantizeLinear<axis=0>(k, s, zk)  b = Conv(da, dk)""", {"w": 8, "k": 8, "v": 4},
          more=f"int8[16,16,1,1] k, {SCALES}, uint16 za = {{32768}}, int8[16] zk", **MICROSOFT),
    image("DequantizeLinear of ONNX Runtime of one number", """dk = com.microsoft.DequantizeLinear(k, small)
          b = Conv(a, dk)""", {"w": 8, "k": 8, "v": 4}, more="int8[16,16,1,1] k, float small = {0.02}", **MICROSOFT),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_quant(case: Case) -> None:
    check(case)
