"""Normalisations. Where statistics run over channels, they run over the kept ones after pruning.

Sources: ONNX BatchNormalization-15, InstanceNormalization-22, GroupNormalization-18/21, LayerNormalization-17,
RMSNormalization-23, LpNormalization-22, MeanVarianceNormalization-13, LRN-13, Softmax-13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.channels.lifted import are_rows
from compressor.graph.ir.opsets import softmax_axes
from compressor.graph.sizes.contrib import AS_FIRST
from compressor.operators import propagate, reference
from compressor.operators.elementwise import like_first
from compressor.operators.facts import Normalises
from compressor.operators.operator import Operator, required
from compressor.operators.signature import Call


def _space(call: Call) -> Sequence[int]:
    return range(2, len(call.shape(0)))


def _sample(call: Call) -> Sequence[int]:
    return range(1, len(call.shape(0)))


def _from_axis(call: Call) -> Sequence[int]:
    return range(call.axis(-1), len(call.shape(0)))


def _one_axis(call: Call) -> Sequence[int]:
    return [call.axis(-1)]


def _listed(call: Call) -> Sequence[int]:
    rank = len(call.shape(0))
    return [axis % rank for axis in call.node.attributes.get_ints("axes", (0, 2, 3))]


def _statistics(over: Callable[[Call], Sequence[int]], node: ir.Node, coupling: Coupling) -> None:
    """Like the input, whose joint terms are merged where each row would lose positions of its own: statistics that run
    from row to row take those that stand in one column for the same."""
    value, axes = required(node, 0), set(over(Call.of(node, coupling)))
    for term in coupling.layout(value):
        outside = tuple(axis for axis in term.axes if axis not in axes)
        if outside and not are_rows(outside, term.axes):
            coupling.pin(node, value, term, axes, f"{node.op_type} runs over it")
    like_first(node, coupling)


def _group(call: Call) -> str:
    """Scale and bias of each channel, or (GroupNormalization-18) of each group."""
    # Opset 18 has them for each group, opset 21 for each channel.
    own = "(g c)" if call.shape(1)[0] == call.shape(0)[1] else "g"
    return f"n (g c) *s, {own}, {own} -> n (g c) *s"


def _layer(call: Call) -> str:
    """Scale and bias broadcast to the normalised axes from the right."""
    # Statistics would have to be those of the kept channels, and have a shape that the signature does not give.
    if any(v.uses() for v in call.node.outputs[1:]):
        raise Unexplained("its statistics are read by other nodes")
    return "*a, *a?, *a? -> *a"


def _softmax(node: ir.Node, coupling: Coupling) -> None:
    """Frozen along the axes that a softmax runs over."""
    value = required(node, 0)
    axes = softmax_axes(node.attributes.get_int("axis", None), len(coupling.shape(value)), coupling.opset)
    coupling.label(node.outputs[0], coupling.restrict(node, value, axes, f"{node.op_type} runs over it"))


OPERATORS = (
    Operator(
        "BatchNormalization",
        # Where it trains it gives the statistics that it would go on with, up to opset 9 also those of the batch.
        signature="n c *s, c, c, c, c -> n c *s, c, c, c, c",
        constants=propagate.batch_norm,
        scale=(1,),
        bias=2,
        statistics=(3, 4),
        normalises=Normalises.EACH_CHANNEL,
    ),
    Operator(
        "InstanceNormalization",
        signature="n c *s, c, c -> n c *s",
        over=_space,
        masked=reference.mask_instance_norm,
        constants=propagate.instance_norm,
        scale=(1,),
        bias=2,
        normalises=Normalises.EACH_CHANNEL,
        synflow="bypass",
    ),
    Operator(
        "GroupNormalization",
        shapes=AS_FIRST,
        signature=_group,
        over=_sample,
        sizes={"g": "num_groups"},
        masked=reference.group_norm,
        scale=(1,),
        bias=2,
        normalises=Normalises.ALL_TOGETHER,
        synflow="bypass",
    ),
    *(
        Operator(
            name,
            signature=_layer,
            over=_from_axis,
            heads=True,
            masked=reference.layer_norm,
            scale=(1,),
            bias=bias,
            normalises=Normalises.ALL_TOGETHER,
            synflow="bypass",
        )
        for name, bias in (("LayerNormalization", 2), ("RMSNormalization", None))
    ),
    Operator(
        "LpNormalization",
        shapes=AS_FIRST,
        labels=partial(_statistics, _one_axis),
        over=_one_axis,
        masked=reference.mask_sums,
        synflow="bypass",
    ),
    Operator(
        "MeanVarianceNormalization",
        shapes=AS_FIRST,
        labels=partial(_statistics, _listed),
        over=_listed,
        masked=reference.mean_variance,
        synflow="bypass",
    ),
    Operator("LRN", signature="n c *s -> n c *s", neighbours=lambda _: [1], synflow="bypass"),
    Operator("Softmax", labels=_softmax, probabilities=True, synflow="gate"),
    Operator("LogSoftmax", labels=_softmax, synflow="bypass"),
    Operator("Hardmax", labels=_softmax, differentiable=False),
)
