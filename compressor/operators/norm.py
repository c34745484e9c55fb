"""Normalisations. Where statistics run over channels, they run over the kept ones after pruning.

Sources: ONNX BatchNormalization-15, InstanceNormalization-22, GroupNormalization-18/21, LayerNormalization-17,
RMSNormalization-23, LpNormalization-22, MeanVarianceNormalization-13, LRN-13, Softmax-13.
"""

from __future__ import annotations

import onnx_ir as ir

from compressor.channels.combine import Operand, Space, combine
from compressor.channels.coupling import Coupling, Unexplained
from compressor.operators import propagate, reference
from compressor.operators.repair import Repairer
from compressor.operators.rule import OpRule, Options, Signature, apply, attribute_axis, required, signature

KEPT = "normalises along it, and --keep-norm-axes asks to leave such axes alone"


def _over(node: ir.Node, coupling: Coupling, axes: range | list[int]) -> tuple[int, ...]:
    """Freezes the axes that statistics run over if the user asks for that; returns them."""
    value = required(node, 0)
    if coupling.policy.keep_norm_axes:
        coupling.restrict(node, value, axes, f"{node.op_type} {KEPT}")
    return tuple(axes)


_INSTANCE = Signature.parse("n c *s, c, c -> n c *s")
_GROUP_BY_CHANNEL = Signature.parse("n (g c) *s, (g c), (g c) -> n (g c) *s")
_GROUP_BY_GROUP = Signature.parse("n (g c) *s, g, g -> n (g c) *s")


def _instance(node: ir.Node, coupling: Coupling) -> None:
    _over(node, coupling, range(2, len(coupling.shape(node.inputs[0]))))
    apply(node, coupling, _INSTANCE)


def _group(node: ir.Node, coupling: Coupling) -> None:
    shape = coupling.shape(node.inputs[0])
    _over(node, coupling, range(1, len(shape)))
    groups = node.attributes.get_int("num_groups", 1)
    per_channel = coupling.shape(node.inputs[1])[0] == shape[1]
    apply(node, coupling, _GROUP_BY_CHANNEL if per_channel else _GROUP_BY_GROUP, Options({"g": groups}))


def _layer(node: ir.Node, coupling: Coupling) -> None:
    """``*b *d, *d, *d? -> *b *d``; scale and bias broadcast to the normalised axes from the right."""
    value = node.inputs[0]
    shape = coupling.shape(value)
    axis = attribute_axis(node, len(shape), -1)
    _over(node, coupling, range(axis, len(shape)))
    if value is None or any(v.uses() for v in node.outputs[1:]):
        raise Unexplained("its statistics are read by other nodes")
    names = [(f"a{k}",) for k in range(len(shape))]
    operands = [Operand(value, tuple(names))]
    for other in node.inputs[1:]:
        if other is not None:
            own = coupling.shape(other)
            start = len(shape) - len(own)
            operands.append(Operand(other, tuple(names[start + k] if s > 1 else () for k, s in enumerate(own))))
    sizes = {f"a{k}": s for k, s in enumerate(shape) if s > 1}
    combine(
        node,
        coupling,
        operands,
        [Operand(node.outputs[0], tuple(names))],
        Space(sizes, rows=coupling.policy.heads),
    )


def _lp(node: ir.Node, coupling: Coupling) -> None:
    _over(node, coupling, [attribute_axis(node, len(coupling.shape(node.inputs[0])), -1)])
    coupling.label(node.outputs[0], coupling.layout(node.inputs[0]))


def _mean_variance(node: ir.Node, coupling: Coupling) -> None:
    _over(node, coupling, list(node.attributes.get_ints("axes", (0, 2, 3))))
    coupling.label(node.outputs[0], coupling.layout(node.inputs[0]))


def _softmax(node: ir.Node, coupling: Coupling) -> None:
    """Frozen along the softmax axis; before opset 13 the operator flattens from ``axis`` on."""
    value = required(node, 0)
    rank = len(coupling.shape(value))
    old = coupling.opset < 13
    axis = attribute_axis(node, rank, 1 if old else -1)
    axes = set(range(axis, rank)) if old else {axis}
    coupling.label(node.outputs[0], coupling.restrict(node, value, axes, f"{node.op_type} runs over it"))


def _repair_group(node: ir.Node, repairer: Repairer) -> None:
    """Groups stay, unless whole groups went (then as many are left as the scale has, or as divide the channels)."""
    groups = node.attributes.get_int("num_groups", 1)
    whole = repairer.whole_rows(node.inputs[0], 1, groups)
    if whole is not None:
        node.attributes["num_groups"] = ir.AttrInt64("num_groups", whole)


RULES = (
    OpRule(("BatchNormalization",), signature("n c *s, c, c, c, c -> n c *s"), constants=propagate.batch_norm),
    OpRule(
        ("InstanceNormalization",),
        _instance,
        masked=reference.instance_norm,
        constants=propagate.instance_norm,
    ),
    OpRule(("GroupNormalization",), _group, repair=_repair_group, masked=reference.group_norm),
    OpRule(("LayerNormalization", "RMSNormalization"), _layer, masked=reference.layer_norm),
    OpRule(("LpNormalization",), _lp, masked=reference.mask_sums),
    OpRule(("MeanVarianceNormalization",), _mean_variance, masked=reference.mean_variance),
    OpRule(("LRN",), signature("n [c] *s -> n c *s")),
    OpRule(("Softmax", "LogSoftmax", "Hardmax"), _softmax),
)
