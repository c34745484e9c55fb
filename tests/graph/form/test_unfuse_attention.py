"""Attention and embeddings that ONNX Runtime fused compute the same once they are taken apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from compressor.graph.form.normalise import normalise
from compressor.graph.form.unfuse_attention import FUSED_ATTENTION
from compressor.graph.ir.meta_keys import UNFUSED
from compressor.graph.ir.nodes import MICROSOFT
from tests.graph.disk.samples import run
from tests.models import in_memory, model

X = "(float[2,5,8] x) => (float[n,t,c] y)"
PACKED = "float[8,24] w, float[24] b"
CACHED = "com.microsoft.Attention<num_heads=2,unidirectional=1>"
TWO = "(float[2,5,8] x) => (float[n,t,c] y, float[two,n,h,s,d] now)"
WORDS = "float[16,8] words, float[9,8] places, float[2,8] kinds, float[8] s, float[8] b"
IDS = "(int32[2,5] ids)"
EMBED = "com.microsoft.EmbedLayerNormalization<epsilon=0.1>"

BODIES = {
    "Attention": f"{X} <{PACKED}> {{ y = com.microsoft.Attention<num_heads=2>(x, w, b) }}",
    "Attention of other sizes": f"""{X} <float[8,20] w, float[20] b>
        {{ y = com.microsoft.Attention<num_heads=2,qkv_hidden_sizes=[8,8,4]>(x, w, b) }}""",
    "Attention with a mask": f"""{X} <{PACKED}, int32[2,5] pad = {{1,1,1,1,0,1,1,1,0,0}}>
        {{ y = com.microsoft.Attention<num_heads=2,scale=0.3>(x, w, b, pad) }}""",
    "Attention with lengths of rows": f"""{X} <{PACKED}, int32[2] lengths = {{4,3}}>
        {{ y = com.microsoft.Attention<num_heads=2>(x, w, b, lengths) }}""",
    "Attention with scores added": f"""{X} <{PACKED}, float[2,2,5,5] add>
        {{ y = com.microsoft.Attention<num_heads=2>(x, w, b, , , add) }}""",
    "Attention with a cache": f"{TWO} <{PACKED}, float[2,2,2,3,4] past> {{ y, now = {CACHED}(x, w, b, , past) }}",
    "Attention that starts a cache": f"{TWO} <{PACKED}> {{ y, now = {CACHED}(x, w, b) }}",
    "MultiHeadAttention": f"""{X} <float[8,8] u, float[8,6] v, float[22] b> {{
        k = MatMul(x, u)  e = MatMul(x, v)  y = com.microsoft.MultiHeadAttention<num_heads=2>(x, k, e, b) }}""",
    "GroupQueryAttention": f"""{X} <float[8,32] w, int32[2] last = {{4,4}}, int32 total = {{5}}> {{ q = MatMul(x, w)
        y = com.microsoft.GroupQueryAttention<num_heads=2,kv_num_heads=1>(q, , , , , last, total) }}""",
    "EmbedLayerNormalization": f"""{IDS} => (float[n,t,c] y) <{WORDS}>
        {{ y, k = {EMBED}(ids, , words, places, , s, b) }}""",
    "EmbedLayerNormalization of segments": f"""{IDS} => (float[n,t,c] y, int32[n] k, float[n,t,c] z)
        <{WORDS}, int32[2,5] kind = {{0,0,1,1,1,0,1,1,1,1}}, int32[2,5] pad = {{1,1,1,1,0,1,1,1,0,0}},
         int32[1,5] at = {{3,4,5,6,7}}>
        {{ y, k, z = {EMBED}(ids, kind, words, places, kinds, s, b, pad, at) }}""",
}  # fmt: skip
LEFT = {
    "rotary positions": f"{X} <{PACKED}> {{ y = com.microsoft.Attention<num_heads=2,do_rotary=1>(x, w, b) }}",
    "starts and ends of rows": f"""{X} <{PACKED}, int32[4] ends = {{5,4,0,1}}>
        {{ y = com.microsoft.Attention<num_heads=2>(x, w, b, ends) }}""",
    "queries of a width that nobody tells": f"""{X} <float[16] b> {{ q = Relu(x)
        y = com.microsoft.MultiHeadAttention<num_heads=2>(q, q, q, b) }}""",
}  # fmt: skip


def built(text: str, opset: int) -> onnx.ModelProto:
    return model(text, opset=opset, domains=(MICROSOFT,), checked=False)


def feeds_of(proto: onnx.ModelProto) -> Mapping[str, npt.NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 16, (2, 5)).astype(np.int32)
    return {"ids": ids} if "ids" in proto.graph.input[0].name else {"x": rng.normal(size=(2, 5, 8)).astype(np.float32)}


@pytest.mark.parametrize("opset", [17, 20, 23])
@pytest.mark.parametrize("name", BODIES)
def test_the_parts_compute_the_same(name: str, opset: int) -> None:
    proto = built(BODIES[name], opset)
    parts = normalise(in_memory(proto))
    assert parts.meta[UNFUSED] == {name.split(maxsplit=1)[0]: 1}
    for before, after in zip(run(proto, feeds_of(proto)), run(parts, feeds_of(proto)), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_known_is_left_alone(name: str) -> None:
    assert UNFUSED not in normalise(in_memory(built(LEFT[name], 18))).meta


def test_every_operator_has_a_case() -> None:
    assert {name.split()[0] for name in BODIES} == {op for _, op in FUSED_ATTENTION}
