"""Is what was written what was to be written? Asked of every node and every bit of every weight, without a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from compressor.errors import PLEASE, ProofFailed
from compressor.graph.weights import is_large, same_tensors

Told = tuple[object, ...]


def demand_same_file(model: ir.Model, loaded: ir.Model) -> None:
    """Holds a file that was read again against the model that was written to it.

    Raises:
        ProofFailed: a node, an attribute, a body or a weight is another.
    """
    graphs = [(model.graph, loaded.graph)]
    graphs += [(function.graph, loaded.functions[name].graph) for name, function in model.functions.items()]
    for one, two in graphs:
        _demand_same_nodes(one, two)
    # Those are read in parts, once, while the file is run.
    if is_large(model.graph):
        return
    for name, value in model.graph.initializers.items():
        twin = loaded.graph.initializers.get(name)
        whole, kept = value.const_value, None if twin is None else twin.const_value
        if whole is not None and (kept is None or not same_tensors(whole, kept)):
            raise ProofFailed(f"weight {name!r} of the written file is another than in memory; {PLEASE}")


def _demand_same_nodes(model: ir.Graph, loaded: ir.Graph) -> None:
    wanted, found = list(_nodes(model)), list(_nodes(loaded))
    for one, two in zip(wanted, found, strict=False):
        if one != two:
            raise ProofFailed(f"node {two[2] or one[2]!r} of the written file is another than in memory; {PLEASE}")
    if len(wanted) != len(found):
        raise ProofFailed(f"the written file has {len(found)} nodes, the model in memory {len(wanted)}; {PLEASE}")


def _nodes(graph: ir.Graph) -> Iterator[Told]:
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


def _attribute(attribute: ir.Attr) -> Told:
    return attribute.name, attribute.type, _told(attribute)


def _told(attribute: ir.Attr) -> object:
    """The value, in a form that can be compared."""
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
