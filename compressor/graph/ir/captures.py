"""What stands behind values: what nodes read, their subgraphs from around them, and who made that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import onnx_ir as ir

Through = Callable[[ir.Node, ir.Value], Iterable[ir.Value | None] | None]
"""What stands before a value that a node makes; None where it counts as a source."""


def walk_back(values: Iterable[ir.Value], through: Through) -> Iterator[ir.Value]:
    """These values and those that stand before them, each once."""
    return (value for value, _ in _walk(values, through))


def sources(values: Iterable[ir.Value], through: Through) -> Iterator[ir.Value]:
    """What these values come from, each once: values of no node, and those that ``through`` returns None for."""
    return (value for value, before in _walk(values, through) if before is None)


def _walk(values: Iterable[ir.Value], through: Through) -> Iterator[tuple[ir.Value, Iterable[ir.Value | None] | None]]:
    waiting, seen = list(values), set[ir.Value]()
    while waiting:
        last = waiting.pop()
        if last not in seen:
            seen.add(last)
            node = last.producer()
            before = None if node is None else through(node, last)
            yield last, before
            waiting += [value for value in before or () if value is not None]


def nodes_by_name(graph: ir.Graph) -> dict[str, ir.Node]:
    """Nodes of ``graph`` and of bodies in it whose names no other has."""
    count = Counter(node.name for node in graph.all_nodes())
    return {str(node.name): node for node in graph.all_nodes() if node.name and count[node.name] == 1}


def has_graph(node: ir.Node) -> bool:
    """Has ``node`` branches or a body?"""
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())


def graphs_of(node: ir.Node) -> list[ir.Graph]:
    """Branches and bodies of ``node``, in the order of its attributes."""
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            found += attribute.as_graphs()
    return found


def nodes_inside(node: ir.Node) -> Iterator[ir.Node]:
    """Every node in the bodies of ``node``, at any depth."""
    for body in graphs_of(node):
        yield from body.all_nodes()


def values_of(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every value that ``graph`` or a body in it owns: inputs, initializers, results of nodes."""
    for each in (graph, *graph.subgraphs()):
        yield from each.inputs
        yield from each.initializers.values()
        yield from (value for node in each for value in node.outputs)


def captured_values(node: ir.Node) -> list[ir.Value]:
    """Every value that nodes inside the subgraphs of ``node`` read, and that those subgraphs do not own."""
    found: dict[ir.Value, None] = {}
    for graph in graphs_of(node):
        own = set(values_of(graph))
        read = [v for n in graph.all_nodes() for v in n.inputs]
        # What a body returns may be a captured value itself.
        for value in [*read, *graph.outputs, *(v for inner in graph.subgraphs() for v in inner.outputs)]:
            if value is not None and value not in own:
                found[value] = None
    return list(found)


def let_go(node: ir.Node) -> bool:
    """A node that left its graph reads nothing any more inside its subgraphs either; says whether it did.

    Removal of onnx-ir takes away only what the node reads itself, so what its subgraphs read would seem to be alive.
    """
    inner = list(nodes_inside(node))
    for reader in inner:
        for place in range(len(reader.inputs)):
            reader.replace_input_with(place, None)
    return bool(inner)
