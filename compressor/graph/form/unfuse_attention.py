"""Fused attention and embeddings of ONNX Runtime, written as projections, products and plain attention.

Projections become products of their own, so that each keeps its own heads. Source: ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import onnx_ir as ir

from compressor.graph.form.fused_parts import Expansion, Parts
from compressor.graph.ir.nodes import MICROSOFT
from compressor.graph.ir.opsets import exists

_NOT_PLAIN = ("do_rotary", "past_present_share_buffer", "rotary_embedding_dim")
_OF_PROJECTIONS = ("qkv_hidden_sizes", *_NOT_PLAIN)
_MASK_RANKS = (2, 3)
"""How many axes a mask over positions has."""


def width(value: ir.Value | None) -> int | None:
    """Size of the last axis, as the file declares it or as the weight of a product has it; None where neither does."""
    if value is None:
        return None
    last = value.shape[-1] if value.shape is not None and len(value.shape) else None
    if isinstance(last, int):
        return last
    node = value.producer()
    if node is None:
        return None
    if node.op_type == "MatMulNBits":
        return node.attributes.get_int("N", None)
    if node.op_type == "MatMul":
        return width(node.inputs[1])
    if node.op_type == "Add":
        # A bias of one entry is broadcast and says nothing of the width.
        return next((found for v in node.inputs if (found := width(v)) not in (None, 1)), None)
    return None


def split_attention(parts: Parts) -> dict[int, ir.Value] | None:
    """Queries, keys and values as one product with the joint weight, split; MultiHeadAttention of the three."""
    attributes = parts.node.attributes
    x, weight, bias, mask, past, extra = (parts.operand(k) for k in range(6))
    sizes = list(attributes.get_ints("qkv_hidden_sizes", ()))
    total = width(weight)
    if any(attributes.get_int(name, 0) for name in _NOT_PLAIN) or parts.operand(6) is not None or total is None:
        return None
    if x is None or not (mask is None or _reads_alike(mask, x)):
        return None
    joint = parts.add("MatMul", [x, weight])
    joint = joint if bias is None else parts.add("Add", [joint, bias])
    # Without qkv_hidden_sizes all three are equally wide (ContribOperators.md, Attention).
    query, key, value = parts.split(joint, sizes or [total // 3] * 3, 2)
    cache: list[ir.Value | None] = [None, None]
    # Keys and values lie one after the other on axis 0.
    if past is not None:
        cache = [parts.add("Gather", [past, _index(parts, k)], axis=0) for k in range(2)]
    handed = len(parts.node.outputs) > 1 and bool(parts.node.outputs[1].name)
    inputs = [query, key, value, None, mask, extra, *cache]
    # An optional input at the end is left out rather than named empty.
    while inputs[-1] is None:
        inputs.pop()
    made = parts.fused("MultiHeadAttention", inputs, _OF_PROJECTIONS, 3 if handed else 1).outputs
    if not handed:
        return {0: made[0]}
    return {0: made[0], 1: parts.add("Concat", [parts.unsqueeze(v, 0) for v in made[1:]], axis=0)}


def _index(parts: Parts, number: int) -> ir.Value:
    return parts.add("Constant", [], value=ir.tensor(number, dtype=ir.DataType.INT64))


def _reads_alike(mask: ir.Value, x: ir.Value) -> bool:
    """Does MultiHeadAttention read a mask as Attention does?

    A mask over positions does, and a length for each row, which a sum makes or which is declared to have as many
    entries as there are rows; starts and ends of rows do not.
    """
    node = mask.producer()
    if node is not None and node.op_type == "Cast":
        return node.inputs[0] is not None and _reads_alike(node.inputs[0], x)
    if node is not None and node.op_type == "ReduceSum":
        return True
    if mask.shape is None:
        return False
    if len(mask.shape) == 1 and x.shape is not None and len(x.shape):
        rows, length = x.shape[0], mask.shape[0]
        return rows == length and (isinstance(rows, int) or rows.value is not None)
    return len(mask.shape) in _MASK_RANKS


def add_bias(parts: Parts) -> dict[int, ir.Value] | None:
    """MultiHeadAttention with the joint bias added to queries, keys and values before."""
    bias, operands = parts.operand(3), [parts.operand(k) for k in range(3)]
    widths = [width(v) for v in operands]
    if bias is None or any(w is None for w in widths):
        return None
    sizes = [w for w in widths if w is not None]
    if width(bias) != sum(sizes):
        return None
    added = [parts.add("Add", [v, b]) for v, b in zip(operands, parts.split(bias, sizes, 0), strict=True)]
    made = parts.fused("MultiHeadAttention", [*added, None, *parts.node.inputs[4:]], (), len(parts.node.outputs))
    return dict(enumerate(made.outputs))


def packed_attention(parts: Parts) -> dict[int, ir.Value] | None:
    """GroupQueryAttention whose queries, keys and values come as one; split into the three."""
    joint, key, value = (parts.operand(k) for k in range(3))
    total, heads = width(joint), [parts.node.attributes.get_int(k, 0) for k in ("num_heads", "kv_num_heads")]
    # Heads of queries, keys and values, one after the other.
    rows = heads[0] + 2 * heads[1]
    if joint is None or key is not None or value is not None or not total or not rows or total % rows:
        return None
    sizes = [total // rows * count for count in (heads[0], heads[1], heads[1])]
    made = parts.fused(
        "GroupQueryAttention", [*parts.split(joint, sizes, 2), *parts.node.inputs[3:]], (), len(parts.node.outputs)
    )
    return dict(enumerate(made.outputs))


def embedding(parts: Parts) -> dict[int, ir.Value] | None:
    """``LayerNormalization`` of the sum of rows for words, positions and segments; the sum; how long each row is."""
    ids, segments, words, places, kinds, gamma, beta, mask, at = (parts.operand(k) for k in range(9))
    # An operator from version 17 on; written out by parts, sums in other precision would not be those of the kernel.
    new_enough = exists("LayerNormalization", parts.opset)
    if not new_enough or ids is None or words is None or places is None or gamma is None:
        return None
    where = at if at is not None else _places(parts, ids)
    rows = [parts.add("Gather", [words, ids], axis=0), parts.add("Gather", [places, where], axis=0)]
    if segments is not None and kinds is not None:
        rows.append(parts.add("Gather", [kinds, segments], axis=0))
    total = parts.total(*rows)
    epsilon = parts.epsilon()
    normal = parts.add("LayerNormalization", [total, gamma, beta], axis=-1, epsilon=epsilon)
    found = {0: normal, 2: total}
    if mask is not None:
        # The operator counts the ones in the mask, and no other number.
        ones = parts.add("Equal", [parts.add("Cast", [mask], to=int(ir.DataType.INT64)), _index(parts, 1)])
        wide = parts.add("Cast", [ones], to=int(ir.DataType.INT64))
        length = parts.add("ReduceSum", [wide, parts.integers([1])], keepdims=0)
        found[1] = parts.add("Cast", [length], to=int(ir.DataType.INT32))
    return found


def _places(parts: Parts, ids: ir.Value) -> ir.Value:
    """0, 1, 2 ... for each column of ``ids``, in one row."""
    count = parts.add("Gather", [parts.add("Shape", [ids]), _index(parts, 1)], axis=0)
    return parts.unsqueeze(parts.add("Range", [_index(parts, 0), count, _index(parts, 1)]), 0)


FUSED_ATTENTION: Mapping[tuple[str, str], Expansion] = MappingProxyType({
    (MICROSOFT, "Attention"): split_attention,
    (MICROSOFT, "EmbedLayerNormalization"): embedding,
    (MICROSOFT, "GroupQueryAttention"): packed_attention,
    (MICROSOFT, "MultiHeadAttention"): add_bias,
})  # fmt: skip
"""(domain, operator) -> its parts, where it is one of the forms that have any."""
