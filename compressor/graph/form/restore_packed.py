"""Packed weights back to plain ones, so that what is pruned, trained or unified again are the weights themselves."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.form.clean import remove_unused
from compressor.graph.ir.evaluate import evaluate
from compressor.graph.ir.exporter_metadata import OWN_PREFIX
from compressor.graph.sizes.known import initializer_of


def is_packed(model: ir.Model) -> bool:
    """Are weights of the model stored as the codes of ``unify``, or as coefficients in a basis?

    Every packed weight reads a constant that packed weights share, whose name begins with ``OWN_PREFIX``.
    """
    return any(str(name).startswith(OWN_PREFIX) for name in model.graph.initializers)


def restore(model: ir.Model) -> list[str]:
    """Turns every packed weight of ``model`` into an initializer of its name, in place.

    A packed weight is known by the names of the constants that it is computed from.

    Args:
        model: its nodes in topological order.

    Returns:
        The names of the weights.
    """
    names = []
    for value in _packed(model.graph):
        array = _computed(value, model.graph, {})
        if array is None:
            continue
        name = str(value.name)
        # The dense initializer takes over the name, under which training and reports know the weight.
        value.name = f"{name}.packed"
        tensor = ir.tensor(np.ascontiguousarray(array), name=name)
        dense = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        model.graph.register_initializer(dense)
        value.replace_all_uses_with(dense)
        names.append(name)
    if names:
        remove_unused(model)
    return names


def with_plain_weights(model: ir.Model) -> ir.Model:
    """The model itself where nothing is packed in it, else a copy with plain weights."""
    if not is_packed(model):
        return model
    copy = model.clone()
    # Constants are followed in the order of the nodes.
    copy.graph.sort()
    restore(copy)
    return copy


def _packed(graph: ir.Graph) -> list[ir.Value]:
    """Values that are computed from our own and other constants alone, and read where they meet something else."""
    fixed: set[ir.Value] = set()
    own: set[ir.Value] = set()
    for node in graph:
        inputs = [value for value in node.inputs if value is not None]
        if inputs and all(value in fixed or initializer_of(value) is not None for value in inputs):
            fixed.update(node.outputs)
            if any(value in own or str(value.name).startswith(OWN_PREFIX) for value in inputs):
                own.update(node.outputs)
    # Nodes that only go on computing from constants; the weight is what leaves them.
    inner = {value.producer() for value in fixed}
    return [v for n in graph for v in n.outputs if v in own and any(user not in inner for user, _ in v.uses())]


def _computed(value: ir.Value, graph: ir.Graph, known: dict[ir.Value, Array]) -> Array | None:
    """The numbers of a value that depends on constants alone; None where an operator cannot be evaluated."""
    tensor = initializer_of(value)
    if tensor is not None:
        return tensor.numpy()
    node = value.producer()
    if value not in known and node is not None:
        feeds = {}
        for source in node.inputs:
            if source is not None:
                array = _computed(source, graph, known)
                if array is None:
                    return None
                feeds[str(source.name)] = array
        for made, array in zip(node.outputs, evaluate(node, feeds, graph.opset_imports) or [], strict=False):
            known[made] = array
    return known.get(value)
