"""Convolutions of any number of spatial axes, grouped and depthwise (ONNX Conv-22, ConvTranspose-22, DeformConv-22)."""

from __future__ import annotations

from compressor.channels.coupling import Unexplained
from compressor.operators.neighbours import depthwise_axes
from compressor.operators.operator import Operator
from compressor.operators.signature import Call, Window


def _deformable(call: Call) -> str:
    """Offsets and mask count positions of the kernel (``f``, ``m``), which all stay.

    Channels that are moved together (``q``) lose as many in each such group.
    """
    moved = call.attribute("offset_group", 1)
    if moved == 1:
        return "n (g i) [*s], (g o) i [*k], n [f] [*p], (g o)?, n [m] [*p]? -> n (g o) [*p]"
    if call.attribute("group", 1) > 1 or moved == call.shape(0)[1]:
        raise Unexplained("has several offset groups beside others, or one for each channel")
    return "n (q i) [*s], o (q i) [*k], n [f] [*p], o?, n [m] [*p]? -> n o [*p]"


SLIDES = Window("s", "k", "p")

OPERATORS = (
    Operator(
        "Conv",
        signature="n (g i) [*s], (g o) i [*k], (g o)? -> n (g o) [*p]",
        sizes={"g": "group"},
        window=SLIDES,
        neighbours=depthwise_axes,
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
    Operator(
        "DeformConv",
        signature=_deformable,
        sizes={"g": "group", "q": "offset_group"},
        window=Window("s", "k", "p", moved=True),
        factors=(0, 1),
        work="n (g o) *p i *k",
        bias=3,
    ),
)
