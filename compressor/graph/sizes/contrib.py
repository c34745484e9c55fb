"""Shapes of operators that ONNX's inference of a single node says nothing about.

Operators of ONNX Runtime (domain ``com.microsoft``, ContribOperators.md) that make what a standard operator makes from
some of their inputs are inferred as that one.

What stands here repeats what records of :mod:`compressor.operators` say of operands, and cannot be read from them:
sizes are known before records are read, and imports go down only. So a test holds the names against the records' and
every shape and type against what ONNX Runtime makes (``tests/graph/sizes/test_contrib.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx
import onnx_ir as ir

from compressor.graph.ir.nodes import optional_input
from compressor.graph.sizes.dims import Dim
from compressor.graph.sizes.shape_rules import DimShape, broadcast

MICROSOFT = "com.microsoft"
LIKE_FIRST_INPUT = ("GroupNormalization", "MeanVarianceNormalization", "LpNormalization")
"""Function operators whose output has the shape of the first input."""
SAME_AS_FIRST = frozenset(
    [("", op) for op in LIKE_FIRST_INPUT]
    + [(MICROSOFT, op) for op in ("QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "RotaryEmbedding")]
)
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


LIKE: Mapping[str, Like] = MappingProxyType({
    "DynamicQuantizeMatMul": Like("MatMul", slice(0, 2)),
    "MatMulIntegerToFloat": Like("MatMul", slice(0, 2)),
    "QGemm": Like("Gemm", slice(0, 4, 3), 7),
    "QLinearAdd": Like("Add", slice(0, 4, 3), 6),
    "QLinearAveragePool": Like("AveragePool", slice(0, 1), 3),
    "QLinearConcat": Like("Concat", slice(2, None, 3), 0),
    "QLinearGlobalAveragePool": Like("GlobalAveragePool", slice(0, 1), 3),
    "QLinearMul": Like("Mul", slice(0, 4, 3), 6),
})  # fmt: skip


def fused_matmul(
    node: ir.Node, one: DimShape, two: DimShape, equate: Callable[[Dim, Dim], None] = lambda _, __: None
) -> DimShape | None:
    """Shape of FusedMatMul, which may transpose matrices, from those of its operands; None for batches of it.

    ``equate`` notes sizes that must be equal for the node to run.
    """
    flags = [node.attributes.get_int(k, 0) for k in ("transA", "transB", "transBatchA", "transBatchB")]
    if any(flags[2:]) or min(len(one), len(two)) < 2:
        return None
    rows, columns = one[-1 if flags[0] else -2], two[-2 if flags[1] else -1]
    return (*broadcast((one[:-2], two[:-2]), equate), rows, columns)


def twin_of(node: ir.Node) -> Like | None:
    """The entry of ``node``; None where there is none, as for pools whose channels come last."""
    found = LIKE.get(node.op_type) if node.domain == MICROSOFT else None
    # The standard pool has its channels on axis 1.
    return None if node.attributes.get_int("channels_last", 0) else found


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
