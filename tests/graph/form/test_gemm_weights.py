"""Shared weights of Gemm are transposed once, and the graph computes what it did."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from compressor.graph.form.gemm_weights import transpose_shared
from tests.models import in_memory, model

SHARED = """(float[n,6] x) => (float[n,6] y, float[n,6] z) <float[6,6] w, float[6,6] v> {
    a = Gemm<transB=1>(x, w)
    y = Gemm<transB=1>(a, w)
    z = Gemm<transB=1>(a, v)
}"""
WITH_OTHERS = """(float[n,6] x) => (float[n,6] y, float[n,6] z) <float[6,6] w> {
    a = Gemm<transB=1>(x, w)
    y = Gemm<transB=1, alpha=2.0>(a, w)
    z = MatMul(a, w)
}"""


@pytest.mark.parametrize(("text", "initializers"), [(SHARED, ["v", "w"]), (WITH_OTHERS, ["w", "w.transposed"])])
def test_the_graph_computes_the_same(text: str, initializers: list[str]) -> None:
    proto = model(text)
    found = in_memory(proto)
    assert transpose_shared(found)
    assert sorted(found.graph.initializers) == initializers
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    runs = [ort.InferenceSession(m.SerializeToString()).run(None, {"x": x}) for m in (proto, ir.to_proto(found))]
    for before, after in zip(*runs, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    assert not transpose_shared(found)
