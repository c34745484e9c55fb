"""An If whose condition is static gives way to the branch that runs: exporters test at run time what shapes decide."""

from __future__ import annotations

import onnx_ir as ir

from compressor.graph.ir.captures import let_go
from compressor.graph.ir.nodes import is_standard
from compressor.graph.sizes.shapes import Shapes


def take_branches(model: ir.Model, shapes: Shapes) -> bool:
    """Puts the nodes of the branch that runs in the place of every If of the main graph of which that is known.

    Returns:
        Was there one? Behind it, sizes and further conditions may be known that were not.
    """
    graph, pending, taken = model.graph, list(model.graph), False
    while pending:
        node = pending.pop()
        if node.op_type != "If" or not is_standard(node):
            continue
        condition = shapes.const(node.inputs[0])
        if condition is None or condition.size != 1:
            continue
        branch = node.attributes["then_branch" if condition.item() else "else_branch"].as_graph()
        moved, results = list(branch), list(branch.outputs)
        branch.outputs.clear()
        branch.remove(moved)
        _name_apart(graph, node, moved)
        graph.insert_before(node, moved)
        for output, result in zip(node.outputs, results, strict=True):
            _hand_over(graph, node, output, result)
        graph.remove(node, safe=True)
        let_go(node)
        pending += moved  # a branch may hold another one
        taken = True
    return taken


def _hand_over(graph: ir.Graph, node: ir.Node, output: ir.Value, result: ir.Value) -> None:
    if not output.is_graph_output():
        output.replace_all_uses_with(result)
        return
    # A result of the model keeps its name, and may be handed out twice or be an input.
    copy = ir.node("Identity", [result], name=f"{node.name}.{output.name}")
    made, name = copy.outputs[0], output.name
    made.shape, made.type = output.shape, output.type
    output.replace_all_uses_with(made, replace_graph_outputs=True)
    output.name, made.name = f"{name}.of.{node.name}", name
    graph.insert_before(node, copy)


def _name_apart(graph: ir.Graph, node: ir.Node, moved: list[ir.Node]) -> None:
    """Branches of different nodes may use the same names, which one graph may not."""
    taken = {value.name for other in graph for value in other.outputs}
    taken |= {value.name for value in (*graph.inputs, *graph.initializers.values())}
    for value in (value for inner in moved for value in inner.outputs):
        if value.name in taken:
            value.name = f"{node.name}.{value.name}"
        taken.add(value.name)
