"""Attention as one operator (ONNX Attention-23, RotaryEmbedding-23), grouped-query included.

Query heads are a row-major split of key/value heads and repeats: ``h = (kv rep)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.operators import propagate, reference
from compressor.operators.repair import Repairer
from compressor.operators.rule import OpRule, Options, Shape, Signature, apply

_FOUR = "b (kv rep) [t] d, b kv [s] d, b kv [s] e"
_THREE = "b [t] (kv rep d), b [s] (kv d), b [s] (kv e)"
_OUT = {4: "b (kv rep) [t] e", 3: "b [t] (kv rep e)"}


def _attention(node: ir.Node, coupling: Coupling) -> None:
    if any(v is not None for v in node.inputs[4:]) or any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        raise Unexplained("has a key/value cache or hands out its scores")
    query, key = coupling.shape(node.inputs[0]), coupling.shape(node.inputs[1])
    rank = len(query)
    if rank == 4:
        heads, kv, size = query[1], key[1], query[3]
    else:
        heads, kv = (node.attributes.get_int(k, 1) for k in ("q_num_heads", "kv_num_heads"))
        size = query[2] // heads
    text = _FOUR if rank == 4 else _THREE
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    if mask is not None:
        text += ", " + _mask_axes(coupling.shape(mask), heads)
    sizes = {"kv": kv, "rep": heads // kv, "d": size}
    apply(node, coupling, Signature.parse(f"{text} -> {_OUT[rank]}"), Options(sizes, rows=coupling.policy.heads))


def _mask_axes(shape: Shape, heads: int) -> str:
    """A mask broadcasts to (batch, heads, queries, keys) from the right."""
    names = [
        "b" if len(shape) == 4 and shape[0] > 1 else "[m0]",
        "(kv rep)" if heads > 1 else "[m1]",
        "[t]",
        "[s]",
    ]
    if len(shape) >= 3 and shape[-3] != heads:
        names[1] = "[m1]"
    own = names[4 - len(shape) :]
    return " ".join(f"[m{k + 4}]" if size == 1 else name for k, (name, size) in enumerate(zip(own, shape, strict=True)))


def _repair_attention(node: ir.Node, repairer: Repairer) -> None:
    """Head counts follow; the scale stays what it was for the original head size."""
    query, key = repairer.before(node.inputs[0]), repairer.before(node.inputs[1])
    if len(query) == 4:
        size = query[3]
    else:
        heads, kv = (node.attributes.get_int(k, 1) for k in ("q_num_heads", "kv_num_heads"))
        size = query[2] // heads
        left = repairer.whole_rows(node.inputs[1], 2, kv)
        repeated = repairer.whole_rows(node.inputs[0], 2, heads)
        if left is not None:
            node.attributes["kv_num_heads"] = ir.AttrInt64("kv_num_heads", left)
        if repeated is not None:
            node.attributes["q_num_heads"] = ir.AttrInt64("q_num_heads", repeated)
    if "scale" not in node.attributes and (
        repairer.after(node.inputs[0]),
        repairer.after(node.inputs[1]),
    ) != (query, key):
        node.attributes["scale"] = ir.AttrFloat32("scale", size**-0.5)


def _attention_macs(node: ir.Node, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]) -> int:
    """Scores and weighted values: ``b h t s d`` and ``b h t s e``."""
    query, key, value = ((*inputs, None, None, None)[k] or (0, 0, 0) for k in range(3))
    steps = key[-2]
    if len(query) == 4:
        return prod(query) * steps + prod(outputs[0] or ()) * steps
    heads, kv = (node.attributes.get_int(k, 1) for k in ("q_num_heads", "kv_num_heads"))
    return prod(query) * steps + query[0] * query[1] * value[2] // kv * heads * steps


_ROTARY_FOUR = Signature.parse("b h [t] [d], [*c], [*s], [*p]? -> b h [t] [d]")
_ROTARY_THREE = Signature.parse("b [t] (h d), [*c], [*s], [*p]? -> b [t] (h d)")


def _rotary(node: ir.Node, coupling: Coupling) -> None:
    """Rotates pairs inside each head: only whole heads can go."""
    shape = coupling.shape(node.inputs[0])
    heads = node.attributes.get_int("num_heads", 0)
    if len(shape) == 3 and not heads:
        raise Unexplained("does not say how many heads it has")
    if len(shape) == 4:
        apply(node, coupling, _ROTARY_FOUR)
    else:
        apply(node, coupling, _ROTARY_THREE, Options({"h": heads}, fixed=("d",)))


def _repair_rotary(node: ir.Node, repairer: Repairer) -> None:
    shape = repairer.before(node.inputs[0])
    heads = node.attributes.get_int("num_heads", 0)
    if len(shape) == 3:
        left = repairer.whole_rows(node.inputs[0], 2, heads)
        node.attributes["num_heads"] = ir.AttrInt64("num_heads", heads if left is None else left)
    elif heads:
        node.attributes["num_heads"] = ir.AttrInt64("num_heads", repairer.after(node.inputs[0])[1])


RULES = (
    OpRule(
        ("Attention",),
        _attention,
        repair=_repair_attention,
        macs=_attention_macs,
        masked=reference.mask_product,
        constants=propagate.attention,
    ),
    OpRule(("RotaryEmbedding",), _rotary, repair=_repair_rotary, constants=propagate.carry_zero),
)
