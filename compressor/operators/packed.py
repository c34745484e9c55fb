"""Products with weights of few bits in blocks (MatMulNBits of ONNX Runtime).

A block of inputs shares a scale, and several numbers share a byte: outputs go one by one, inputs in whole blocks.
Source: ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from math import prod

from compressor.channels.coupling import Unexplained
from compressor.graph.contrib import MICROSOFT
from compressor.operators.operator import Operator
from compressor.operators.signature import Call


def _matmul(call: Call) -> str:
    """Scales, and zero points with a byte or number of their own, have one entry for each block."""
    node = call.node
    if any(k < len(node.inputs) and node.inputs[k] is not None for k in (4,)) or call.attribute("weight_prepacked"):
        raise Unexplained("has weights in another order")
    weight = call.shape(1)
    if len(weight) != 3:
        raise Unexplained(f"has a weight of {len(weight)} axes")
    rows, blocks = weight[:2]
    full = blocks * call.attribute("block_size") == call.attribute("K")
    points = call.inputs[3] if len(call.inputs) > 3 else None
    shared = points is not None and prod(points) != rows * blocks
    block = "blocks" if full and not shared else "[blocks]"
    data = f"({block} [inside])" if full else "[k]"
    scales = f"n {block}" if call.rank(2) == 2 else f"(n {block})"
    zeros = ("n [z]" if shared else f"n {block}") if call.rank(3) == 2 else ("(n [z])" if shared else f"(n {block})")
    return f"*b {data}, n {block} [bytes], {scales}, {zeros}?, [*g]?, n? -> *b n"


OPERATORS = (
    Operator(
        "MatMulNBits",
        MICROSOFT,
        signature=_matmul,
        sizes={"n": "N", "inside": "block_size", "(blocks inside)": "K"},
        work="*b n blocks bytes",
        heads=True,
        bias=5,
        settings=(3, 4),
    ),
)
