"""What belongs together in a graph and a clone of it."""

from __future__ import annotations

import onnx_ir as ir


def twins(graph: ir.Graph, clone: ir.Graph) -> tuple[dict[ir.Node, ir.Node], dict[ir.Value, ir.Value]]:
    """The nodes and the values of a clone that nobody has edited, by those of the graph; subgraphs left out."""
    nodes = dict(zip(graph, clone, strict=True))
    values = dict(zip(graph.inputs, clone.inputs, strict=True))
    values |= {value: clone.initializers[name] for name, value in graph.initializers.items()}
    for one, two in nodes.items():
        values |= dict(zip(one.outputs, two.outputs, strict=True))
    return nodes, values
