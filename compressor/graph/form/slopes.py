"""PRelu whose slope is broader than what it acts on, which ONNX forbids and ONNX Runtime computes.

It broadcasts the two against each other, but plans its memory by the shape that ONNX infers, which is that of the first
operand: whether such a run fails depends on which other values happen to have that size. Made as broad as the slope
first, the operand has the shape that comes out.
"""

from __future__ import annotations

import onnx_ir as ir

from compressor.graph.ir.edit import FreeNames, put_before
from compressor.graph.ir.nodes import is_standard
from compressor.graph.ir.opsets import exists, version_of
from compressor.graph.sizes.shapes import Shapes


def widen_operands(model: ir.Model, shapes: Shapes) -> bool:
    """Put an Expand in front of each PRelu whose slope may be broader than its input, in place.

    Returns:
        Whether there is one, so that shapes have to be inferred anew.
    """
    if not exists("Expand", version_of(model)):
        return False
    nodes = [node for node in model.graph.all_nodes() if is_standard(node) and node.op_type == "PRelu"]
    broad = [node for node in nodes if _broader(node, shapes)]
    free = FreeNames(model.graph)
    for node in broad:
        value, slope = node.inputs
        shape = put_before(node, ir.node("Shape", [slope]), f"{node.name}.slope", free)
        node.replace_input_with(0, put_before(node, ir.node("Expand", [value, shape]), f"{node.name}.operand", free))
    return bool(broad)


def _broader(node: ir.Node, shapes: Shapes) -> bool:
    value, slope = (shapes.dims(operand) if operand is not None else None for operand in node.inputs)
    if value is None or slope is None:
        return False
    pairs = zip(reversed(slope), reversed(value), strict=False)
    return len(slope) > len(value) or any(own not in (1, other) for own, other in pairs)
