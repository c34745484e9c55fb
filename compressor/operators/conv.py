"""Convolutions of any number of spatial axes, grouped and depthwise (ONNX Conv-22, ConvTranspose-22)."""

from __future__ import annotations

from compressor.operators.operator import Operator
from compressor.operators.signature import Window

SLIDES = Window("s", "k", "p")

OPERATORS = (
    Operator(
        "Conv",
        signature="n (g i) [*s], (g o) i [*k], (g o)? -> n (g o) [*p]",
        sizes={"g": "group"},
        window=SLIDES,
        factors=(0, 1),
        work="n (g o) *p i *k",
        bias=2,
    ),
    Operator(
        "ConvTranspose",
        signature="n (g i) [*s], (g i) o [*k], (g o)? -> n (g o) [*p]",
        sizes={"g": "group"},
        window=SLIDES,
        factors=(0, 1),
        work="n (g i) *s o *k",
        bias=2,
    ),
)
