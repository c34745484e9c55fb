"""Reductions (ONNX Reduce*-18, ArgMax-13, TopK-11, CumSum-14) and global poolings over channels."""

from __future__ import annotations

from types import MappingProxyType

import onnx_ir as ir

from compressor.channels.combine import Operand, Space, combine
from compressor.channels.coupling import Coupling
from compressor.operators.norm import KEPT
from compressor.operators.propagate import carry_zero, product
from compressor.operators.reference import Reference, without_axis
from compressor.operators.rule import OpRule, attribute_axis, required, signature

SUMS = ("ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare")
EXTREMES = ("ReduceMax", "ReduceMin", "ReduceProd")
LOGARITHMS = ("ReduceLogSum", "ReduceLogSumExp")
LARGEST = 1e30
"""Stands for infinity where a maximum or minimum must not see removed positions."""
NEUTRAL = MappingProxyType(
    {"ReduceMax": -LARGEST, "ReduceMin": LARGEST, "ReduceLogSumExp": -LARGEST, "ReduceProd": 1.0}
)
"""What leaves a reduction as it is; 0 for the others."""


def reduced_axes(node: ir.Node, coupling: Coupling) -> list[int]:
    """Axes a Reduce runs over, from the attribute (before opset 18; ReduceSum 13) or the second input."""
    rank = len(coupling.shape(node.inputs[0]))
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        axes = [int(a) for a in coupling.const(node.inputs[1], "the list of axes").ravel()]
    else:
        axes = list(node.attributes.get_ints("axes", ()))
    if not axes and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return []
    return sorted(a + rank if a < 0 else a for a in axes) if axes else list(range(rank))


def _reduce(node: ir.Node, coupling: Coupling) -> None:
    value, out = required(node, 0), node.outputs[0]
    shape = coupling.shape(value)
    axes = reduced_axes(node, coupling)
    if coupling.policy.keep_norm_axes:
        coupling.restrict(node, value, axes, f"{node.op_type} {KEPT}")
    names = [(f"a{k}",) for k in range(len(shape))]
    keep = node.attributes.get_int("keepdims", 1)
    result = [() if k in axes else n for k, n in enumerate(names) if keep or k not in axes]
    sizes = {f"a{k}": s for k, s in enumerate(shape) if s > 1}
    combine(node, coupling, [Operand(value, tuple(names))], [Operand(out, tuple(result))], Space(sizes))


def _masked(node: ir.Node, reference: Reference) -> None:
    """Where it runs over removed positions they become neutral, and a mean divides by the number of kept ones."""
    value = node.inputs[0]
    if reference.mask(value) is None:
        return
    axes = reduced_axes(reference.source_of(node), reference.cut.coupling)
    if not reference.varies(value, axes):
        return
    share = reference.share(value, axes)
    reference.fill(node, 0, NEUTRAL.get(node.op_type, 0.0))
    if node.op_type == "ReduceMean" and share < 1.0:
        reference.scale_output(node, 1.0 / share)
        reference.statistics += 1


def _ranked(node: ir.Node, coupling: Coupling) -> None:
    """Operators whose result along an axis depends on positions or counts: nothing may go there."""
    value = required(node, 0)
    rank = len(coupling.shape(value))
    axis = attribute_axis(node, rank, -1 if node.op_type == "TopK" else 0)
    if node.op_type.startswith("Cum"):
        axis = int(coupling.const(node.inputs[1], "its axis"))
        axis += rank if axis < 0 else 0
    terms = coupling.restrict(node, value, {axis}, f"{node.op_type} counts along it")
    dropped = node.op_type.startswith("Arg") and not node.attributes.get_int("keepdims", 1)
    for out in node.outputs:
        coupling.label(out, [without_axis(t, axis) for t in terms] if dropped else terms)


RULES = (
    OpRule(SUMS, _reduce, masked=_masked, constants=product),
    OpRule(("ReduceMean",), _reduce, masked=_masked, constants=carry_zero),
    OpRule(EXTREMES, _reduce, masked=_masked, constants=carry_zero),
    OpRule(LOGARITHMS, _reduce, masked=_masked),
    OpRule(("ArgMax", "ArgMin", "TopK", "CumSum", "CumProd"), _ranked),
    OpRule(
        ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
        signature("n c [*s] -> n c [*p]"),
        constants=carry_zero,
    ),
)
