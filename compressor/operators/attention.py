"""Attention as one operator (ONNX Attention-23, RotaryEmbedding-23), grouped-query included.

Query heads are a row-major split of key/value heads and repeats: ``h = (kv rep)``.
"""

from __future__ import annotations

import onnx_ir as ir

from compressor.channels.coupling import Unexplained
from compressor.operators import propagate, reference
from compressor.operators.operator import Operator
from compressor.operators.repair import Repairer
from compressor.operators.signature import Call

_FOUR = "b (kv rep) [t] d, b kv [s] d, b kv [s] e{mask} -> b (kv rep) [t] e"
_THREE = "b [t] (kv rep d), b [s] (kv d), b [s] (kv e){mask} -> b [t] (kv rep e)"
_SCORES = ("b", "(kv rep)", "[t]", "[s]")
"""Axes of the scores, to which a mask broadcasts from the right."""


def _attention(call: Call) -> str:
    node = call.node
    # A cache is the caller's, and scores that are read have the size of the whole.
    if any(v is not None for v in node.inputs[4:]) or any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        raise Unexplained("has a key/value cache or hands out its scores")
    rank = call.rank(3)
    mask = "" if rank is None else ", " + " ".join(_SCORES[4 - rank :])
    return (_FOUR if len(call.shape(0)) == 4 else _THREE).format(mask=mask)


def _work(call: Call) -> str:
    """Scores, and values weighted by them."""
    if len(call.shape(0)) == 4:
        return "b (kv rep) t s d + b (kv rep) t s e"
    return "b t s (kv rep d) + b t s (kv rep e)"


def keep_scale(node: ir.Node, repairer: Repairer, heads: str = "q_num_heads") -> None:
    """The scale stays what it was for the original head size; ``heads`` names the attribute that counts heads."""
    query, key = repairer.before(node.inputs[0]), repairer.before(node.inputs[1])
    # 0 stands for an attribute that is left out: the scale then follows the size of a head, which the cut changes.
    stated = node.attributes.get_float("scale", 0.0)
    if stated or (repairer.after(node.inputs[0]), repairer.after(node.inputs[1])) == (query, key):
        return
    size = query[3] if len(query) == 4 else query[2] // node.attributes.get_int(heads, 1)
    node.attributes["scale"] = ir.AttrFloat32("scale", size**-0.5)


def _rotary(call: Call) -> str:
    """Rotates pairs inside each head: only whole heads can go."""
    if len(call.shape(0)) == 4:
        return "b h [t] [d], [*c], [*s], [*p]? -> b h [t] [d]"
    if not call.attribute("num_heads"):
        raise Unexplained("does not say how many heads it has")
    return "b [t] (h [d]), [*c], [*s], [*p]? -> b [t] (h [d])"


OPERATORS = (
    Operator(
        "Attention",
        signature=_attention,
        sizes={"kv": "kv_num_heads", "(kv rep)": "q_num_heads"},
        heads=True,
        work=_work,
        repaired=keep_scale,
        masked=reference.mask_product,
        constants=propagate.attention,
        settings=(3,),
    ),
    Operator(
        "RotaryEmbedding",
        signature=_rotary,
        sizes={"h": "num_heads"},
        keeps_zero=True,
        settings=(1, 2),
        by_position=(1, 2),
    ),
)
