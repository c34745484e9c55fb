"""Biases of layers: read as [groups, out], written into the operator's own input, an Add that follows, or a new one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.core.arrays import Array
from compressor.graph.ir.edit import add_constant, constant_array, free_name
from compressor.graph.ir.nodes import input_of, optional_input
from compressor.graph.tensors.weights import all_finite
from compressor.operators.table import adds, operator_of
from compressor.reconstruct.form import Matrix, OperandForm, as_float64
from compressor.reconstruct.layers import Kept, LayerPair, affected, repairable_layers, untie_weights
from compressor.reconstruct.weights import constant_behind


def read_bias(layer: LayerPair, form: OperandForm, matrix: Matrix, rank: int) -> Matrix:
    """What the node adds to its product, [groups, out]; zero where its operator adds nothing.

    Raises:
        Unrepairable: the bias varies from row to row.
    """
    value = _input(layer)
    if value is None:
        return np.zeros(matrix.shape[:2])
    return form.gather(_numbers(value), rank) * _factor(layer)


def write_bias(layer: LayerPair, form: OperandForm, change: Matrix, rank: int) -> None:
    """Adds ``change`` [groups, out] to what the node's output has, of ``rank`` axes."""
    if not change.any():
        return
    # ONNX wants a bias in the type of its weight.
    dtype = layer.weight.read().dtype
    spread = form.spread(change, rank)
    # The operator's own input first: it adds no node, and runtimes fuse it.
    if layer.kind.bias is not None:
        old = _input(layer)
        # The bias that is held is multiplied by a factor (Gemm's beta), and the change is of the result.
        total = change if old is None else change + form.gather(_numbers(old), rank) * _factor(layer)
        array = form.spread(total / _factor(layer), rank)
        # Conv and BatchNormalization take a vector; Gemm also takes what broadcasts, such as a column.
        array = array.ravel() if layer.kind.factor == "" or array.shape[0] == 1 else array
        put_constant(layer.node, layer.kind.bias, array.astype(dtype))
    elif (place := _following(layer, spread)) is not None:
        add, index = place
        put_constant(add, index, (as_float64(constant_array(input_of(add, index))) + spread).astype(dtype))
    else:
        _append(layer, spread.astype(dtype))


def add_biases(model: ir.Model, dense: ir.Model, cut: ChannelMask) -> None:
    """Gives each layer that a recovery may repair a bias of zeros, where it has none, in place.

    So a model has the size that it has at most once it is recovered.

    Args:
        model: what a cut left.
        dense: what was cut.
        cut: what went.
    """
    _, wrong = affected(model.graph, Kept(cut))
    untie_weights(model, dense, wrong)
    for layer in repairable_layers(model, dense, wrong)[0]:
        zeros, dtype = np.zeros(_width(layer)), layer.weight.read().dtype
        if layer.kind.bias is None and _following(layer, zeros) is None:
            _append(layer, zeros.astype(dtype))
        elif layer.kind.bias is not None and _input(layer) is None:
            put_constant(layer.node, layer.kind.bias, zeros.astype(dtype))


def _width(layer: LayerPair) -> int:
    """How many channels a layer gives: of its output, else the widest axis of its weight."""
    shape = layer.node.outputs[0].shape
    # Of convolutions the channels come second, of products last.
    axis = 1 if operator_of(layer.node).window is not None else -1
    size = shape[axis] if shape is not None and len(shape) > 1 else None
    return size if isinstance(size, int) else max(layer.weight.read().shape)


def _factor(layer: LayerPair) -> float:
    return layer.node.attributes.get_float(layer.kind.factor, 1.0) if layer.kind.factor else 1.0


def _numbers(value: ir.Value) -> Array:
    """Those of a bias, which :func:`repairable_layers` found to be constant."""
    found = constant_behind(value)
    assert found is not None
    return found.read()


def _input(layer: LayerPair) -> ir.Value | None:
    index = layer.kind.bias
    return optional_input(layer.node, index)


def _following(layer: LayerPair, spread: Matrix) -> tuple[ir.Node, int] | None:
    """The one reader of the output, where it adds a constant of at least this shape."""
    out = layer.node.outputs[0]
    uses = out.uses()
    # Another reader of the product would not get the new bias.
    if len(uses) != 1 or out.is_graph_output():
        return None
    add, index = next(iter(uses))
    other = add.inputs[1 - index] if len(add.inputs) == 2 else None
    if other is None or add.graph is not layer.node.graph or not adds(add):
        return None
    # What the caller may replace, or what is computed, cannot hold it; and what holds infinities is a mask.
    if not other.is_initializer() or other.is_graph_input() or other.const_value is None:
        return None
    if not all_finite(other.const_value):
        return None
    shape = tuple(other.const_value.shape.numpy())
    lead = max(spread.ndim - len(shape), 0)
    # Growing the constant could make the sum larger than it was.
    ours, theirs = reversed(spread.shape[lead:]), reversed(shape)
    if any(size != 1 for size in spread.shape[:lead]) or not all(
        one in (1, two) for one, two in zip(ours, theirs, strict=False)
    ):
        return None
    return add, 1 - index


def put_constant(node: ir.Node, index: int, array: Array) -> None:
    """A constant as input ``index``: on the grid that is there; else under the name, if nobody else reads it."""
    old = optional_input(node, index)
    found = None if old is None else constant_behind(old)
    if found is not None and found.reals is not None:
        found.write(as_float64(array.reshape(found.read().shape)))
        return
    # A constant that others read as well must stay as it is for them.
    if old is not None and len(old.uses()) == 1 and not old.is_graph_output():
        old.const_value = ir.tensor(array.reshape(_like(old, array)), name=old.name)
        old.shape = ir.Shape(old.const_value.shape.numpy())
        return
    assert node.graph is not None
    value = add_constant(node.graph, f"{node.name}.bias", array if old is None else array.reshape(_like(old, array)))
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def _like(old: ir.Value, array: Array) -> tuple[int, ...]:
    """The shape that was there, if the numbers fit; a scalar grows."""
    assert old.const_value is not None
    shape = tuple(int(d) for d in old.const_value.shape.numpy())
    return shape if int(np.prod(shape)) == array.size else array.shape


def _append(layer: LayerPair, array: Array) -> None:
    """A new Add behind the node; it takes over the name of the output, so that everything after finds it there."""
    node, graph = layer.node, layer.node.graph
    assert graph is not None
    out = node.outputs[0]
    # Without leading axes of size 1 the constant broadcasts alike, and looks like what exporters write.
    lead = next((k for k, size in enumerate(array.shape) if size > 1), array.ndim - 1)
    constant = add_constant(graph, f"{node.name}.bias", array.reshape(array.shape[lead:] if array.ndim else ()))
    add = ir.Node("", "Add", [out, constant], name=free_name(graph, f"{node.name}.add_bias"))
    made = add.outputs[0]
    made.type, made.shape = out.type, out.shape
    name = out.name
    for user, index in list(out.uses()):
        # The Add itself has to go on reading the product.
        if user is not add:
            user.replace_input_with(index, made)
    for k, value in enumerate(graph.outputs):
        if value is out:
            graph.outputs[k] = made
    # First the old value gives its name up, since two values must never have one name.
    out.name = free_name(graph, f"{name}.product")
    made.name = name
    graph.insert_after(node, add)
