"""Shapes of operators that ONNX's inference of a single node says nothing about, as of ONNX Runtime's own.

What a record of :mod:`compressor.operators` says of them is one of two things: which standard operator makes the same
shape, or a function of what is known of the operands. Records are given to a walk, as imports go down only; a test
holds every shape and type against what ONNX Runtime makes (``tests/graph/sizes/test_contrib.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import onnx
import onnx_ir as ir

from compressor.graph.ir.nodes import optional_input, record_of
from compressor.graph.sizes.shape_rules import ShapeRule

OLDER_SAME_AS_FIRST = frozenset(
    {"Affine", "ImageScaler", "LayerNormalization", "MeanVarianceNormalization", "ParametricSoftplus", "Scale"}
    | {"ScaledTanh", "SimplifiedLayerNormalization", "ThresholdedRelu"}
)
"""Those of ``RUNTIME_OPERATORS`` whose first output has the shape of the first input; of other outputs (the statistics
of a norm) nothing is said."""
RUNTIME_OPERATORS = OLDER_SAME_AS_FIRST | {"Crop", "DynamicSlice", "GroupNormalization"}
"""Operators that ONNX Runtime has in the default domain at versions at which ONNX has none of that name
(contrib_defs.cc of ONNX Runtime), or has withdrawn it, as GroupNormalization-18. It writes norms of layers into the
models that it optimised."""


@dataclass(frozen=True)
class Like:
    """The standard operator that makes the same shape, and which inputs it takes.

    Attributes:
        scale: input that holds the scale of the output; without it, what is computed from integers are floats.
    """

    op_type: str
    inputs: slice
    scale: int | None = None

    def dtype(self, node: ir.Node, first: ir.DataType | None) -> ir.DataType | None:
        """The element type of the output, where ``first`` is that of the first input."""
        rescaled = optional_input(node, self.scale) is not None
        # Without a scale the result is real numbers, whatever the operands are.
        return first if first is None or rescaled or not first.is_integer() else ir.DataType.FLOAT


@dataclass(frozen=True)
class Follows:
    """Shapes of outputs that follow from what is known of the operands.

    Attributes:
        rule: gives them.
        typed_by: input whose element type the outputs have; it is not known where that is left out.
    """

    rule: ShapeRule
    typed_by: int = 0


AS_FIRST = Follows(lambda of: [of.shape(0)])
"""The first output has shape and element type of the first input."""


class ShapeRecord(Protocol):
    """What inference asks a record of an operator for."""

    @property
    def shapes(self) -> Like | Follows | None:
        """How shapes of outputs follow; None: ONNX's inference knows, or nobody does."""
        ...


ShapeRecords = Mapping[tuple[str, str], ShapeRecord]
"""(domain, operator) -> record."""


def shapes_fact(node: ir.Node, records: ShapeRecords) -> Like | Follows | None:
    """How shapes of the outputs of ``node`` follow; None where ONNX's inference is asked, or nobody knows."""
    record = record_of(node, records)
    found = None if record is None else record.shapes
    # The standard pool has its channels on axis 1.
    elsewhere = isinstance(found, Like) and node.attributes.get_int("channels_last", 0) != 0
    return None if elsewhere else found


def standard_node(node: ir.Node, twin: Like) -> onnx.NodeProto:
    """A standard node whose outputs have the names and shapes of those of ``node``."""
    proto = ir.serde.serialize_node(node)
    inputs = list(proto.input)[twin.inputs]
    del proto.input[:]
    proto.input.extend(inputs)
    kept = [a for a in proto.attribute if a.name != "channels_last"]
    del proto.attribute[:]
    proto.attribute.extend(kept)
    proto.domain, proto.op_type = "", twin.op_type
    return proto
