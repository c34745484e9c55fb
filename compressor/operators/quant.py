"""Quantisation nodes (ONNX QuantizeLinear-21, DequantizeLinear-21): per tensor, per axis, or in blocks.

ONNX Runtime has its own of the same names (domain com.microsoft), which its quantiser writes for integers of 4 and 16
bits below operator set 21.
"""

from __future__ import annotations

from compressor.graph.ir.nodes import MICROSOFT
from compressor.graph.sizes.contrib import Follows
from compressor.graph.sizes.shape_rules import DimShape, Operands
from compressor.operators.facts import Grid
from compressor.operators.operator import Operator
from compressor.operators.signature import Call


def _linear(call: Call) -> str:
    """The data has axes of its own; scale and zero point run along attribute ``axis``, or there is one for each block.

    Where the last block is not full, that axis stays as it is.
    """
    shape, block = call.shape(0), call.attribute("block_size")
    axis = call.axis(1)
    names = [f"a{k}" for k in range(len(shape))]
    whole = list(names)
    if block:
        # The split into blocks is row-major and has to be even.
        even = shape[axis] % block == 0
        whole[axis], names[axis] = ("(blocks inside)", "blocks") if even else (f"[a{axis}]", "[blocks]")
    data = " ".join(whole)

    def entries(index: int) -> str:
        rank = call.rank(index)
        if block and rank == len(shape):
            return " ".join(names)
        # One number for the whole tensor may be written as a vector, even where there is no axis of the default number.
        one = rank != 1 or call.inputs[index] == (1,)
        return " ".join("[u]" for _ in range(rank or 0)) + "?" if one else f"{whole[axis]}?"

    return f"{data}, {entries(1)}, {entries(2)} -> {data}"


def _as_read(of: Operands) -> list[DimShape | None]:
    """The shape of the first input."""
    return [of.shape(0)]


OPERATORS = (
    *(
        Operator(
            "QuantizeLinear",
            domain,
            signature=_linear,
            sizes={"inside": "block_size"},
            pointwise=True,
            settings=(1, 2),
            scales=(1,),
            encodes="integers",
            shapes=Follows(_as_read, typed_by=2) if domain else None,
        )
        for domain in ("", MICROSOFT)
    ),
    *(
        Operator(
            "DequantizeLinear",
            domain,
            signature=_linear,
            sizes={"inside": "block_size"},
            pointwise=True,
            settings=(1, 2),
            encodes="reals",
            grid={0: Grid(1, 2, None)},
            shapes=Follows(_as_read, typed_by=1) if domain else None,
        )
        for domain in ("", MICROSOFT)
    ),
)
