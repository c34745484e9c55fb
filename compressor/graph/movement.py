"""Operators that move data: what the graph itself has to know of them, before any record of ``operators/`` is read."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class Movement(Enum):
    """How the outputs are made of entries of the inputs.

    COPY: the first input as it is. AXES: the same with its axes in another order. ENTRIES: entries of it moved, picked
    or repeated. JOINS: the same of all inputs. TYPE: in another element type. ZEROS: some replaced by a constant, or
    constants added.
    """

    COPY = "copy"
    AXES = "axes"
    ENTRIES = "entries"
    JOINS = "joins"
    TYPE = "type"
    ZEROS = "zeros"


MOVEMENT: Mapping[str, Movement] = MappingProxyType({
    "Identity": Movement.COPY,
    "Transpose": Movement.AXES,
    **dict.fromkeys(("DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Reshape",
                     "ReverseSequence", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Unsqueeze"),
                    Movement.ENTRIES),
    "Concat": Movement.JOINS,
    **dict.fromkeys(("Cast", "CastLike"), Movement.TYPE),
    **dict.fromkeys(("CenterCropPad", "Dropout", "Pad", "Trilu"), Movement.ZEROS),
})  # fmt: skip
"""Operator of ONNX's own domain -> how it moves; none that computes is here."""

MOVES = frozenset(op for op, kind in MOVEMENT.items() if kind is not Movement.ZEROS)
"""Operators whose outputs hold entries of the inputs, at most in another element type."""
