"""Where the outputs of linear operators with constant weights can be read, behind their bias and their norm."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compressor.graph.shapes import Shapes

CHANNELS_SECOND = frozenset({"Conv", "ConvTranspose", "FusedConv"})
"""Operators whose output has its channels on axis 1."""
CHANNELS_LAST = frozenset({"FusedMatMul", "Gemm", "MatMul"})
"""Operators whose output has its channels on the last axis."""
FOLLOWING = frozenset({"Add", "BatchNormalization", "Mul", "Sub"})
"""Bias and norm: what a linear operator could have held itself, where the other operands are constant."""


@dataclass(frozen=True)
class LinearOutput:
    """One value to read.

    Attributes:
        name: of the value.
        axis: that holds the channels.
        channels: how many there are.
        numbers: in the whole value.
    """

    name: str
    axis: int
    channels: int
    numbers: int


def linear_outputs(graph: ir.Graph, shapes: Shapes) -> list[LinearOutput]:
    """Every linear operator of the main graph whose weight is constant, from front to back.

    Operators whose output has no known shape are left out.
    """
    found = []
    for node in graph:
        operands = [v for v in node.inputs[:2] if v is not None]
        if node.op_type in CHANNELS_SECOND:
            axis, constant = 1, len(operands) > 1 and shapes.const(operands[1]) is not None
        elif node.op_type in CHANNELS_LAST:
            # In a product the weight may stand on either side.
            axis, constant = -1, any(shapes.const(v) is not None for v in operands)
        else:
            continue
        value = _behind_norm(node.outputs[0], shapes)
        shape = shapes(value)
        if constant and shape is not None and len(shape) > 1 and value.name:
            size = 1
            for sides in shape:
                size *= sides
            found.append(LinearOutput(str(value.name), axis % len(shape), shape[axis], size))
    return found


def _behind_norm(value: ir.Value, shapes: Shapes) -> ir.Value:
    """The value behind what only shifts and scales ``value`` by constants, as long as nothing else reads it."""
    # A second reader would see the value before the norm.
    while len(uses := list(value.uses())) == 1:
        node, index = uses[0]
        others = [v for k, v in enumerate(node.inputs) if v is not None and k != index]
        if node.op_type not in FOLLOWING or not others or any(shapes.const(v) is None for v in others):
            break
        value = node.outputs[0]
    return value
