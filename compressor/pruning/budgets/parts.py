"""A graph in parts that can be timed and counted: every linear operator with what runs along with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup
from compressor.graph.ir.captures import captured_values, nodes_inside
from compressor.operators.table import operator_of
from compressor.pruning.budgets.cost import graph_macs

Gone = Sequence[float]
"""The share of its units that each group loses."""
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class PartSize:
    """One dimension: ``whole``, of which every group takes its share along where it loses units.

    Attributes:
        whole: at first.
        shares: (index of the group, share of this dimension that its units hold).
    """

    whole: int
    shares: tuple[tuple[int, float], ...] = ()

    def after(self, gone: Gone) -> int:
        """Size of the dimension once the groups have these widths."""
        left = 1.0 - sum(share * gone[group] for group, share in self.shares)
        # Surgery never empties an axis.
        return max(1, round(self.whole * left))


@dataclass(frozen=True)
class Presence(PartSize):
    """Whether a part is there: 1, or 0 once the residual block that it belongs to is gone.

    Attributes:
        place: share of the group of residual blocks that goes before this one, and half of it.
    """

    place: float = 0.0

    def after(self, gone: Gone) -> int:
        """1 as long as the block stays."""
        return int(all(gone[group] < self.place for group, _ in self.shares))


@dataclass(frozen=True, eq=False)
class OperatorChain:
    """A convolution, matrix product, recurrent layer or attention, and the nodes between it and the next one.

    The runtime fuses what follows a product into it and passes layouts from one to the next, so that their times
    cannot be distinguished; together they can.

    Attributes:
        name: of its first node.
        nodes: in the order of the graph.
        shapes: of all values that the nodes read and write.
        varying: the different dimensions that some group changes.
    """

    name: str
    nodes: tuple[ir.Node, ...]
    shapes: Mapping[ir.Value, tuple[PartSize, ...] | None]
    varying: tuple[PartSize, ...]

    @property
    def groups(self) -> set[int]:
        """Groups whose width changes it."""
        return {group for size in self.varying for group, _ in size.shares}

    def sizes(self, gone: Gone) -> Sizes:
        """What is left of the dimensions that vary."""
        return tuple(size.after(gone) for size in self.varying)

    def shape(self, value: ir.Value, sizes: Sizes) -> Sizes | None:
        """The shape of a value once the dimensions that vary have these sizes; None where it is not known."""
        known = self.shapes.get(value)
        now = dict(zip(self.varying, sizes, strict=True))
        return None if known is None else tuple(now.get(size, size.whole) for size in known)

    def macs(self, sizes: Sizes) -> int:
        """Multiply-accumulates of the part at these widths."""
        return graph_macs(self.nodes, lambda value: self.shape(value, sizes)) if self.stays(sizes) else 0

    def stays(self, sizes: Sizes) -> bool:
        """Is it there at all? Not where it belongs to a residual block that is gone."""
        return all(now for size, now in zip(self.varying, sizes, strict=True) if isinstance(size, Presence))

    def work(self, sizes: Sizes) -> float:
        """Multiply-accumulates plus elements written: what time is roughly proportional to."""
        written = sum(prod(self.shape(v, sizes) or ()) for node in self.nodes for v in node.outputs)
        return float(self.macs(sizes) + written)


def operator_chains(coupling: Coupling, groups: Sequence[ChannelGroup]) -> list[OperatorChain]:
    """The whole graph in parts; what comes before the first product is a part of its own.

    A node that is no product belongs to the last of those whose results reach it.
    """
    # -1: a unit of no group, which never goes.
    index = np.full(len(coupling.units), -1)
    for number, group in enumerate(groups):
        index[group.units] = number
    parts: list[list[ir.Node]] = [[]]
    owner: dict[ir.Value, int] = {}
    for node in coupling.graph:
        if operator_of(node).multiplies:
            parts.append([])
            part = len(parts) - 1
        else:
            read = [*node.inputs, *captured_values(node)]
            # The last of several producers, as it runs right behind that one.
            part = max((owner[v] for v in read if v in owner), default=0)
        parts[part].append(node)
        owner.update(dict.fromkeys(node.outputs, part))
    presence = _presence(groups)
    return [_operator(nodes, coupling, index, presence.get(nodes[0], ())) for nodes in parts if nodes]


def _presence(groups: Sequence[ChannelGroup]) -> dict[ir.Node, tuple[Presence, ...]]:
    """What decides whether a node is there, for those that go with a residual block."""
    by_node: dict[ir.Node, tuple[Presence, ...]] = {}
    for number, member in enumerate(groups):
        for place, block in enumerate(member.blocks):
            presence = Presence(1, ((number, 1.0),), (place + 0.5) / len(member.blocks))
            by_node |= {node: (*by_node.get(node, ()), presence) for node in block.nodes}
    return by_node


def _operator(
    nodes: Sequence[ir.Node], coupling: Coupling, index: np.ndarray, presence: tuple[Presence, ...]
) -> OperatorChain:
    every = [each for node in nodes for each in (node, *nodes_inside(node))]
    values = {v: None for node in every for v in [*node.inputs, *node.outputs] if v is not None}
    shapes = {value: _shape(value, coupling, index) for value in values}
    # Equal dimensions once: a part is looked up by these sizes, and fewer of them mean more hits.
    dims = (size for known in shapes.values() for size in known or () if size.shares)
    varying = dict.fromkeys([*presence, *dims])
    return OperatorChain(str(nodes[0].name), tuple(nodes), shapes, tuple(varying))


def _shape(value: ir.Value, coupling: Coupling, index: np.ndarray) -> tuple[PartSize, ...] | None:
    shape = coupling.shapes.costed(value)
    if shape is None:
        return None
    sizes = [PartSize(size) for size in shape]
    for term in coupling.layout(value, assign_fresh=False):
        members, counts = np.unique(index[coupling.units.find(term.units)], return_counts=True)
        shares = [(int(g), int(n) / term.units.size) for g, n in zip(members, counts, strict=True) if g >= 0]
        # A joint term loses along its last, ragged axis (docs/glossary.md).
        axis = term.axes[-1]
        sizes[axis] = PartSize(shape[axis], tuple(shares))
    return tuple(sizes)


def operators_by_name(parts: Iterable[OperatorChain]) -> dict[str, str]:
    """The name of the operator for every name of a node or of what it writes."""
    named: dict[str, str] = {}
    for part in parts:
        for node in part.nodes:
            named |= {str(v.name): part.name for v in node.outputs} | {str(node.name): part.name}
    return named
