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

ZERO_POINTS, GROUP_INDEX = 3, 4


def _matmul(call: Call) -> str:
    """Blocks of inputs that share a scale go as wholes.

    Zero points of few bits share bytes as well: then as many blocks as a byte holds go together (``bundle``).

    Raises:
        Unexplained: the weight is in another order, or has not three axes.
    """
    if (len(call.inputs) > GROUP_INDEX and call.inputs[GROUP_INDEX] is not None) or call.attribute("weight_prepacked"):
        raise Unexplained("has weights in another order")
    weight = call.shape(1)
    if len(weight) != 3:
        raise Unexplained(f"has a weight of {len(weight)} axes")
    rows, blocks = weight[:2]
    held = _blocks_of_entry(call, rows, blocks)
    full = blocks * call.attribute("block_size") == call.attribute("K")
    # Blocks go as wholes; where the last one is not full, or shares its entry unevenly, none can go.
    if not full or blocks % held:
        block, entry, data = "[blocks]", "[entries]" if held > 1 else "[blocks]", "[k]"
    elif held > 1:
        block, entry, data = "bundles [bundle]", "bundles", "(bundles [bundle] [inside])"
    else:
        block, entry, data = "blocks", "blocks", "(blocks [inside])"
    along = f"({block})" if " " in block else block
    scales = f"n {along}" if call.rank(2) == 2 else f"(n {block})"
    zeros = f"n {entry}" if call.rank(3) == 2 else f"(n {entry})"
    return f"*b {data}, n {along} [bytes], {scales}, {zeros}?, [*g]?, n? -> *b n"


def _blocks_of_entry(call: Call, rows: int, blocks: int) -> int:
    """How many blocks have their zero points in one entry: several in a byte, or one in a number of its own."""
    points = call.inputs[ZERO_POINTS] if len(call.inputs) > ZERO_POINTS else None
    if points is None or prod(points) == rows * blocks:
        return 1
    return 8 // (call.attribute("bits", 4) or 4)


def _work(call: Call) -> str:
    """Outputs times inputs, of which the last axis of the data holds all."""
    return f"*b n {_matmul(call).partition(',')[0].removeprefix('*b ')}"


OPERATORS = (
    Operator(
        "MatMulNBits",
        MICROSOFT,
        signature=_matmul,
        sizes={"n": "N", "inside": "block_size", "(blocks inside)": "K", "(bundles bundle inside)": "K"},
        work=_work,
        heads=True,
        bias=5,
        settings=(3, 4),
    ),
)
