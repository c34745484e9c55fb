"""Which initializers training may change.

A floating initializer is a *parameter* where a gradient can reach it: some path of differentiable operators
leads from it to an output. Not so where it is a setting (a bound of Clip, the exponent of Pow, scales of Resize,
the grid of QuantizeLinear) or a running statistic. Numbers that only take part in element-wise arithmetic are
parameters unless they look like arithmetic rather than weights: single entries (epsilons, scale factors) and
masks (infinite or huge entries, or matrices of zeros and one other number).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.train.module.placement import bodies

MASK_SIZE = 1e4
"""Entries of this size are meant to mask: exporters write -1e4, -65504, -1e9 and the smallest float."""

STATISTICS: Mapping[str, frozenset[int]] = {"BatchNormalization": frozenset({3, 4})}
"""Inputs that hold running statistics."""

SETTINGS: Mapping[str, frozenset[int]] = {
    **STATISTICS,
    "AffineGrid": frozenset({1}),
    "Attention": frozenset({3}),
    "Clip": frozenset({1, 2}),
    "Dropout": frozenset({1, 2}),
    "DequantizeLinear": frozenset({1, 2}),
    "Mod": frozenset({1}),
    "NegativeLogLikelihoodLoss": frozenset({2}),
    "Pad": frozenset({1, 2, 3}),
    "Pow": frozenset({1}),
    "QuantizeLinear": frozenset({1, 2}),
    "Resize": frozenset({1, 2, 3}),
    "RoiAlign": frozenset({1, 2}),
    "RotaryEmbedding": frozenset({1, 2}),
    "SoftmaxCrossEntropyLoss": frozenset({2}),
    "STFT": frozenset({2}),
    "Upsample": frozenset({1}),
}
"""Inputs that say how to compute; they are not trained."""

NO_GRADIENT = frozenset({
    "And", "ArgMax", "ArgMin", "Bernoulli", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
    "BitwiseXor", "BlackmanWindow", "ConstantOfShape", "ConvInteger", "DynamicQuantizeLinear", "Equal", "EyeLike",
    "Greater", "GreaterOrEqual", "HammingWindow", "HannWindow", "Hardmax", "IsInf", "IsNaN", "Less", "LessOrEqual",
    "MatMulInteger", "MelWeightMatrix", "Multinomial", "NonMaxSuppression", "NonZero", "Not", "OneHot", "Or",
    "QLinearConv", "QLinearMatMul", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Range",
    "Shape", "Size", "Xor",
})  # fmt: skip
"""Operators whose result has no gradient."""

MOVES = frozenset({
    "Cast", "CastLike", "CenterCropPad", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements",
    "GatherND", "Identity", "Pad", "Reshape", "ReverseSequence", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
    "Transpose", "Trilu", "Unsqueeze",
})  # fmt: skip
"""Operators that hand entries on, so that what reads their result decides."""

ARITHMETIC = frozenset({"Add", "Div", "Max", "Mean", "Min", "Mod", "Mul", "Pow", "Sub", "Sum", "Where"})


class Role(IntEnum):
    """How a value takes part in what the graph returns."""

    NONE = 0
    TERM = 1
    WEIGHT = 2


def parameters(graph: ir.Graph) -> set[ir.Value]:
    """The initializers, of the graph and of graphs in it, that training may change; see the module."""
    roles: dict[ir.Value, Role] = {}
    _assign(graph, roles)
    found = set()
    for value in initializers(graph):
        tensor = value.const_value
        role = roles.get(value, Role.NONE)
        if tensor is None or not _trains(tensor.dtype) or role == Role.NONE:
            continue
        if role == Role.WEIGHT or not _is_arithmetic(tensor):
            found.add(value)
    return found


def statistics(graph: ir.Graph) -> set[ir.Value]:
    """The initializers that hold running statistics of normalisation."""
    return {
        v
        for node in graph.all_nodes()
        for k in STATISTICS.get(node.op_type, ())
        if k < len(node.inputs) and (v := node.inputs[k]) is not None and v.is_initializer()
    }


def initializers(graph: ir.Graph) -> list[ir.Value]:
    """All initializers of the graph and of graphs in it, the outer ones first."""
    found = list(graph.initializers.values())
    for node in graph:
        for body in bodies(node):
            found += initializers(body)
    return found


def _assign(graph: ir.Graph, roles: dict[ir.Value, Role]) -> None:
    for value in graph.outputs:
        if value.dtype is None or value.dtype.is_floating_point():
            roles[value] = Role.WEIGHT
    for node in reversed(list(graph)):
        for body in bodies(node):
            _assign(body, roles)
        made = max((roles.get(v, Role.NONE) for v in node.outputs), default=Role.NONE)
        if made == Role.NONE or node.op_type in NO_GRADIENT or _to_integer(node):
            continue
        if node.op_type not in MOVES:
            made = Role.TERM if node.op_type in ARITHMETIC else Role.WEIGHT
        settings = SETTINGS.get(node.op_type, frozenset())
        for index, operand in enumerate(node.inputs):
            if operand is not None and index not in settings:
                roles[operand] = max(roles.get(operand, Role.NONE), made)


def _to_integer(node: ir.Node) -> bool:
    return node.op_type == "Cast" and not ir.DataType(node.attributes.get_int("to", 1)).is_floating_point()


def _trains(dtype: ir.DataType) -> bool:
    return dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def _is_arithmetic(tensor: ir.TensorProtocol) -> bool:
    sizes = [int(n) for n in tensor.shape.numpy() if n != 1]
    if prod(sizes) <= 1:
        return True
    array = np.asarray(tensor.numpy(), np.float64)
    if not np.isfinite(array).all() or np.abs(array).max() >= MASK_SIZE:
        return True
    if len(sizes) < 2:
        return False
    others = array[array != 0]
    return 0 < others.size < array.size and bool((others == others[0]).all())
