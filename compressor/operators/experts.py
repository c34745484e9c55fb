"""Mixture of experts as ONNX Runtime has it (MoE, ContribOperators.md): the width of the experts, and what they read.

Experts themselves stay, since a router counts them. All of them lose the same hidden channels: a rectangle of weights
holds them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.channels.labels import Term
from compressor.graph.contrib import MICROSOFT
from compressor.operators import reference
from compressor.operators.operator import Operator, required
from compressor.operators.signature import Call

INTERLEAVED, SIDE_BY_SIDE = 1, 2
"""How gates and values of a gated activation lie in the first weight: by turns, or one half after the other."""
FIRST, LAST, LAST_BIAS = 2, 4, 7
"""Inputs: weights of the first and the last layer, and the last one that is known."""


def _hidden(call: Call) -> str:
    """Axis 1 of the first weights: hidden channels, with their gates ``f`` where both are joined; raises
    Unexplained."""
    fusion = call.attribute("swiglu_fusion")
    if fusion not in (0, INTERLEAVED, SIDE_BY_SIDE):
        raise Unexplained("lays out its gates in an unknown way")
    return {INTERLEAVED: "(h [f])", SIDE_BY_SIDE: "([f] h)"}.get(fusion, "h")


def _experts(call: Call) -> str:
    """The router sees rows of all batches; hidden channels are ``h``, with their gates where they are joined."""
    if len(call.inputs) > LAST_BIAS + 1:
        raise Unexplained("has inputs of a version that is not known")
    hidden = _hidden(call)
    return f"*t i, [r] [e], [e] {hidden} i, [e] {hidden}?, [e] o h, [e] o?, [e] h i?, [e] h? -> *t o"


def _share_hidden(node: ir.Node, coupling: Coupling, combine: Callable[[], None]) -> None:
    """Gives the hidden channels units, which no output shows: rows of the first weights, columns of the last."""
    first, last = required(node, FIRST), required(node, LAST)
    if not (first.is_initializer() and last.is_initializer()):
        raise Unexplained("its weights are not constants")
    width = coupling.shape(last)[2]
    units = coupling.hidden_units(first, width)
    gates = coupling.shape(first)[1] // width
    turns = node.attributes.get_int("swiglu_fusion", 0) == INTERLEAVED
    # By turns, the gates of a channel lie side by side; otherwise all first gates come before all second ones.
    joined = np.repeat(units, gates) if turns else np.tile(units, gates)
    for value, axis, along, role in ((first, 1, joined, "out"), (last, 2, units, "in")):
        deferred = coupling.deferred(value)
        if deferred is not None and axis in deferred.open:
            deferred.terms.append(Term((axis,), along))
            deferred.open.discard(axis)
            deferred.roles[axis] = role
    combine()


def _work(call: Call) -> str:
    """As if one expert saw every row; as many more as the router picks count as they would alone."""
    gate = " + *t i h" if call.rank(6) is not None else ""
    return f"*t i {_hidden(call)} + *t o h{gate}"


OPERATORS = (
    Operator(
        "MoE",
        MICROSOFT,
        signature=_experts,
        around=_share_hidden,
        factors=(0, 2, 4, 6),
        work=_work,
        masked=reference.mask_sums,
        settings=(1,),
    ),
)
