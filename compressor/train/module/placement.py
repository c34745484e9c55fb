"""Where values live. Shape arithmetic stays on the host, so that reading it never waits for the device."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from compressor.graph.ir.nodes import is_standard
from compressor.operators.facts import Host
from compressor.operators.table import operator_of


def read_on_host(graph: ir.Graph) -> set[ir.Value]:
    """Values of the graph, and of graphs in it, that are needed as numbers, directly or to compute such."""
    wanted: set[ir.Value] = set()
    _collect(graph, wanted)
    return wanted


def _collect(graph: ir.Graph, wanted: set[ir.Value]) -> None:
    # Backwards, as a value is wanted because of those that read it, which come later.
    for node in reversed(list(graph)):
        for body in attribute_graphs(node):
            # Bodies first: what they capture is made by nodes before the one that holds them.
            _collect(body, wanted)
        if not is_standard(node):
            continue
        operator = operator_of(node)
        passes = operator.on_host > Host.NEVER and any(v in wanted for v in node.outputs)
        wanted.update(v for k, v in enumerate(node.inputs) if v is not None and (passes or k in operator.host))


def attribute_graphs(node: ir.Node) -> Iterable[ir.Graph]:
    """Graphs among the attributes of a node."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()
