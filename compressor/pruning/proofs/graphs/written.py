"""Are two models the same? Asked of every node and every bit of every weight, without a run.

So a file is held against the model as it was when it was proved, and a model that nothing should have touched since
against what it was before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.errors import tool_fault
from compressor.graph.tensors.weights import is_large, same_tensors

ComparableValue = tuple[object, ...]


@dataclass(frozen=True)
class _Reference:
    """What a node in a function has in place of a value: the name of an attribute of the call."""

    name: str | None


def demand_same(proved: ir.Model, other: ir.Model, what: str = "the written file") -> None:
    """Holds another model, as a rule a file that was read again, against the one that was proved.

    Args:
        proved: what was proved, or what a model was before nothing should have touched it.
        other: what is to be the same, such as the file that was written.
        what: what messages call it.

    Raises:
        ProofFailed: a node, an attribute, a body, a weight or a version of operators is another.
    """
    if proved.functions.keys() != other.functions.keys():
        raise tool_fault(f"{what} has other functions than were proved")
    if _read_by(proved) != _read_by(other):
        raise tool_fault(f"{what} is of other versions of the format or of operator sets than was proved")
    graphs = [(proved.graph, other.graph)]
    graphs += [(function.graph, other.functions[name].graph) for name, function in proved.functions.items()]
    # Those are read in parts, once, while the file is run.
    large = is_large(proved.graph)
    for one, two in graphs:
        _demand_same_nodes(one, two, what)
        # Equal nodes have equally many bodies, in the same order.
        for body, twin in zip((one, *one.subgraphs()), (two, *two.subgraphs()), strict=True):
            _demand_same_weights(body, twin, what, large=large)


def _demand_same_weights(proved: ir.Graph, other: ir.Graph, what: str, *, large: bool) -> None:
    """Raises ProofFailed where a weight that a graph itself owns is another; of ``large`` ones only those missing."""
    for name, value in proved.initializers.items():
        twin = other.initializers.get(name)
        whole, kept = value.const_value, None if twin is None else twin.const_value
        if whole is None or whole is kept or (large and kept is not None):
            continue
        if kept is None or not same_tensors(whole, kept):
            raise tool_fault(f"weight {name!r} of {what} is another than was proved")


def _read_by(model: ir.Model) -> ComparableValue:
    """The versions by which a runtime reads a model and its functions."""
    functions = [(key, sorted(function.opset_imports.items())) for key, function in model.functions.items()]
    return model.ir_version, sorted(model.opset_imports.items()), sorted(functions)


def _demand_same_nodes(proved: ir.Graph, other: ir.Graph, what: str) -> None:
    wanted, written = list(_nodes(proved)), list(_nodes(other))
    for one, two in zip(wanted, written, strict=False):
        if one != two:
            raise tool_fault(f"node {two[2] or one[2]!r} of {what} is another than was proved")
    if len(wanted) != len(written):
        raise tool_fault(f"{what} has {len(written)} nodes where {len(wanted)} were proved")


def _nodes(graph: ir.Graph) -> Iterator[ComparableValue]:
    """What each node is and reads, bodies included, in the order of the file."""
    for node in graph.all_nodes():
        attributes = [_attribute(node.attributes[name]) for name in sorted(node.attributes)]
        yield node.domain, node.op_type, node.name or "", _names(node.inputs), _names(node.outputs), tuple(attributes)


def _names(values: Sequence[ir.Value | None]) -> tuple[str, ...]:
    """Names in their places, an empty one for what is left out; at the end of a node that may be missing altogether."""
    names = ["" if value is None else value.name or "" for value in values]
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def _attribute(attribute: ir.Attr) -> ComparableValue:
    return attribute.name, attribute.type, told(attribute)


def told(attribute: ir.Attr) -> object:
    """The value, in a form that can be compared; where it is that of an attribute of the call, which one that is."""
    if attribute.is_ref():
        return _Reference(attribute.ref_attr_name)
    value = attribute.value
    match attribute.type:
        case ir.AttributeType.INT | ir.AttributeType.STRING:
            return value
        case ir.AttributeType.INTS | ir.AttributeType.STRINGS:
            return tuple(value)
        # As it is written: a float has 32 bits there, and 64 in memory.
        case ir.AttributeType.FLOAT | ir.AttributeType.FLOATS:
            return np.asarray(value, np.float32).tobytes()
        case ir.AttributeType.GRAPH:
            return tuple(v.name for v in value.inputs), tuple(v.name for v in value.outputs)
        case ir.AttributeType.TENSOR:
            data = value.numpy().tolist() if value.dtype == ir.DataType.STRING else value.tobytes()
            return value.dtype, tuple(value.shape), data
        case _:
            return ir.to_proto(attribute).SerializeToString(deterministic=True)
