"""Operators that ONNX Runtime fused compute the same once they are taken apart."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.graph.form import unfuse_attention
from compressor.graph.form.normalise import normalise
from compressor.graph.form.unfuse import ACTIVATIONS, FUSED
from compressor.graph.ir.meta_keys import UNFUSED
from compressor.graph.ir.nodes import MICROSOFT
from tests.graph.disk.samples import run
from tests.models import in_memory, model

IMAGE = "(float[2,4,6,6] x) => (float[n,c,h,w] y) <float[8,4,3,3] k, float[8] b, float[2,8,6,6] z>"
WORDS = "(float[2,5,8] x) => (float[n,t,c] y) <float[8] s, float[8] b, float[8] q, float[2,5,8] z, float[8] s2>"
TABLE = "(float[3,8] x) => (float[n,c] y) <float[8,6] k, float[6] b>"
CONV = "com.microsoft.FusedConv<pads=[1,1,1,1],"

BODIES = {
    "FusedConv with an addend": f"{IMAGE} {{ y = {CONV}activation=\"Relu\">(x, k, b, z) }}",
    "FusedConv without a bias": f"{IMAGE} {{ y = {CONV}activation=\"Sigmoid\">(x, k) }}",
    "FusedConv with an addend and no bias": f"{IMAGE} {{ y = {CONV}activation=\"Tanh\">(x, k, , z) }}",
    "FusedConv with a slope": f"{IMAGE} {{ y = {CONV}activation=\"LeakyRelu\",activation_params=[0.3]>(x, k, b) }}",
    "FusedConv with limits": f"{IMAGE} {{ y = {CONV}activation=\"Clip\",activation_params=[0.0,0.5]>(x, k, b) }}",
    "FusedConv with a line": f"{IMAGE} {{ y = {CONV}activation=\"HardSigmoid\",activation_params=[0.3,0.4]>(x, k) }}",
    "FusedGemm": f"{TABLE} {{ y = com.microsoft.FusedGemm<activation=\"Relu\",alpha=0.5>(x, k, b) }}",
    "FusedGemm with a slope":
        f"{TABLE} {{ y = com.microsoft.FusedGemm<activation=\"LeakyRelu\",activation_alpha=0.3>(x, k, b) }}",
    "FusedMatMul": "(float[2,5,8] x) => (float[n,t,c] y) <float[6,8] k> "
                   "{ y = com.microsoft.FusedMatMul<transB=1,alpha=0.5>(x, k) }",
    "FusedMatMul of both": "(float[2,5,8] x) => (float[n,t,c] y) <float[2,3,5] k> "
                           "{ y = com.microsoft.FusedMatMul<transA=1,transB=1>(x, k) }",
    "FusedMatMul as it is": "(float[2,5,8] x) => (float[n,t,c] y) <float[8,3] k> "
                            "{ y = com.microsoft.FusedMatMul(x, k) }",
    "Gelu": f"{WORDS} {{ y = com.microsoft.Gelu(x) }}",
    "BiasGelu": f"{WORDS} {{ y = com.microsoft.BiasGelu(x, b) }}",
    "BiasAdd": "(float[2,6,5] x) => (float[n,t,c] y) <float[5] b, float[2,6,5] z> "
               "{ y = com.microsoft.BiasAdd(x, b, z) }",
    "FastGelu": f"{WORDS} {{ y = com.microsoft.FastGelu(x) }}",
    "FastGelu with a bias": f"{WORDS} {{ y = com.microsoft.FastGelu(x, b) }}",
    "QuickGelu": f"{WORDS} {{ y = com.microsoft.QuickGelu(x) }}",
    "QuickGelu of another slope": f"{WORDS} {{ y = com.microsoft.QuickGelu<alpha=1.0>(x) }}",
    "SkipLayerNormalization": f"{WORDS} {{ y = com.microsoft.SkipLayerNormalization<epsilon=0.1>(x, z, s, b, q) }}",
    "SkipLayerNormalization of little": f"{WORDS} {{ y = com.microsoft.SkipLayerNormalization(x, z, s) }}",
    "SkipLayerNormalization and its sum": f"""{WORDS} {{
        a, m, i, t = com.microsoft.SkipLayerNormalization(x, z, s, b, q)  y = Mul(a, t) }}""",
    "SkipSimplifiedLayerNormalization": f"""{WORDS} {{
        a, m, i, t = com.microsoft.SkipSimplifiedLayerNormalization(x, z, s, q)  y = Mul(a, t) }}""",
    "SimplifiedLayerNormalization": f"{WORDS} {{ y = SimplifiedLayerNormalization<axis=-1,epsilon=0.1>(x, s) }}",
}  # fmt: skip
ON_A_GPU_ONLY = {"BiasAdd"}
"""ONNX Runtime has no kernel of these for the processor; their meaning is written out below."""
LEFT = {
    "an activation that is not known": f"{IMAGE} {{ y = {CONV}activation=\"Selu\">(x, k) }}",
    "a product that moves its batches": "(float[5,2,8] x) => (float[n,t,c] y) <float[5,8,3] k> "
                                        "{ y = com.microsoft.FusedMatMul<transBatchA=1,transBatchB=1>(x, k) }",
    "a product of values without axes": """(float[2,5,8] x) => (float[n,t,c] y) <float[5,3] k> {
        a = Relu(x)  y = com.microsoft.FusedMatMul<transA=1>(a, k) }""",
    "a norm over two axes": "(float[2,5,8] x) => (float[n,t,c] y) <float[5,8] s> "
                            "{ y = SimplifiedLayerNormalization<axis=1>(x, s) }",
    "a mean that is read": f"""{WORDS} {{
        a, m = com.microsoft.SkipLayerNormalization(x, z, s, b, q)  y = Mul(a, m) }}""",
}  # fmt: skip


def built(text: str, opset: int) -> onnx.ModelProto:
    return model(text, opset=opset, domains=(MICROSOFT,), checked=False)


@pytest.mark.parametrize("opset", [11, 13, 17, 20, 23])
@pytest.mark.parametrize("name", [n for n in BODIES if n not in ON_A_GPU_ONLY])
def test_the_parts_compute_the_same(name: str, opset: int) -> None:
    proto = built(BODIES[name], opset)
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    parts = normalise(in_memory(proto))
    assert all((node.domain, node.op_type) not in FUSED for node in parts.graph)
    assert parts.meta[UNFUSED] == {name.split(maxsplit=1)[0]: 1}
    (before,), (after,) = run(proto, feeds), run(parts, feeds)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_a_sum_with_bias() -> None:
    proto = built(BODIES["BiasAdd"], 18)
    x = np.ones((2, 6, 5), np.float32)
    b, z = (onnx.numpy_helper.to_array(t) for t in proto.graph.initializer)
    np.testing.assert_allclose(run(normalise(in_memory(proto)), {"x": x})[0], x + b + z, rtol=1e-6)


def test_every_operator_and_activation_has_a_case() -> None:
    assert {name.split()[0] for name in BODIES} == {op for _, op in FUSED.keys() - unfuse_attention.FUSED_ATTENTION}
    assert set(ACTIVATIONS) >= {"Relu", "Clip"}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_known_is_left_alone(name: str) -> None:
    found = normalise(in_memory(built(LEFT[name], 18)))
    assert any((node.domain, node.op_type) in FUSED for node in found.graph)
    assert UNFUSED not in found.meta
    assert all(node.graph is not None for value in found.graph.inputs for node, _ in value.uses())


def test_halves_get_numbers_of_half_precision() -> None:
    proto = built("(float16[2,8] x) => (float16[n,c] y) { y = com.microsoft.QuickGelu(x) }", 18)
    found = normalise(in_memory(proto))
    assert "CastLike" in [node.op_type for node in found.graph]
    onnx.shape_inference.infer_shapes(ir.to_proto(found), strict_mode=True)


def test_pruning_says_what_it_took_apart() -> None:
    text = """(float[2,4,6,6] x) => (float[n,c,h,w] y) <float[16,4,3,3] w, float[8,16,1,1] v> {
        a = com.microsoft.FusedConv<activation="Relu">(x, w)  y = Conv(a, v) }"""
    result = prune(in_memory(built(text, 18)), PruneSettings(ratio=0.5, round_to=1))
    assert [(g.name, g.removed) for g in result.report.groups] == [("w", 8)]
    assert any("(1 FusedConv)" in text for text in result.report.warnings)
