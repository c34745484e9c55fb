"""What belongs together in a graph and a clone of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import onnx_ir as ir

Fact = TypeVar("Fact")


@dataclass(frozen=True)
class Twins:
    """A clone that nobody has edited.

    Attributes:
        nodes: of the clone, by those of the graph.
        values: of the clone, by those of the graph.
    """

    nodes: Mapping[ir.Node, ir.Node]
    values: Mapping[ir.Value, ir.Value]

    @staticmethod
    def of(graph: ir.Graph, clone: ir.Graph) -> Twins:
        """Pairs what stands at the same place."""
        # A clone has the same nodes in the same order.
        nodes = dict(zip(graph.all_nodes(), clone.all_nodes(), strict=True))
        values: dict[ir.Value, ir.Value] = {}
        for own, other in zip((graph, *graph.subgraphs()), (clone, *clone.subgraphs()), strict=True):
            values |= dict(zip(own.inputs, other.inputs, strict=True))
            values |= {value: other.initializers[name] for name, value in own.initializers.items()}
        for one, two in nodes.items():
            values |= dict(zip(one.outputs, two.outputs, strict=True))
        return Twins(nodes, values)

    def of_values(self, facts: Mapping[ir.Value, Fact]) -> dict[ir.Value, Fact]:
        """Facts on values of the graph, for those of the clone."""
        return {self.values.get(value, value): fact for value, fact in facts.items()}

    def of_nodes(self, facts: Mapping[ir.Node, Fact]) -> dict[ir.Node, Fact]:
        """Facts on nodes of the graph, for those of the clone."""
        return {self.nodes.get(node, node): fact for node, fact in facts.items()}
