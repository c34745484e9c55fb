"""Operators that move data: what the graph itself has to know of them, before any record of ``operators/`` is read."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class Movement(Enum):
    """How the outputs are made of entries of the inputs.

    AXES: of the first input, all of them, whole axes in another order. ENTRIES: of the first input, moved, picked or
    repeated. JOINS: the same of all inputs. TYPE: in another element type. ZEROS: some replaced by a constant, or
    constants added.
    """

    AXES = "axes"
    ENTRIES = "entries"
    JOINS = "joins"
    TYPE = "type"
    ZEROS = "zeros"


MOVEMENT: Mapping[str, Movement] = MappingProxyType({
    **dict.fromkeys(("Identity", "Transpose"), Movement.AXES),
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
