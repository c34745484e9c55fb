"""Nodes of the smaller model read what the same nodes of the original read: no run is needed to see it.

Runs show what inputs reach: a node that was passed over, or a bound that is that of another node, may move outputs for
rare inputs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.errors import tool_fault
from compressor.graph.ir.movement import JOINS, MOVEMENT
from compressor.graph.ir.nodes import is_standard
from compressor.pruning.proofs.exact import stays

OutputPlace = tuple[str, int]
"""Name of a node and number of its output; of what no node makes the name of the value, and -1."""


def demand_wiring(cut: ChannelMask, small: ir.Model) -> None:
    """Holds who reads what in a smaller model against the model that was cut.

    A node may read what a repair made, under a new name; what stood in front of nodes that only moved data and are
    gone; and a constant that is equal to the one that it read. Whole numbers are for the runs to judge, as repairs
    change them.

    Args:
        cut: what went, of the model that was analysed.
        small: what is left of it.

    Raises:
        ProofFailed: a node reads something else, or became another operator; or an output comes from elsewhere.
    """
    dense = cut.coupling.graph
    wiring = _Wiring(cut, {str(node.name): node for node in dense.all_nodes()}, _values(dense))
    for node in small.graph.all_nodes():
        twin = wiring.nodes.get(str(node.name))
        if twin is not None:
            wiring.demand(node, twin)
    for old, new in zip(dense.outputs, small.graph.outputs, strict=True):
        if not wiring.stands_for(new, old):
            raise tool_fault(f"output {old.name!r} of the smaller model comes from elsewhere than the original's")


def _values(graph: ir.Graph) -> frozenset[str]:
    """Names of what no node makes: inputs, also of bodies, and initializers."""
    bodies = (body for node in graph.all_nodes() for a in node.attributes.values() for body in _graphs(a))
    found = (value for body in (graph, *bodies) for value in (*body.inputs, *body.initializers.values()))
    return frozenset(str(value.name) for value in found)


def _graphs(attribute: ir.Attr) -> Iterator[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        yield attribute.as_graph()
    elif attribute.type == ir.AttributeType.GRAPHS:
        yield from attribute.as_graphs()


def _place(value: ir.Value) -> OutputPlace:
    node = value.producer()
    return (str(value.name), -1) if node is None else (str(node.name), value.index() or 0)


@dataclass(frozen=True)
class _Wiring:
    """The model that was cut: its nodes by name, and the names of what no node makes."""

    cut: ChannelMask
    nodes: dict[str, ir.Node]
    values: frozenset[str]

    def demand(self, node: ir.Node, twin: ir.Node) -> None:
        """Raises ProofFailed where a node of the smaller model reads something else than its twin in the original."""
        moves = is_standard(node) and node.op_type in MOVEMENT
        if (node.domain, node.op_type) != (twin.domain, twin.op_type) and not moves:
            raise tool_fault(f"node {node.name!r} of the smaller model is a {node.op_type}, and was a {twin.op_type}")
        wanted, found = _read(twin), _read(node)
        if is_standard(twin) and twin.op_type in JOINS:
            # Parts of which nothing is left go.
            rest = iter(wanted)
            held = all(self._is_new(new) or any(self.stands_for(new, old) for old in rest) for new in found)
        else:
            held = all(self.stands_for(new, old) for old, new in zip_longest(wanted, found))
        if not held:
            raise tool_fault(f"node {node.name!r} ({node.op_type}) of the smaller model reads other values than it did")

    def stands_for(self, new: ir.Value | None, old: ir.Value | None) -> bool:
        """May a value of the smaller model stand where the original has another one?"""
        if new is None:
            return old is None
        if self._is_new(new):
            return True
        if new.is_initializer():
            return _is_whole(new) or (old is not None and old.is_initializer() and self._equal(new, old))
        return old is not None and _place(new) in self._in_front(old)

    def _is_new(self, value: ir.Value | None) -> bool:
        """Did a repair make it?"""
        if value is None:
            return False
        name, output = _place(value)
        return name not in (self.values if output < 0 else self.nodes)

    def _equal(self, new: ir.Value, old: ir.Value) -> bool:
        kept, whole = new.const_value, old.const_value
        return new.name == old.name or (
            kept is not None and whole is not None and stays(whole, kept, self.cut.mask(old))
        )

    def _in_front(self, value: ir.Value) -> Iterator[OutputPlace]:
        """The value's place, and those of values in front of it that nodes only move, or add a block to that goes."""
        blocks = {block.sum: block.branch for block in self.cut.blocks}
        waiting = [value]
        while waiting:
            last = waiting.pop()
            yield _place(last)
            node = last.producer()
            if node is not None and node in blocks:
                waiting += [v for k, v in enumerate(node.inputs) if v is not None and k != blocks[node]]
            elif node is not None and is_standard(node) and node.op_type in MOVEMENT:
                waiting += [v for v in node.inputs if v is not None]


def _read(node: ir.Node) -> list[ir.Value | None]:
    """Its inputs, without what is left out at the end."""
    inputs = list(node.inputs)
    while inputs and inputs[-1] is None:
        inputs.pop()
    return inputs


def _is_whole(value: ir.Value) -> bool:
    dtype = value.dtype if value.const_value is None else value.const_value.dtype
    return dtype is not None and not dtype.is_floating_point()
