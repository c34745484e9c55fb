"""Where the outputs of linear operators with constant weights can be read, behind their bias and their norm."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compressor.graph.sizes.shapes import Shapes
from compressor.operators.table import operator_of


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
        operator = operator_of(node)
        if not operator.linear or operator.factors != (0, 1):
            continue
        # The kernel of a convolution is its second operand; in a product the weight may stand on either side.
        axis, weights = (-1, node.inputs[:2]) if operator.window is None else (1, node.inputs[1:2])
        constant = any(shapes.const(v) is not None for v in weights if v is not None)
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
        # Bias and norm are what a linear operator could have held itself.
        if not operator_of(node).affine(index) or not others or any(shapes.const(v) is None for v in others):
            break
        value = node.outputs[0]
    return value
