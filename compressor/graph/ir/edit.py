"""Names that nobody has, and constants: the small change of editing a graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.errors import ModelError
from compressor.graph.ir.nodes import tensor_of


def copy_of(model: ir.Model) -> ir.Model:
    """A copy that shares the weights.

    Raises:
        ModelError: a node reads a value that is made only later, which the copy of onnx-ir cannot follow.
    """
    try:
        return model.clone()
    except RuntimeError:
        raise ModelError("the nodes of the model are not in topological order; call model.graph.sort() first") from None


def names_in(graph: ir.Graph) -> set[str]:
    """Every name of a value or node of a graph, graphs inside its nodes included.

    A body may read a value of the graph around it by name, so that a name that is new in one must be new in all.
    """
    found = set()
    for part in (graph, *graph.subgraphs()):
        values = (*part.inputs, *part.initializers.values(), *(v for node in part for v in node.outputs))
        found |= {str(value.name) for value in values} | {str(node.name) for node in part}
    return found


class FreeNames:
    """Hands out names that nobody in a graph has, and remembers them.

    Made once for many edits: collecting the names takes a walk over the graph.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._taken = names_in(graph)

    def __call__(self, name: str, stem: str = "") -> str:
        """``name``, behind ``stem`` and a dot, if there is one, and before a dot and a number where it is taken."""
        if stem and name in self._taken:
            name = f"{stem}.{name}"
        found, count = name, 0
        while found in self._taken:
            count += 1
            found = f"{name}.{count}"
        self._taken.add(found)
        return found

    def __contains__(self, name: str) -> bool:
        """Has something in the graph this name already?"""
        return name in self._taken

    def add(self, name: str) -> None:
        """Remembers a name that was given otherwise."""
        self._taken.add(name)


def free_name(graph: ir.Graph, name: str) -> str:
    """``name``, with a number where a value or node of the graph has it; for a single edit."""
    return FreeNames(graph)(name)


def put_before(place: ir.Node, node: ir.Node, stem: str, free: FreeNames | None = None) -> ir.Value:
    """Puts ``node`` in front of ``place``, both it and its first output named after ``stem`` and its operator.

    Args:
        place: in a graph.
        node: not yet in one.
        stem: how its name begins.
        free: the names of the graph, where many nodes are put in.

    Returns:
        The first output of ``node``, still without type and shape.
    """
    graph, made = place.graph, node.outputs[0]
    assert graph is not None
    free = free or FreeNames(graph)
    node.name = free(f"{stem}.{node.op_type.lower()}")
    made.name = free(f"{node.name}.out")
    graph.insert_before(place, node)
    return made


def take_over(node: ir.Node, made: ir.Value) -> None:
    """``made`` stands where the only output of ``node`` stood, with its type, shape and name; ``node`` goes.

    The node that makes it gets the name of ``node``.
    """
    graph, old, producer = node.graph, node.outputs[0], made.producer()
    assert graph is not None
    assert producer is not None
    made.type, made.shape = old.type, old.shape
    # The output changes hands before the old node goes, as its readers must never be without one.
    old.replace_all_uses_with(made, replace_graph_outputs=True)
    name, called = old.name, node.name
    graph.remove(node, safe=True)
    old.name, made.name, producer.name = None, name, called


def add_constant(graph: ir.Graph, name: str, array: Array, free: FreeNames | None = None) -> ir.Value:
    """Registers a new initializer.

    Args:
        graph: gets it.
        name: what it is called where nobody has that name.
        array: its numbers; kept, not copied, where they lie in row-major order.
        free: the names of the graph, where many are added.
    """
    own = (free or FreeNames(graph))(name)
    tensor = ir.tensor(np.asarray(array, order="C"), name=own)  # ascontiguousarray would give a scalar an axis
    value = ir.Value(name=own, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def add_gather(graph: ir.Graph, value: ir.Value, axis: int, positions: Array, before: ir.Node | None) -> ir.Value:
    """The entries of ``value`` at these positions along ``axis``, picked before a node, or at the end; of no shape."""
    index = add_constant(graph, f"{value.name}.positions{axis}", np.asarray(positions, np.int64))
    node = ir.node("Gather", [value, index], attributes={"axis": axis}, name=f"{value.name}.picked{axis}")
    node.outputs[0].name, node.outputs[0].type = f"{node.name}.out", value.type
    if before is None:
        graph.append(node)
    else:
        # An input is read by the first nodes, so what fills it has to stand before all of them.
        before.prepend(node)
    return node.outputs[0]


def constant_array(value: ir.Value) -> Array:
    """The numbers of an initializer, or of what a Constant node writes; nothing else may be asked for."""
    tensor = tensor_of(value)
    assert tensor is not None
    return tensor.numpy()
