"""Mixtures of experts as ONNX Runtime has them (MoE and QMoE, ContribOperators.md): the width of the experts, and what
they read.

Experts themselves stay, since a router counts them. All of them lose the same hidden channels: a rectangle of weights
holds them. Weights of few bits share bytes, and scales where there is a block size: what shares one goes as one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from compressor.channels.combine import combine as agree
from compressor.channels.coupling import Coupling, Unexplained
from compressor.channels.operands import Operand, Space
from compressor.graph.ir.nodes import MICROSOFT
from compressor.graph.sizes.contrib import AS_FIRST, Follows
from compressor.graph.sizes.shape_rules import DimShape, Operands
from compressor.operators import reference
from compressor.operators.facts import FUSION, PACKED
from compressor.operators.operator import Operator, required
from compressor.operators.packed import give_units
from compressor.operators.signature import Call

INTERLEAVED, SIDE_BY_SIDE = 1, 2
"""How gates and values of a gated activation lie in the first weight: by turns, or one half after the other."""
FIRST_WEIGHTS, LAST, LAST_BIAS = 2, 4, 7
"""Inputs of MoE: weights of the first and the last layer, and the last one that is known."""
LAST_PACKED, FIRST_ZEROS, ROUTER_WEIGHTS = 5, 11, 14
"""Inputs of QMoE: weights of the last layer, zero points of the first, and the last one that is known."""
_SCALES = (3, 6, 9)
"""Inputs of QMoE: scales of its layers, in the order of their zero points."""


def _hidden(call: Call, channel: str = "h", by_turns: str = "h [f]") -> str:
    """Axis 1 of the first weights: hidden channels, with their gates ``f`` where both are joined; raises
    Unexplained."""
    fusion = call.attribute("swiglu_fusion")
    if fusion not in (0, INTERLEAVED, SIDE_BY_SIDE):
        raise Unexplained("lays out its gates in an unknown way")
    joined = {INTERLEAVED: f"({by_turns})", SIDE_BY_SIDE: f"([f] {channel})"}
    return joined.get(fusion, f"({channel})" if " " in channel else channel)


def _experts(call: Call) -> str:
    """The router sees rows of all batches; hidden channels are ``h``, with their gates where they are joined."""
    if len(call.inputs) > LAST_BIAS + 1:
        raise Unexplained("has inputs of a version that is not known")
    hidden = _hidden(call)
    return f"*t i, [r] [e], [e] {hidden} i, [e] {hidden}?, [e] o h, [e] o?, [e] h i?, [e] h? -> *t o"


def _packed(call: Call) -> str:
    """The same for weights of few bits: channels go by what shares a byte, or a scale (a block of the attribute
    ``block_size``), which are ``i`` of what is read and ``h`` of the hidden ones.

    Raises:
        Unexplained: another layout of numbers.
    """
    kind = call.node.attributes.get_string("quant_type", "int")
    if kind != "int" or call.attribute("weights_prepacked") == 1 or len(call.inputs) > ROUTER_WEIGHTS + 1:
        raise Unexplained(f"holds weights in another form ({kind}, or already packed for a device)")
    # By turns, what is inside of ``h`` are its channels with their gates.
    hidden = _hidden(call, "h [p]", "h [p]")
    whole = call.rank(FIRST_WEIGHTS + 1) == 3
    first = f"[e] {hidden} {'(i [b])' if whole else 'i'}"
    last = f"[e] o {'(h [c])' if whole else 'h'}"
    scales = (f"[e] {hidden} i", "[e] o h") if whole else (f"[e] {hidden}", "[e] o")
    operands = ["*t (i [q])", "[r] [e]", first, scales[0], f"[e] {hidden}?", last, scales[1], "[e] o?"]
    gate = "[e] (h [p])"
    gate_scales = f"{gate} i" if whole else gate
    operands += [f"{gate} {'(i [b])' if whole else 'i'}?", f"{gate_scales}?", f"{gate}?"]
    for number, text in enumerate((*scales, gate_scales), FIRST_ZEROS):
        # Zero points of few bits share bytes among blocks or rows that may not go together.
        if number < len(call.inputs) and call.inputs[number] not in (None, call.inputs[_SCALES[number - FIRST_ZEROS]]):
            raise Unexplained("packs zero points of several blocks into a byte")
        operands.append(f"{text}?")
    return f"{', '.join(operands)}, [r] [e]? -> *t o"


def _share_hidden(last_weight: int, node: ir.Node, coupling: Coupling, combine: Callable[[], None]) -> None:
    """Gives the hidden channels units, which no output shows: rows of the first weights, columns of the last.

    Where columns are packed, those of a scale's block are one unit, or those of a byte.
    """
    first, last = required(node, FIRST_WEIGHTS), required(node, last_weight)
    if not (first.is_initializer() and last.is_initializer()):
        raise Unexplained("its weights are not constants")
    columns = coupling.shape(last)[2]
    scales = coupling.shape(required(node, last_weight + 1)) if last_weight == LAST_PACKED else ()
    units = coupling.hidden_units(first, scales[2] if len(scales) == 3 else columns)
    fusion = node.attributes.get_int("swiglu_fusion", 0)
    rows = coupling.shape(first)[1] // len(units)
    # By turns, the gates of a channel lie side by side; otherwise all first gates come before all second ones.
    gates = 2 if fusion == SIDE_BY_SIDE else 1
    joined = np.tile(np.repeat(units, rows // gates), gates)
    inside = np.repeat(units, columns // len(units))
    give_units(coupling, first, 1, joined, "out")
    give_units(coupling, last, 2, inside, "in")
    combine()
    _keep_width(node, coupling)


def _keep_width(node: ir.Node, coupling: Coupling) -> None:
    """Makes what comes out lose the channels that go in: ONNX Runtime takes the one width from the other."""
    given, made = required(node, 0), node.outputs[0]
    sizes = {f"a{axis}": size for axis, size in enumerate(coupling.shape(made)) if size > 1}
    operands = [Operand(v, tuple((n,) if n in sizes else () for n in _names(v, coupling))) for v in (given, made)]
    agree(node, coupling, operands, [], Space(sizes))


def _names(value: ir.Value, coupling: Coupling) -> list[str]:
    return [f"a{axis}" for axis in range(len(coupling.shape(value)))]


def _packed_work(call: Call) -> str:
    """As if one expert saw every row, as for MoE."""
    gate = " + *t i q h p" if call.rank(8) is not None else ""
    gates = " f" if call.attribute("swiglu_fusion") == SIDE_BY_SIDE else ""
    return f"*t i q h p{gates} + *t o h p{gate}"


def _work(call: Call) -> str:
    """As if one expert saw every row; as many more as the router picks count as they would alone."""
    gate = " + *t i h" if call.rank(6) is not None else ""
    return f"*t i {_hidden(call)} + *t o h{gate}"


def _expert_shapes(of: Operands) -> list[DimShape | None] | None:
    """Shape of MoE: the input's, with as many channels as the last layer of the experts has rows."""
    one, last = of.shape(0), of.shape(4)
    return None if one is None or last is None or len(last) != 3 else [(*one[:-1], last[1])]


OPERATORS = (
    Operator(
        "MoE",
        MICROSOFT,
        shapes=Follows(_expert_shapes),
        kernelless=FUSION,
        signature=_experts,
        around=partial(_share_hidden, LAST),
        factors=(0, 2, 4, 6),
        work=_work,
        # Data stay as they are: where nobody else reads what MoE does, ONNX Runtime (1.31) writes the result over it
        # before all of it was read.
        masked=reference.mask_weights,
        settings=(1,),
    ),
    Operator(
        "QMoE",
        MICROSOFT,
        shapes=AS_FIRST,
        kernelless=PACKED,
        signature=_packed,
        around=partial(_share_hidden, LAST_PACKED),
        sizes={"f": 2},
        work=_packed_work,
        packed=dict.fromkeys((2, 5, 8), "expert_weight_bits"),
        scales=(3, 6, 9),
        settings=(1, 14),
        differentiable=False,
    ),
)
