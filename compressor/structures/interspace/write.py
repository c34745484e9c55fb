"""How a layer by its coefficients stands in the graph: its weight as a product, or the layer as two convolutions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.ir.edit import add_constant, put_before
from compressor.graph.tensors.weights import taken
from compressor.reconstruct.form import Matrix
from compressor.reconstruct.layers import LayerPair
from compressor.structures.lowrank.split import in_a_row


def write_composition(layer: LayerPair, coefficients: Matrix, basis: Matrix) -> tuple[str, str | None]:
    """The weight of ``layer`` becomes ``Reshape(MatMul(coefficients, basis))``, which a runtime folds when it loads.

    Kernels of one tap are their own coefficients, and stay a weight.

    Args:
        layer: of the model that is changed.
        coefficients: float64[out, channels, t].
        basis: float64[t, t].

    Returns:
        Names of the coefficients and of the basis.
    """
    node, weight = layer.node, layer.weight.read()
    name, graph = str(layer.weight.initializer.name), node.graph
    assert graph is not None
    if len(basis) == 1:
        layer.weight.write((coefficients * basis[0, 0]).reshape(weight.shape))
        return name, None
    # Types of 16 bits are too coarse to compute in.
    work = weight.dtype if weight.dtype == np.float64 else np.dtype(np.float32)
    held = add_constant(graph, f"{name}.coefficients", coefficients.astype(work))
    frame = add_constant(graph, f"{name}.basis", basis.astype(work))
    sizes = add_constant(graph, f"{name}.sizes", np.asarray(weight.shape, np.int64))
    value = _put_node(layer, ir.node("MatMul", [held, frame]), work, coefficients.shape)
    value = _put_node(layer, ir.node("Reshape", [value, sizes]), work, weight.shape)
    if work != weight.dtype:
        to = int(ir.DataType.from_numpy(weight.dtype))
        value = _put_node(layer, ir.node("Cast", [value], attributes={"to": to}), weight.dtype, weight.shape)
    # Under the name of the weight, by which restoring packed weights gives it back.
    node.replace_input_with(layer.held, value)
    if not layer.weight.initializer.uses():
        del graph.initializers[name]
        layer.weight.initializer.name, value.name = None, name
    return str(held.name), str(frame.name)


def write_columns(
    layer: LayerPair, coefficients: Matrix, kernels: npt.NDArray[np.int64], basis: Matrix
) -> tuple[str, str]:
    """The layer becomes a depthwise convolution with the basis kernels of each channel, and a pointwise one.

    The first reads as the layer does, strides, padding and all; the second has its bias.

    Args:
        layer: of the model that is changed.
        coefficients: float64[out, channels, t], zero outside of ``kernels``.
        kernels: int64[channels, kept].
        basis: float64[t, t].

    Returns:
        Names of the two new weights.
    """
    node, weight = layer.node, layer.weight.read()
    name, graph = str(layer.weight.initializer.name), node.graph
    assert graph is not None
    channels, kept = kernels.shape
    deep = basis[kernels].reshape(channels * kept, 1, *weight.shape[2:])
    places = np.arange(channels)[:, None] * len(basis) + kernels
    flat = taken(coefficients.reshape(len(weight), -1), {1: places.ravel()})
    flat = flat.reshape(*flat.shape, *(1,) * (weight.ndim - 2))
    arrays = (("depthwise", deep), ("pointwise", flat))
    first, second = (add_constant(graph, f"{name}.{key}", array.astype(weight.dtype)) for key, array in arrays)
    attributes = [a for key, a in node.attributes.items() if key != "group"]
    middle = ir.Node(
        node.domain, node.op_type, [node.inputs[0], first], attributes=[*attributes, ir.AttrInt64("group", channels)]
    )
    final = ir.node("Conv", [middle.outputs[0], second, *node.inputs[2:]])
    in_a_row(node, middle, final)
    return str(first.name), str(second.name)


def _put_node(layer: LayerPair, node: ir.Node, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> ir.Value:
    """Puts a node in front of the layer, and says what it gives."""
    made = put_before(layer.node, node, layer.name)
    made.type, made.shape = ir.TensorType(ir.DataType.from_numpy(dtype)), ir.Shape(shape)
    return made
