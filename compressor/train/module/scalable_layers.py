"""Layers whose output channels can be scaled by their weight and shifted by their bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from compressor.channels.coupling import Unexplained
from compressor.core.arrays import Array
from compressor.graph.ir.edit import constant_array
from compressor.graph.ir.evaluate import evaluate
from compressor.graph.ir.movement import Movement
from compressor.graph.ir.nodes import input_of, optional_input, tensor_of
from compressor.graph.ir.opsets import version_of
from compressor.operators.facts import Normalises
from compressor.operators.table import adds, operator_of
from compressor.operators.weight import WeightAxes, weight_axes

SCALABLE_TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})


class Unfit(Exception):  # noqa: N818 - control flow: the layer is left alone, the reason is for the user
    """A node is no such layer; the text says why."""


@dataclass(frozen=True)
class ScalableLayer:
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
        """Can the node do without? Operator sets differ: Gemm can from 11 on."""
        graph, bias = self.node.graph, operator_of(self.node).bias
        if self.end is not self.node or bias is None:
            return False
        parameter = onnx.defs.get_schema(self.node.op_type, version_of(graph)).inputs[bias]
        return parameter.option == onnx.defs.OpSchema.FormalParameterOption.Optional

    @property
    def axes(self) -> WeightAxes:
        """Which axes of the weight are outputs, inputs and taps, as the node reads it."""
        return _axes(self.node, self.weight)

    @property
    def filters(self) -> npt.NDArray[np.float64]:
        """The weight by output channel: [channels, all that is summed over]."""
        return self.axes.filters(constant_array(self.weight))

    def scaled(self, scale: npt.NDArray[np.float64]) -> Array:
        """The weight with each output channel multiplied by its entry of ``scale``, in its own element type."""
        weight = constant_array(self.weight)
        return self.axes.scaled(weight, scale).astype(weight.dtype)


def is_matrix(node: ir.Node) -> bool:
    """Is its kernel a matrix, without spatial axes?"""
    return operator_of(node).window is None


def layer_of(node: ir.Node, graph: ir.Graph) -> ScalableLayer:
    """The layer that a convolution or matrix product is.

    Raises:
        Unfit: its weight is computed or shared, or its bias is not one number a channel.
    """
    if node.graph is not graph:
        raise Unfit("it is in a graph inside another node")
    weight = _own_constant(node.inputs[1], node)
    tensor = tensor_of(weight)
    assert tensor is not None
    if tensor.dtype not in SCALABLE_TYPES:
        raise Unfit(f"its weight is of type {tensor.dtype.name}")
    if is_matrix(node) and len(tensor.shape) != 2:
        raise Unfit("its weight is no matrix")
    operator, channels = operator_of(node), _axes(node, weight).channels
    if operator.bias is None:
        end = _adds_bias(node)
        # The bias is the other operand of the Add.
        return ScalableLayer(node, end, weight, _bias(end, channels, 1 - _slot(end, node.outputs[0])))
    # Folding would have to divide by the factor.
    if operator.bias_factor and node.attributes.get_float(operator.bias_factor, 1.0) != 1.0:
        raise Unfit("its bias has a factor")
    return ScalableLayer(node, node, weight, _bias(node, channels, operator.bias))


def check_place(layer: ScalableLayer) -> None:
    """Would a normalisation behind the layer make sense?

    Raises:
        Unfit: no; the text says why.
    """
    readers = [use.node for use in layer.output.uses()]
    # A second normalisation would undo the first.
    if any(operator_of(r).normalises is Normalises.EACH_CHANNEL for r in readers):
        raise Unfit("it is normalised already")
    if not is_matrix(layer.node):
        return
    # Without an activation behind it the scale is a result (class scores), and must not be trained away.
    if not any(operator_of(r).activation and not r.outputs[0].is_graph_output() for r in readers):
        raise Unfit("no activation inside the model follows it")


def layer_before(value: ir.Value | None, graph: ir.Graph) -> ScalableLayer:
    """The layer that writes ``value``.

    Raises:
        Unfit: none does.
    """
    end = value.producer() if value is not None else None
    # The layer is the producer itself, or the product in front of an Add that is its bias.
    for node in [end, *(v.producer() for v in end.inputs if v is not None)] if end is not None else []:
        if node is None or not operator_of(node).has_kernel:
            continue
        if node is end or operator_of(node).bias is None:
            layer = layer_of(node, graph)
            if layer.end is end:
                return layer
    raise Unfit("no layer is in front of it")


def _own_constant(value: ir.Value | None, reader: ir.Node) -> ir.Value:
    """The constant that a weight is, or is computed from with others so that its outputs scale those of the weight.

    Nothing but ``reader`` may read it, or what it becomes on the way.
    """
    way: list[ir.Node] = []
    while value is not None and tensor_of(value) is None and (node := value.producer()) is not None:
        _check_alone(value)
        way.append(node)
        # The first operand is followed, the others have to be constants.
        value = node.inputs[0] if node.inputs and all(v and tensor_of(v) is not None for v in node.inputs[1:]) else None
    if value is None or tensor_of(value) is None:
        raise Unfit("its weight is computed")
    _check_alone(value)
    if any(operator_of(node).movement is not Movement.COPY for node in way) and not _scales(value, way[::-1], reader):
        raise Unfit("its weight is computed")
    return value


def _scales(value: ir.Value, way: Sequence[ir.Node], reader: ir.Node) -> bool:
    """Does a factor for each output of the constant come to the same factor for each output of the weight?

    Tried with numbers, so that no rule is needed for what lies on the way.
    """
    opsets = reader.graph.opset_imports if isinstance(reader.graph, ir.Graph) else {}

    def weight(array: Array) -> Array | None:
        for node in way:
            others = {str(v.name): constant_array(v) for v in node.inputs[1:] if v is not None}
            made = evaluate(node, {str(input_of(node, 0).name): array, **others}, opsets)
            if not made or made[0] is None:
                return None
            array = made[0]
        return array

    plain = constant_array(value)
    whole = weight(plain)
    if whole is None or plain.ndim < 2 or whole.ndim < 2:
        return False
    axes = [weight_axes(operator_of(reader), reader, 1, array.shape) for array in (plain, whole)]
    # Powers of two, so that nothing is rounded.
    scale = np.ldexp(1.0, np.arange(axes[0].channels) % 5)
    moved = weight(axes[0].scaled(plain, scale).astype(plain.dtype))
    if moved is None or axes[0].channels != axes[1].channels:
        return False
    return np.allclose(moved, axes[1].scaled(whole, scale), rtol=1e-6)


def _check_alone(value: ir.Value) -> None:
    if not is_own(value):
        raise Unfit("its weight is read elsewhere, too")


def is_own(value: ir.Value) -> bool:
    """Is a constant read in one place, and not for the caller to see or to set?"""
    return len(value.uses()) == 1 and not value.is_graph_output() and not value.is_graph_input()


def _axes(node: ir.Node, weight: ir.Value) -> WeightAxes:
    tensor = tensor_of(weight)
    assert tensor is not None
    try:
        return weight_axes(operator_of(node), node, 1, tuple(int(n) for n in tensor.shape.numpy()))
    except Unexplained as reason:
        raise Unfit(f"{node.op_type} {reason}") from None


def _bias(node: ir.Node, size: int, index: int) -> ir.Value | None:
    value = optional_input(node, index)
    if value is None:
        return None
    tensor = tensor_of(value)
    if tensor is None or value.is_graph_input():
        raise Unfit("its bias is computed, or an input of the model")
    # Size alone is not enough: a bias of shape [c, 1] would broadcast along another axis.
    if int(tensor.size) != size or int(tensor.shape.numpy()[-1]) != size:
        raise Unfit("its bias is not one number a channel")
    return value


def _adds_bias(node: ir.Node) -> ir.Node:
    product = node.outputs[0]
    uses = product.uses()
    # With a second reader the product is seen without its bias somewhere.
    end = next(iter(uses)).node if len(uses) == 1 and not product.is_graph_output() else None
    if end is None or end.graph is not node.graph or not adds(end):
        raise Unfit("nothing adds a bias to it")
    if tensor_of(end.inputs[1 - _slot(end, product)]) is None:
        raise Unfit("what is added to it is no constant")
    return end


def _slot(node: ir.Node, value: ir.Value) -> int:
    return next(k for k, v in enumerate(node.inputs) if v is value)


# ---- constants ------------------------------------------------------------------------------------------------


def write_constant(value: ir.Value, array: Array) -> None:
    """Gives a constant other numbers, where it is; same shape and element type."""
    old, node = tensor_of(value), value.producer()
    assert old is not None
    new = ir.Tensor(np.ascontiguousarray(array), dtype=old.dtype, name=old.name, doc_string=old.doc_string)
    if node is None:
        value.const_value = new
    else:
        node.attributes["value"] = ir.AttrTensor("value", new)
