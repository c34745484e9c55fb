"""Attention and rotary positions as ONNX Runtime has them (domain com.microsoft).

Query heads are a row-major split of key/value heads and repeats. Where a cache comes in or goes out, its heads and
their size are the caller's: only repeats can go, as many in every group (``g`` counts groups where ``kv`` is fixed).
Source: ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

import onnx_ir as ir

from compressor.channels.coupling import Unexplained
from compressor.graph.ir.nodes import MICROSOFT, optional_input
from compressor.graph.sizes.contrib import AS_FIRST, Follows
from compressor.graph.sizes.dims import Dim
from compressor.graph.sizes.shape_rules import DimShape, Operands
from compressor.operators import propagate, reference
from compressor.operators.attention import keep_scale
from compressor.operators.facts import FUSION
from compressor.operators.operator import Operator
from compressor.operators.repair import Repairer
from compressor.operators.signature import Call

_MULTI = "b [t] (h {d}), {key}, {value}, [none]?, {pad}, b h [t] [u]?, {past}, {past2}, [*l]? -> b [t] (h {e})"
_HEADS = "b [t] ({g} rep [d]), b [t] ({kv} [d]), b [t] ({kv} [d])"
_GROUPED = (
    _HEADS + ", b {kv} [p] [d]?, b {kv} [p] [d]?, [*l]?, [*l]?, [m] [c]?, [m] [c]?, [*a]?, b ({g} rep) [t] [u]?,"
    " ({g} rep)? -> b [t] ({g} rep [d]), b {kv} [u] [d], b {kv} [u] [d]"
)
TOGETHER = "takes its queries, keys and values as one"


def _present(node: ir.Node) -> bool:
    """Does the node hand out keys and values?"""
    return any(v.name and (v.uses() or v.is_graph_output()) for v in node.outputs[1:3])


def _given(node: ir.Node, *indices: int) -> bool:
    return any(optional_input(node, k) is not None for k in indices)


def _multi_head(call: Call) -> str:
    """Keys and values in three axes, or with their heads in four (cross attention of a decoder)."""
    node = call.node
    if _given(node, 3, 9) or any(v.name and v.uses() for v in node.outputs[3:]):
        raise Unexplained("has a bias, an indirection or scores that are read")
    if not _given(node, 1) or not _given(node, 2) or len(call.shape(0)) != 3:
        raise Unexplained(TOGETHER)
    # A cache is kept by the caller between runs, so the size of its heads stays.
    cached = _given(node, 6, 7) or _present(node)
    names = {"h": "h", "d": "[d]" if cached else "d", "e": "[e]" if cached else "e"}
    # ONNX Runtime distinguishes the forms of the padding mask by their rank.
    pad = {None: "?", 1: "[v]?", 2: "b [s]?", 3: "b [t] [s]?"}[call.rank(4)]
    # With a cache the mask covers past and present keys.
    if cached and call.rank(4) in (2, 3):
        pad = pad.replace("[s]", "[u]")
    four = len(call.shape(1)) == 4
    forms = ("b h [s] {x}", "b h [p] {x}?") if four else ("b [s] (h {x})", "b h [p] {x}?")
    parts = {"key": forms[0].format(x=names["d"]), "value": forms[0].format(x=names["e"])}
    parts |= {"past": forms[1].format(x=names["d"]), "past2": forms[1].format(x=names["e"])}
    return _MULTI.format(**names, **parts, pad=pad) + f", b h [u] {names['d']}, b h [u] {names['e']}"


def _grouped(call: Call) -> str:
    node = call.node
    if not _given(node, 1) or not _given(node, 2):
        raise Unexplained(TOGETHER)
    if _given(node, *range(12, len(node.inputs))) or any(v.name and v.uses() for v in node.outputs[3:]):
        raise Unexplained("has a packed cache, a norm of its own or scores that are read")
    # Heads of a cache that the caller keeps stay; their queries can still go, as many from each.
    cached = (_given(node, 3, 4) or _present(node)) and not _caches_free(call)
    return _GROUPED.format(g="g" if cached else "kv", kv="[kv]" if cached else "kv")


def _caches_free(call: Call) -> bool:
    """May the caches of the node lose heads, because the user said so?"""
    free = () if call.coupling is None else call.coupling.policy.free
    caches = [v for v in [*call.node.inputs[3:5], *call.node.outputs[1:3]] if v is not None and v.name]
    return bool(caches) and all(v.name in free for v in caches)


def _multi_head_work(call: Call) -> str:
    keys = "p" if _given(call.node, 6) else "s"
    both = [("s", True), ("p", keys == "p")]
    return " + ".join(f"b t {k} (h d) + b t {k} (h e)" for k, there in both if there)


def _grouped_work(call: Call) -> str:
    """Keys of now are as many as queries."""
    g = "g" if _given(call.node, 3, 4) or _present(call.node) else "kv"
    lengths = ["t", "p"] if _given(call.node, 3) else ["t"]
    return " + ".join(f"b t {k} ({g} rep d) + b t {k} ({g} rep d)" for k in lengths)


def _keep_scale(node: ir.Node, repairer: Repairer) -> None:
    keep_scale(node, repairer, "num_heads")


def _rotary(call: Call) -> str:
    """Rotates pairs inside each head: only whole heads can go. Two numbers for each cosine, unless the head says."""
    if len(call.shape(0)) == 4:
        return "b h [t] [d], [*p], [*c], [*c] -> b h [t] [d]"
    pair = "[d]" if call.attribute("num_heads") else "[two] [d]"
    cache = "[m] [q]" if call.attribute("num_heads") else "[m] [d]"
    return f"b [t] (h {pair}), [*p], {cache}, {cache} -> b [t] (h {pair})"


def _multi_head_shapes(of: Operands) -> list[DimShape | None] | None:
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
    made: list[DimShape | None] = [(*query[:2], value[2])]
    for past, size in zip(cached, sizes, strict=True):
        total = key[1] if past is None or len(past) != 4 else past[2] + key[1]
        made.append(None if size is None else (query[0], heads, total, size))
    return made


def _grouped_shapes(of: Operands) -> list[DimShape | None] | None:
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


def _divided(size: Dim, by: int) -> int | None:
    return size // by if isinstance(size, int) and size % by == 0 else None


OPERATORS = (
    Operator(
        "MultiHeadAttention",
        MICROSOFT,
        shapes=Follows(_multi_head_shapes),
        kernelless=FUSION,
        signature=_multi_head,
        sizes={"h": "num_heads"},
        heads=True,
        work=_multi_head_work,
        repaired=_keep_scale,
        masked=reference.mask_product,
        constants=propagate.attention,
        settings=(4, 5, 8),
    ),
    Operator(
        "GroupQueryAttention",
        MICROSOFT,
        shapes=Follows(_grouped_shapes),
        kernelless=FUSION,
        signature=_grouped,
        sizes={"kv": "kv_num_heads", "g": "kv_num_heads", "(kv rep)": "num_heads", "(g rep)": "num_heads"},
        heads=True,
        work=_grouped_work,
        masked=reference.mask_product,
        constants=propagate.attention,
        settings=range(5, 12),
        by_position=(7, 8),
    ),
    Operator(
        "RotaryEmbedding",
        MICROSOFT,
        shapes=AS_FIRST,
        kernelless=FUSION,
        signature=_rotary,
        sizes={"h": "num_heads", "two": 2},
        keeps_zero=True,
        settings=(1, 2, 3),
        by_position=(2, 3),
    ),
)
