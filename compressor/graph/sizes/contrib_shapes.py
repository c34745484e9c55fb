"""Shapes of ONNX Runtime's attention and of products with packed weights, which no standard operator makes.

Source: ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import onnx_ir as ir

from compressor.graph.sizes.contrib import MICROSOFT, fused_matmul
from compressor.graph.sizes.dims import Dim
from compressor.graph.sizes.shape_rules import DimShape, Operands

MadeShapes = list[DimShape | None]


def packed_matmul(of: Operands) -> MadeShapes | None:
    """Shape of MatMulNBits: the first input's, with attribute ``N`` for its last size."""
    one, rows = of.shape(0), of.node.attributes.get_int("N", 0)
    return None if one is None or not rows else [(*one[:-1], rows)]


def matmul(of: Operands) -> MadeShapes | None:
    """Shape of FusedMatMul (com.microsoft): a matrix product whose operands may be transposed by attributes."""
    one, two = (of.shape(k) for k in range(2))
    return None if one is None or two is None else [fused_matmul(of.node, one, two, of.equate)]


def multi_head(of: Operands) -> MadeShapes | None:
    """Shapes of MultiHeadAttention: queries with the width of the values, and keys and values with those of the past
    before them, [batch, heads, length, size]."""
    query, key, value = (of.shape(k) for k in range(3))
    heads = of.node.attributes.get_int("num_heads", 0)
    if query is None or key is None or value is None or len(query) != 3 or not heads:
        return None
    # Four axes are [batch, heads, length, size]: keys of another sequence, which the runtime takes in this form.
    if len(key) == 4:
        return [(*query[:2], value[1] * value[3]), key, value]
    sizes = [_divided(side[2], heads) for side in (key, value)]
    cached = [of.shape(k) for k in (6, 7)]
    made: MadeShapes = [(*query[:2], value[2])]
    for past, size in zip(cached, sizes, strict=True):
        total = key[1] if past is None or len(past) != 4 else past[2] + key[1]
        made.append(None if size is None else (query[0], heads, total, size))
    return made


def grouped(of: Operands) -> MadeShapes | None:
    """Shapes of GroupQueryAttention: the queries', then twice [batch, heads of keys, total length, size of a head].

    The total length is that of past and present keys.
    """
    query, key = (of.shape(k) for k in range(2))
    heads, groups = (of.node.attributes.get_int(name, 0) for name in ("num_heads", "kv_num_heads"))
    if query is None or key is None or len(query) != 3 or not heads or not groups:
        return None
    size = _divided(query[2], heads)
    if size is None:
        return [query]
    total: Dim = query[1]
    for past in (of.shape(3), of.shape(4)):
        if past is not None and len(past) == 4:
            # With a cache, present keys are the past ones and those of now.
            total = past[2] + query[1]
            for one, two in zip((past[0], past[1], past[3]), (query[0], groups, size), strict=True):
                of.equate(one, two)
    for entry in of.entries(6) or ():
        of.equate(entry, total)
    return [query, *[(query[0], groups, total, size)] * 2]


def experts(of: Operands) -> MadeShapes | None:
    """Shape of MoE: the input's, with as many channels as the last layer of the experts has rows."""
    one, last = of.shape(0), of.shape(4)
    return None if one is None or last is None or len(last) != 3 else [(*one[:-1], last[1])]


def packed_experts(of: Operands) -> MadeShapes | None:
    """Shape of QMoE: the input's."""
    return None if of.shape(0) is None else [of.shape(0)]


def packed_table(of: Operands) -> MadeShapes | None:
    """Shape of GatherBlockQuantized: rows of a matrix, picked by indices of any rank.

    The rows hold as many numbers as there are in the blocks of their scales, or fewer where the last one is not full:
    as many as the data has, which packs several into a byte.
    """
    data, picked, scales = (of.shape(k) for k in range(3))
    size = of.node.attributes.get_int("block_size", 128)
    if (
        data is None
        or picked is None
        or scales is None
        or len(data) != 2
        or of.node.attributes.get_int("gather_axis", 0) != 0
    ):
        return None
    columns, blocks = data[1], scales[1]
    if not isinstance(columns, int) or not isinstance(blocks, int):
        return None
    # Numbers of less than a byte are one each in types of their own, and several in a byte otherwise.
    value = of.node.inputs[0]
    whole = value is not None and value.dtype == ir.DataType.UINT8
    many = columns * (8 // of.node.attributes.get_int("bits", 4) if whole else 1)
    return [(*picked, many)] if (blocks - 1) * size < many <= blocks * size else None


def _divided(size: Dim, by: int) -> int | None:
    return size // by if isinstance(size, int) and size % by == 0 else None


def same(of: Operands) -> MadeShapes | None:
    """Shape of QuantizeLinear and DequantizeLinear (com.microsoft): the first input's."""
    return [of.shape(0)]


SHAPES: Mapping[tuple[str, str], Callable[[Operands], MadeShapes | None]] = MappingProxyType({
    (MICROSOFT, "DequantizeLinear"): same,
    (MICROSOFT, "FusedMatMul"): matmul,
    (MICROSOFT, "GatherBlockQuantized"): packed_table,
    (MICROSOFT, "GroupQueryAttention"): grouped,
    (MICROSOFT, "MatMulNBits"): packed_matmul,
    (MICROSOFT, "MoE"): experts,
    (MICROSOFT, "MultiHeadAttention"): multi_head,
    (MICROSOFT, "QMoE"): packed_experts,
    (MICROSOFT, "QuantizeLinear"): same,
})  # fmt: skip
"""(domain, operator) -> shapes of its outputs, which have the element type of the first input but for those below."""
TYPED_BY: Mapping[tuple[str, str], int] = MappingProxyType({
    (MICROSOFT, "DequantizeLinear"): 1,
    (MICROSOFT, "GatherBlockQuantized"): 2,
    (MICROSOFT, "QuantizeLinear"): 2,
})  # fmt: skip
"""(domain, operator) -> the input whose element type its outputs have; it is not known where that is left out."""
