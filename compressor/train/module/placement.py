"""Where values live. Shape arithmetic stays on the host, so that reading it never waits for the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

HOST_INPUTS: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(("CenterCropPad", "CumProd", "CumSum", "Expand", "OneHot", "Reshape", "Split", "SplitToSequence",
                     "Squeeze", "Tile", "TopK", "Trilu", "Unsqueeze", "SequenceAt", "SequenceErase", "Upsample",
                     "AffineGrid", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
                     "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"), frozenset({1})),
    **dict.fromkeys(("BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "If"), frozenset({0})),
    "Col2Im": frozenset({1, 2}),
    "DFT": frozenset({1, 2}),
    "Dropout": frozenset({1, 2}),
    "Loop": frozenset({0, 1}),
    "MaxUnpool": frozenset({2}),
    "MelWeightMatrix": frozenset(range(5)),
    "NonMaxSuppression": frozenset({2, 3, 4}),
    "Pad": frozenset({1, 2, 3}),
    "Range": frozenset({0, 1, 2}),
    "Resize": frozenset({1, 2, 3}),
    "SequenceInsert": frozenset({2}),
    "Slice": frozenset({1, 2, 3, 4}),
    "STFT": frozenset({1, 3}),
}  # fmt: skip
"""Inputs that a function reads as Python numbers."""

GROWING = frozenset({"ConstantOfShape", "Expand", "OneHot", "Range", "Tile"})
"""Operators that make large tensors from small ones: on the host only if their result is read there."""

HOSTABLE = GROWING | {
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Concat", "CumSum", "Div", "Equal", "Flatten", "Floor",
    "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual",
    "Max", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Pad", "Pow", "Reciprocal", "ReduceMax",
    "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterElements", "ScatterND", "Shape", "Sign",
    "Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze", "Where", "Xor",
}  # fmt: skip
"""Operators that shape arithmetic is made of."""

STANDARD = ("", "ai.onnx")


def read_on_host(graph: ir.Graph) -> set[ir.Value]:
    """Values of the graph, and of graphs in it, that are needed as numbers, directly or to compute such."""
    wanted: set[ir.Value] = set()
    _collect(graph, wanted)
    return wanted


def _collect(graph: ir.Graph, wanted: set[ir.Value]) -> None:
    for node in reversed(list(graph)):
        for body in bodies(node):
            _collect(body, wanted)
        if node.domain not in STANDARD:
            continue
        passes = node.op_type in HOSTABLE and any(v in wanted for v in node.outputs)
        slots = HOST_INPUTS.get(node.op_type, frozenset())
        wanted.update(v for k, v in enumerate(node.inputs) if v is not None and (passes or k in slots))


def bodies(node: ir.Node) -> Iterable[ir.Graph]:
    """Graphs among the attributes of a node."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()
