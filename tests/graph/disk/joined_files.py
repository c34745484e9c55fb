"""An encoder and a decoder that reads its state, as two files."""

from __future__ import annotations

from pathlib import Path

import onnx

from tests.models import model

ENCODER = """(float[B,T,4] x) => (float[B,T,6] state) <float[4,8] w, float[8,6] v> {
    a = MatMul(x, w)  r = Relu(a)  state = MatMul(r, v) }"""
DECODER = """(float[B,T,4] x, float[B,S,6] state) => (float[B,T,5] y) <float[4,6] w, float[6,5] head> {
    a = MatMul(x, w)  m = ReduceMean<keepdims=1>(state, axes)  h = Add(a, m)  r = Relu(h)  y = MatMul(r, head) }"""
DECODER = DECODER.replace("float[6,5] head>", "float[6,5] head, int64[1] axes = {1}>")


def written(path: Path, text: str) -> Path:
    onnx.save(model(text), path)
    return path
