"""Residual blocks: branches that are added to what they start from, so that an identity is left where one goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from compressor.graph.ir.exporter_metadata import readable
from compressor.graph.ir.twins import Twins

DEPTH = "depth"
"""Name of the group of all residual blocks, in plans, reports and globs."""


@dataclass(frozen=True, eq=False)
class ResidualBlock:
    """A sum of a value, the skip, and a branch that is computed from it, both of the shape of the sum.

    Attributes:
        sum: the node that adds them.
        branch: number of its input that is the branch.
        nodes: those that nothing else reads, which go with the branch.
        weights: initializers that only they read.
        unit: stands for the block among the units of a coupling; it has no place in any tensor.
        influence: what the branch adds, as a share of the energy of the sum; the blocks with the least go first.
    """

    sum: ir.Node
    branch: int
    nodes: frozenset[ir.Node]
    weights: frozenset[ir.Value]
    unit: int = 0
    influence: float = 0.0

    @property
    def name(self) -> str:
        """Name of the sum as a value, by which plans know the block."""
        return str(self.sum.outputs[0].name)

    @property
    def names(self) -> list[str]:
        """What globs match: the sum, the nodes that go with the block, and their weights."""
        found = {self.name: None, str(self.sum.name): None}
        found |= {str(node.name): None for node in self.nodes}
        for value in self.weights:
            found |= {str(value.name): None, readable(value): None}
        return list(found)

    def on(self, twins: Twins) -> ResidualBlock:
        """The same block of a clone."""
        return replace(
            self,
            sum=twins.nodes[self.sum],
            nodes=frozenset(twins.nodes[node] for node in self.nodes),
            weights=frozenset(twins.values[value] for value in self.weights),
        )


def by_name(blocks: tuple[ResidualBlock, ...]) -> Mapping[str, ResidualBlock]:
    """Blocks by the names that plans know them by."""
    return {block.name: block for block in blocks}
