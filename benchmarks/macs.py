"""Counts multiply-accumulates and parameters of an ONNX graph, sharing no code with any tool it judges."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod

import onnx
import onnx.inliner
import onnx.shape_inference
from onnx import NodeProto, TensorProto

Shape = tuple[int, ...]
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
LARGE = 4096  # elements; larger tensors cannot be shapes, so inference does not need their values


@dataclass
class Counts:
    """MACs for one run, elements of floating constants, and the heavy nodes that could not be counted."""

    macs: int = 0
    params: int = 0
    uncounted: list[str] = field(default_factory=list)


def count(model: onnx.ModelProto, symbol: int = 1) -> Counts:
    """Counts a model's MACs with every symbolic input dimension set to `symbol`; the model is left empty.

    MACs are those of Conv, ConvTranspose, Gemm, MatMul and Einsum. Nodes that multiply in other ways, and
    nodes whose shapes cannot be inferred, are listed in `uncounted` rather than guessed.
    """
    counts = Counts(params=sum(prod(t.dims) for t in _constants(model.graph) if t.data_type in FLOATS))
    shapes = _shapes(model, symbol)
    for node in model.graph.node:
        rule = RULES.get(node.op_type)
        operands = node.input if node.op_type == "Einsum" else (*node.input[:2], node.output[0])
        known = [shapes[name] for name in operands if name in shapes]
        if rule and len(known) == len(operands):
            counts.macs += rule(node, known)
        elif rule or node.op_type in HEAVY or any(a.HasField("g") for a in node.attribute):
            counts.uncounted.append(f"{node.op_type} {node.name or node.output[0]}")
    return counts


def _constants(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (a.t for a in node.attribute if a.name == "value")


def _shapes(model: onnx.ModelProto, symbol: int) -> dict[str, Shape]:
    """Shapes by value name, inferred afresh: what the file itself claims about its inside is not trusted."""
    if model.functions:
        model.CopyFrom(onnx.inliner.inline_local_functions(model))
    del model.graph.value_info[:]
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = symbol
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    for tensor in _constants(model.graph):
        if prod(tensor.dims) > LARGE:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            shapes[value.name] = tuple(d.dim_value for d in dims)
    return shapes


def _conv(_: NodeProto, operands: list[Shape]) -> int:
    weight, output = operands[1:]
    return prod(output) * prod(weight[1:])


def _conv_transpose(_: NodeProto, operands: list[Shape]) -> int:
    data, weight = operands[:2]
    return prod(data) * prod(weight[1:])


def _gemm(node: NodeProto, operands: list[Shape]) -> int:
    left, output = operands[0], operands[2]
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return prod(output) * left[0 if transposed else 1]


def _matmul(_: NodeProto, operands: list[Shape]) -> int:
    left, output = operands[0], operands[2]
    return prod(output) * left[-1]


def _einsum(node: NodeProto, operands: list[Shape]) -> int:
    """The product of all named axes; an ellipsis stands for the leading axes of its operand."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.partition("->")[0].split(","), operands, strict=True):
        before, _, after = term.partition("...")
        middle = [f"...{i}" for i in range(len(shape) - len(before) - len(after), 0, -1)]
        for name, size in zip([*before, *middle, *after], shape, strict=True):
            sizes[name] = max(size, sizes.get(name, 1))
    return prod(sizes.values())


RULES: dict[str, Callable[[NodeProto, list[Shape]], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
}
HEAVY = {
    "Attention", "ConvInteger", "DeformConv", "FusedConv", "FusedMatMul", "GRU", "LSTM", "MatMulInteger",
    "MultiHeadAttention", "QLinearConv", "QLinearMatMul", "RNN",
}  # fmt: skip
