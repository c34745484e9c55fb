"""Reductions (ONNX Reduce*-18, ArgMax-13, TopK-11, CumSum-14)."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.graph.ir.nodes import optional_input
from compressor.operators.facts import Host, Neutral
from compressor.operators.operator import Operator, attribute_axis, required
from compressor.operators.reference import Reference, without_axis
from compressor.operators.signature import Call


def _axes(call: Call) -> list[int]:
    """Axes a Reduce runs over, from the attribute or the second input."""
    node, rank = call.node, len(call.shape(0))
    if optional_input(node, 1) is not None:
        axes = [int(a) for a in call.const(1, "the list of axes").ravel()]
    else:
        axes = list(node.attributes.get_ints("axes", ()))
    # ONNX: no axes mean all of them, unless this attribute makes the node do nothing.
    if not axes and call.attribute("noop_with_empty_axes") == 1:
        return []
    return sorted(a + rank if a < 0 else a for a in axes) if axes else list(range(rank))


def _reduce(call: Call) -> str:
    """Axes that are reduced are not in the output, or have one position there."""
    axes, keep = _axes(call), call.attribute("keepdims", 1)
    names = [f"a{k}" for k in range(len(call.shape(0)))]
    # Kept at size 1, a reduced axis has a name still, which spans nothing in the output.
    return f"{' '.join(names)} -> {' '.join(n for k, n in enumerate(names) if keep or k not in axes)}"


def _mask_mean(node: ir.Node, reference: Reference) -> None:
    """Removed positions are zero, and the mean divides by the number of kept ones."""
    value = node.inputs[0]
    if reference.mask(value) is None:
        return
    axes = _axes(Call.of(reference.source_of(node), reference.cut.coupling))
    if not reference.varies(value, axes):
        return
    share = reference.share(value, axes)
    reference.fill(node, 0, 0.0)
    if share < 1.0:
        reference.scale_output(node, 1.0 / share)
        reference.statistics += 1


def _freeze_ranked(node: ir.Node, coupling: Coupling, default: int = 0) -> None:
    """Operators whose result along an axis depends on positions or counts: nothing may go there."""
    value = required(node, 0)
    _count(node, coupling, attribute_axis(node, len(coupling.shape(value)), default))


def _top(node: ir.Node, coupling: Coupling) -> None:
    _freeze_ranked(node, coupling, -1)


def _freeze_cumulated(node: ir.Node, coupling: Coupling) -> None:
    axis = int(coupling.const(node.inputs[1], "its axis"))
    _count(node, coupling, axis + len(coupling.shape(node.inputs[0])) if axis < 0 else axis)


def _arg(node: ir.Node, coupling: Coupling) -> None:
    value = required(node, 0)
    axis = attribute_axis(node, len(coupling.shape(value)), 0)
    _count(node, coupling, axis, dropped=not node.attributes.get_int("keepdims", 1))


def _count(node: ir.Node, coupling: Coupling, axis: int, *, dropped: bool = False) -> None:
    terms = coupling.restrict(node, required(node, 0), {axis}, f"{node.op_type} counts along it")
    for out in node.outputs:
        coupling.label(out, [without_axis(t, axis) for t in terms] if dropped else terms)


def _reduction(name: str, neutral: Neutral, **facts: Any) -> Operator:
    return Operator(name, signature=_reduce, over=_axes, neutral=neutral, host=(1,), **facts)


OPERATORS = (
    *(_reduction(name, Neutral.ZERO, factors=(0,)) for name in ("ReduceL1", "ReduceL2", "ReduceSumSquare")),
    _reduction("ReduceSum", Neutral.ZERO, factors=(0,), on_host=Host.ARITHMETIC),
    _reduction("ReduceMean", Neutral.ZERO, masked=_mask_mean, keeps_zero=True),
    _reduction("ReduceMax", Neutral.LOWEST, keeps_zero=True, on_host=Host.ARITHMETIC),
    _reduction("ReduceMin", Neutral.HIGHEST, keeps_zero=True, on_host=Host.ARITHMETIC),
    _reduction("ReduceProd", Neutral.ONE, keeps_zero=True, on_host=Host.ARITHMETIC),
    _reduction("ReduceLogSum", Neutral.ZERO),
    _reduction("ReduceLogSumExp", Neutral.LOWEST),
    *(Operator(name, labels=_arg, differentiable=False) for name in ("ArgMax", "ArgMin")),
    Operator("TopK", labels=_top, host=(1,)),
    Operator("CumSum", labels=_freeze_cumulated, host=(1,), on_host=Host.ARITHMETIC),
    Operator("CumProd", labels=_freeze_cumulated, host=(1,)),
)
