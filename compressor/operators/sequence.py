"""Sequences: their elements have the same channels, so a sequence has those of any of its elements.

Sources: ONNX SplitToSequence-24, SequenceConstruct-11, SequenceEmpty-11, SequenceInsert-11, SequenceErase-11,
SequenceAt-11, ConcatFromSequence-11. Which elements there are, and in which order, matters to no channel; an axis along
which a value is split or joined stays whole.
"""

from __future__ import annotations

import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.graph.ir.control_flow import Slices
from compressor.operators.control_flow import pass_slices, tie
from compressor.operators.operator import Operator, required
from compressor.operators.shape import reads_shape


def _split(node: ir.Node, coupling: Coupling) -> None:
    value, out = required(node, 0), node.outputs[0]
    _positions(node, coupling, 1)
    axis = node.attributes.get_int("axis", 0)
    before, after = coupling.shape(value), coupling.shape(out)
    if len(after) < len(before):
        pass_slices(node, coupling, Slices(value, out, axis), value, out)
        return
    terms = coupling.restrict(node, value, {axis % len(before)}, "SplitToSequence cuts along it")
    coupling.label(out, terms)


def _together(node: ir.Node, coupling: Coupling) -> None:
    """Elements become a sequence."""
    tie(node, coupling, [v for v in node.inputs if v is not None], node.outputs[0])
    # It describes the elements and not the sequence.
    coupling.node_operands.pop(node, None)


def _empty(node: ir.Node, coupling: Coupling) -> None:
    coupling.label(node.outputs[0], [])


def _insert(node: ir.Node, coupling: Coupling) -> None:
    _positions(node, coupling, 2)
    tie(node, coupling, [required(node, 0), required(node, 1)], node.outputs[0])
    coupling.node_operands.pop(node, None)


def _same(node: ir.Node, coupling: Coupling) -> None:
    _positions(node, coupling, 1)
    coupling.label(node.outputs[0], coupling.layout(node.inputs[0]))


def _concat(node: ir.Node, coupling: Coupling) -> None:
    value, out = required(node, 0), node.outputs[0]
    axis, rank = node.attributes.get_int("axis", 0), len(coupling.shape(value))
    if node.attributes.get_int("new_axis", 0):
        pass_slices(node, coupling, Slices(out, value, axis), value, out)
        return
    coupling.label(out, coupling.restrict(node, value, {axis % rank}, "ConcatFromSequence joins along it"))


def _positions(node: ir.Node, coupling: Coupling, index: int) -> None:
    """Freezes input ``index``, if there is one: it says which element is meant, or where to split."""
    if index < len(node.inputs):
        coupling.freeze(node, node.inputs[index], None, f"is a position of {node.op_type}")


OPERATORS = (
    Operator("SplitToSequence", labels=_split, sequence=True, host=(1,)),
    Operator("SequenceConstruct", labels=_together, sequence=True),
    Operator("SequenceEmpty", labels=_empty, sequence=True),
    Operator("SequenceInsert", labels=_insert, sequence=True, host=(2,)),
    Operator("SequenceErase", labels=_same, sequence=True, host=(1,)),
    Operator("SequenceAt", labels=_same, host=(1,)),
    Operator("SequenceLength", labels=reads_shape),
    Operator("ConcatFromSequence", labels=_concat),
)
