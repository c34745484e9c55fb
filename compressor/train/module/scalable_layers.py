"""Layers whose output channels can be scaled by their weight and shifted by their bias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.train.module.placement import STANDARD

Array = npt.NDArray[np.generic]

TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})
KINDS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
MATRICES = frozenset({"Gemm", "MatMul"})
NORMS = frozenset({"BatchNormalization", "InstanceNormalization"})
"""Operators that undo whatever scale and shift a channel had."""
ACTIVATIONS = frozenset({
    "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Selu", "Sigmoid",
    "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu",
})  # fmt: skip
OPTIONAL_BIAS = 11
"""Operator set from which Gemm does without."""


class Unfit(Exception):  # noqa: N818 - control flow: the layer is left alone, the reason is for the user
    """A node is no such layer; the text says why."""


@dataclass(frozen=True)
class Layer:
    """A linear node with a constant weight of its own.

    Attributes:
        node: holds the weight.
        end: adds the bias: the same node, or an Add behind it.
        weight: an initializer, or what a Constant node writes.
        bias: constant, one number a channel; None where there is none.
    """

    node: ir.Node
    end: ir.Node
    weight: ir.Value
    bias: ir.Value | None

    @property
    def output(self) -> ir.Value:
        """What the layer writes, bias and all."""
        return self.end.outputs[0]

    @property
    def dtype(self) -> ir.DataType:
        """Element type of the weight."""
        tensor = tensor_of(self.weight)
        assert tensor is not None
        return tensor.dtype

    @property
    def bias_is_optional(self) -> bool:
        """Can the node do without?"""
        graph = self.node.graph
        opset = graph.opset_imports.get("", 1) if isinstance(graph, ir.Graph) else 1
        return self.end is self.node and (self.node.op_type != "Gemm" or opset >= OPTIONAL_BIAS)

    @property
    def filters(self) -> npt.NDArray[np.float64]:
        """The weight by output channel: [channels, all that is summed over]."""
        wide = read(self.weight).astype(np.float64)
        if self.node.op_type == "ConvTranspose":
            groups = self.node.attributes.get_int("group", 1)
            wide = wide.reshape(groups, -1, *wide.shape[1:]).swapaxes(1, 2)
            return wide.reshape(wide.shape[0] * wide.shape[1], -1)
        if self.node.op_type in MATRICES and not _transposed(self.node):
            wide = wide.T
        return wide.reshape(len(wide), -1)

    def scaled(self, scale: npt.NDArray[np.float64]) -> Array:
        """The weight with each output channel multiplied by its entry of ``scale``, in its own element type."""
        weight = read(self.weight)
        wide, taps = weight.astype(np.float64), [1] * (weight.ndim - 2)
        if self.node.op_type == "Conv":
            return (wide * scale.reshape(-1, 1, *taps)).astype(weight.dtype)
        if self.node.op_type == "ConvTranspose":
            groups = self.node.attributes.get_int("group", 1)
            blocks = wide.reshape(groups, -1, *wide.shape[1:]) * scale.reshape(groups, 1, -1, *taps)
            return blocks.reshape(wide.shape).astype(weight.dtype)
        rows = _transposed(self.node)
        return (wide * (scale[:, None] if rows else scale)).astype(weight.dtype)


def layer_of(node: ir.Node, graph: ir.Graph) -> Layer:
    """The layer that a Conv, ConvTranspose, Gemm or MatMul is.

    Raises:
        Unfit: its weight is computed or shared, or its bias is not one number a channel.
    """
    if node.graph is not graph:
        raise Unfit("it is in a graph inside another node")
    weight = _own_constant(node.inputs[1])
    tensor = tensor_of(weight)
    assert tensor is not None
    if tensor.dtype not in TYPES:
        raise Unfit(f"its weight is of type {tensor.dtype.name}")
    if node.op_type not in MATRICES:
        return Layer(node, node, weight, _bias(node, _size(node, tensor)))
    if len(tensor.shape) != 2:
        raise Unfit("its weight is no matrix")
    if node.op_type == "MatMul":
        end = _adds_bias(node)
        return Layer(node, end, weight, _bias(end, _size(node, tensor), 1 - _slot(end, node.outputs[0])))
    if node.attributes.get_float("beta", 1.0) != 1.0:
        raise Unfit("its bias has a factor")
    return Layer(node, node, weight, _bias(node, _size(node, tensor)))


def check_place(layer: Layer) -> None:
    """Would a normalisation behind the layer make sense?

    Raises:
        Unfit: no; the text says why.
    """
    readers = [use.node for use in layer.output.uses()]
    if any(r.op_type in NORMS for r in readers):
        raise Unfit("it is normalised already")
    if layer.node.op_type not in MATRICES:
        return
    if not any(r.op_type in ACTIVATIONS and not r.outputs[0].is_graph_output() for r in readers):
        raise Unfit("no activation inside the model follows it")


def layer_before(value: ir.Value | None, graph: ir.Graph) -> Layer:
    """The layer that writes ``value``.

    Raises:
        Unfit: none does.
    """
    end = value.producer() if value is not None else None
    for node in [end, *(v.producer() for v in end.inputs if v is not None)] if end is not None else []:
        if node is not None and node.op_type in KINDS and (node is end or node.op_type == "MatMul"):
            layer = layer_of(node, graph)
            if layer.end is end:
                return layer
    raise Unfit("no layer is in front of it")


def _own_constant(value: ir.Value | None) -> ir.Value:
    """The constant behind a value that may be copied on the way, if nothing else reads it."""
    while value is not None and (node := value.producer()) is not None and node.op_type == "Identity":
        _check_alone(value)
        value = node.inputs[0]
    if value is None or tensor_of(value) is None:
        raise Unfit("its weight is computed")
    _check_alone(value)
    return value


def _check_alone(value: ir.Value) -> None:
    if not is_own(value):
        raise Unfit("its weight is read elsewhere, too")


def is_own(value: ir.Value) -> bool:
    """Is a constant read in one place, and not for the caller to see or to set?"""
    return len(value.uses()) == 1 and not value.is_graph_output() and not value.is_graph_input()


def _size(node: ir.Node, tensor: ir.TensorProtocol) -> int:
    """Output channels."""
    shape = [int(n) for n in tensor.shape.numpy()]
    if node.op_type == "ConvTranspose":
        return shape[1] * node.attributes.get_int("group", 1)
    return shape[0] if node.op_type == "Conv" or _transposed(node) else shape[1]


def _transposed(node: ir.Node) -> bool:
    return node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))


def _bias(node: ir.Node, size: int, index: int = 2) -> ir.Value | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return None
    tensor = tensor_of(value)
    if tensor is None or value.is_graph_input():
        raise Unfit("its bias is computed, or an input of the model")
    if int(tensor.size) != size or int(tensor.shape.numpy()[-1]) != size:
        raise Unfit("its bias is not one number a channel")
    return value


def _adds_bias(node: ir.Node) -> ir.Node:
    product = node.outputs[0]
    uses = product.uses()
    end = next(iter(uses)).node if len(uses) == 1 and not product.is_graph_output() else None
    if end is None or end.op_type != "Add" or end.domain not in STANDARD or end.graph is not node.graph:
        raise Unfit("nothing adds a bias to it")
    if tensor_of(end.inputs[1 - _slot(end, product)]) is None:
        raise Unfit("what is added to it is no constant")
    return end


def _slot(node: ir.Node, value: ir.Value) -> int:
    return next(k for k, v in enumerate(node.inputs) if v is value)


# ---- constants ------------------------------------------------------------------------------------------------


def tensor_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The numbers of an initializer or of what a Constant node writes."""
    if value is None:
        return None
    node = value.producer()
    if node is None:
        return value.const_value if value.is_initializer() else None
    if node.op_type == "Constant" and node.domain in STANDARD and "value" in node.attributes:
        return node.attributes["value"].as_tensor()
    return None


def read(value: ir.Value) -> Array:
    """The numbers of a constant."""
    tensor = tensor_of(value)
    assert tensor is not None
    return tensor.numpy()


def write(value: ir.Value, array: Array) -> None:
    """Gives a constant other numbers, where it is; same shape and element type."""
    old, node = tensor_of(value), value.producer()
    assert old is not None
    new = ir.Tensor(np.ascontiguousarray(array), dtype=old.dtype, name=old.name, doc_string=old.doc_string)
    if node is None:
        value.const_value = new
    else:
        node.attributes["value"] = ir.AttrTensor("value", new)


def add_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """A new one; the name gets a number where it is taken."""
    tensor = ir.tensor(np.ascontiguousarray(array), name=free_name(graph, name))
    value = ir.Value(
        name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def free_name(graph: ir.Graph, name: str) -> str:
    """The name, with a number where a value of the model has it."""
    taken = {str(v.name) for v in _values(graph)}
    count, found = 0, name
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    return found


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    for part in (graph, *graph.subgraphs()):
        yield from (*part.inputs, *part.initializers.values(), *(v for n in part for v in n.outputs))
