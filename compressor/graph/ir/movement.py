"""Operators that move data: what the graph itself has to know of them, before any record of ``operators/`` is read."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import onnx_ir as ir

from compressor.graph.ir.nodes import is_standard


class Movement(Enum):
    """How the outputs are made of entries of the inputs.

    Attributes:
        COPY: the first input as it is, such as Identity.
        SHAPE: it in another shape, its entries in the same order in memory, such as Reshape.
        AXES: it with its axes in another order: Transpose.
        ALONG: entries of it moved, picked or repeated along axes, which are still there, such as Slice.
        ENTRIES: the same where axes come or go, such as Gather.
        JOINS: entries of all inputs: Concat.
        TYPE: the first input in another element type, such as Cast.
        ZEROS: some entries replaced by a constant, or constants added, such as Pad.
    """

    COPY = "copy"
    SHAPE = "shape"
    AXES = "axes"
    ALONG = "along"
    ENTRIES = "entries"
    JOINS = "joins"
    TYPE = "type"
    ZEROS = "zeros"


MOVEMENT: Mapping[str, Movement] = MappingProxyType({
    "Identity": Movement.COPY,
    "Transpose": Movement.AXES,
    **dict.fromkeys(("GatherElements", "ReverseSequence", "Slice", "Split", "Tile"), Movement.ALONG),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), Movement.SHAPE),
    **dict.fromkeys(("DepthToSpace", "Expand", "Gather", "GatherND", "SpaceToDepth"), Movement.ENTRIES),
    "Concat": Movement.JOINS,
    **dict.fromkeys(("Cast", "CastLike"), Movement.TYPE),
    **dict.fromkeys(("CenterCropPad", "Dropout", "Pad", "Trilu"), Movement.ZEROS),
})  # fmt: skip
"""Operator of ONNX's own domain -> how it moves; none that computes is here."""

MOVES = frozenset(op for op, kind in MOVEMENT.items() if kind is not Movement.ZEROS)
"""Operators whose outputs hold entries of the inputs, at most in another element type."""
ALL_ENTRIES = frozenset({Movement.COPY, Movement.SHAPE, Movement.AXES, Movement.TYPE})
"""Movements that give every entry of the first input once."""
JOINS = frozenset(op for op, kind in MOVEMENT.items() if kind is Movement.JOINS)
_PASSES_ON = frozenset({"Identity", "Concat", "Dropout"})


def only_moves(node: ir.Node) -> bool:
    """Do all outputs of a node hold entries of its inputs, at most in another element type?"""
    return is_standard(node) and node.op_type in MOVES


def joins(node: ir.Node) -> bool:
    """Does a node give the entries of all of its inputs?"""
    return is_standard(node) and node.op_type in JOINS


def may_pass_on(node: ir.Node) -> bool:
    """Does a node give what it reads where one input is all it has, so that it may go? Dropout as at inference."""
    return is_standard(node) and node.op_type in _PASSES_ON
