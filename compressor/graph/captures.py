"""What the subgraphs of a node read from around it."""

from __future__ import annotations

import onnx_ir as ir


def has_graph(node: ir.Node) -> bool:
    """Has ``node`` branches or a body?"""
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())


def captured_values(node: ir.Node) -> list[ir.Value]:
    """Every value that nodes inside the subgraphs of ``node`` read, and that those subgraphs do not own."""
    found: dict[ir.Value, None] = {}
    for attribute in node.attributes.values():
        graphs = (
            [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH
            else list(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS
            else []
        )  # fmt: skip
        for graph in graphs:
            inner = list(graph.all_nodes())
            own = {v for n in inner for v in n.outputs} | set(graph.inputs) | set(graph.initializers.values())
            for value in [v for n in inner for v in n.inputs] + list(graph.outputs):
                if value is not None and value not in own:
                    found[value] = None
    return list(found)
