"""Nodes of the smaller model read what the same nodes of the original read: no run is needed to see it.

Runs show what inputs reach: a node that was passed over, or a bound that is that of another node, may move outputs for
rare inputs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.errors import tool_fault
from compressor.graph.ir.captures import graphs_of, values_of
from compressor.graph.ir.movement import joins, may_pass_on, only_moves
from compressor.pruning.proofs.graphs.exact import stays

MayStand = Callable[[ir.TensorProtocol, ir.Value | None], bool]
"""May a constant stand for that of a value, or where nothing was (None)?"""
OutputPlace = tuple[str, int]
"""Name of a node and number of its output; of what no node makes the name of the value, and -1."""


def demand_wiring(cut: ChannelMask, small: ir.Model) -> None:
    """Holds who reads what in a smaller model against the model that was cut.

    A node may read what a repair made, under a new name, of the value that it read; what stood in front of nodes that
    passed it on and are gone; and a constant that is equal to the one that it read. Whole numbers are for the runs to
    judge, as repairs change them.

    Args:
        cut: what went, of the model that was analysed.
        small: what is left of it.

    Raises:
        ProofFailed: a node reads something else, or became another operator; or a result comes from elsewhere.
    """

    def fits(kept: ir.TensorProtocol, wanted: ir.Value | None) -> bool:
        whole = None if wanted is None else wanted.const_value
        return wanted is not None and whole is not None and stays(whole, kept, cut.mask(wanted))

    blocks = {block.sum: block.branch for block in cut.blocks}
    _Wiring.of(cut.coupling.graph, blocks, fits).demand_all(small.graph, "the smaller model")


def demand_same_wiring(before: ir.Model, after: ir.Model) -> None:
    """Holds who reads what in a model whose weights were fitted or trained against the model before.

    Sums may have been put in, for biases. What the weights hold is not asked.

    Args:
        before: the model with the weights from before.
        after: what recovery made of it.

    Raises:
        ProofFailed: a node reads something else, or became another operator; or a result comes from elsewhere.
    """
    _Wiring.of(before.graph, {}, lambda _, __: True).demand_all(after.graph, "the recovered model")


def _place(value: ir.Value) -> OutputPlace:
    node = value.producer()
    return (str(value.name), -1) if node is None else (str(node.name), value.index() or 0)


@dataclass(frozen=True)
class _Wiring:
    """The wiring of a graph, which another one is held against.

    Attributes:
        graph: whose wiring it is.
        nodes: all of them by name.
        owned: names of what no node makes, bodies included.
        blocks: sums that may go, and the number of the input that goes with each.
        fits: asked of floats, by what the other graph holds and what this one reads there.
    """

    graph: ir.Graph
    nodes: dict[str, ir.Node]
    owned: frozenset[str]
    blocks: Mapping[ir.Node, int]
    fits: MayStand

    @staticmethod
    def of(graph: ir.Graph, blocks: Mapping[ir.Node, int], fits: MayStand) -> _Wiring:
        """The wiring of a graph; the rest as the attributes."""
        owned = frozenset(str(value.name) for value in values_of(graph) if value.producer() is None)
        return _Wiring(graph, {str(node.name): node for node in graph.all_nodes()}, owned, blocks, fits)

    def demand_all(self, other: ir.Graph, called: str) -> None:
        """Raises ProofFailed where another graph, which messages call so, reads or gives something else."""
        self.demand_results(self.graph, other, called)
        for node in other.all_nodes():
            twin = self.nodes.get(str(node.name))
            if twin is not None:
                self.demand(node, twin, called)

    def demand(self, node: ir.Node, twin: ir.Node, called: str) -> None:
        """Raises ProofFailed where a node reads something else than its twin in this graph."""
        wanted, found = given_inputs(twin), given_inputs(node)
        if (node.domain, node.op_type) != (twin.domain, twin.op_type):
            # A repair may move what another node of the same work gives, and call that one by the name of this.
            if not only_moves(node):
                raise tool_fault(f"node {node.name!r} of {called} is a {node.op_type}, was a {twin.op_type}")
            held = all(self.stands_for(new, wanted) for new in found)
        elif joins(twin):
            # Parts of which nothing is left go.
            rest = iter(wanted)
            held = all(any(self.stands_for(new, [old]) for old in rest) for new in found)
        else:
            held = all(self.stands_for(new, [old]) for old, new in zip_longest(wanted, found))
        if not held:
            raise tool_fault(f"node {node.name!r} ({node.op_type}) of {called} reads other values than it did")
        for old, new in zip(graphs_of(twin), graphs_of(node), strict=True):
            self.demand_results(old, new, f"a body of {node.name!r} in {called}")

    def demand_results(self, wanted: ir.Graph, found: ir.Graph, owner: str) -> None:
        """Raises ProofFailed where a graph or a body gives something else than its twin in this graph."""
        for old, new in zip(wanted.outputs, found.outputs, strict=True):
            if not self.stands_for(new, [old]):
                raise tool_fault(f"output {old.name!r} of {owner} comes from elsewhere than it did")

    def stands_for(self, new: ir.Value | None, wanted: Sequence[ir.Value | None]) -> bool:
        """May a value of the other graph stand where this one has one of these?"""
        if new is None:
            return None in wanted
        known = [old for old in wanted if old is not None]
        # What a repair computes of sizes is for the runs to judge.
        return all(
            any(_place(value) in self._in_front(old) for old in known)
            or (value is not new and _is_whole(value))
            or (value.is_initializer() and self._constant_for(value, known))
            for value in self._sources(new)
        )

    def _sources(self, value: ir.Value) -> Iterator[ir.Value]:
        """The value itself, or what nodes that a repair put in made it of."""
        waiting, seen = [value], set[ir.Value]()
        while waiting:
            last = waiting.pop()
            if last in seen:
                continue
            seen.add(last)
            node = last.producer()
            if node is not None and str(node.name) not in self.nodes:
                waiting += [v for v in node.inputs if v is not None]
            else:
                yield last

    def _constant_for(self, new: ir.Value, wanted: Sequence[ir.Value]) -> bool:
        """May a constant stand there: whole numbers, a number that a repair made, or what stays of one of these?"""
        kept = new.const_value
        if kept is None or _is_whole(new):
            return kept is not None
        # One of the same name is compared with all weights.
        if any(old.name == new.name or self.fits(kept, old) for old in wanted) or self.fits(kept, None):
            return True
        return str(new.name) not in self.owned and kept.size == 1

    def _in_front(self, value: ir.Value) -> Iterator[OutputPlace]:
        """The value's place, and those of values that nodes only pass on to it, or add a block to that goes."""
        waiting, seen = [value], set[ir.Value]()
        while waiting:
            last = waiting.pop()
            if last in seen:
                continue
            seen.add(last)
            yield _place(last)
            node = last.producer()
            if node is not None and node in self.blocks:
                waiting += [v for k, v in enumerate(node.inputs) if v is not None and k != self.blocks[node]]
            elif node is not None and may_pass_on(node):
                parts = node.inputs if joins(node) else node.inputs[:1]
                waiting += [v for v in parts if v is not None]


def given_inputs(node: ir.Node) -> list[ir.Value | None]:
    """Inputs of a node, without what is left out at the end."""
    inputs = list(node.inputs)
    while inputs and inputs[-1] is None:
        inputs.pop()
    return inputs


def _is_whole(value: ir.Value) -> bool:
    dtype = value.dtype if value.const_value is None else value.const_value.dtype
    return dtype is not None and not dtype.is_floating_point()
