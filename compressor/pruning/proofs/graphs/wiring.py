"""Nodes of the smaller model read what the same nodes of the original read: no run is needed to see it.

Runs show what inputs reach: a node that was passed over, or a bound that is that of another node, may move outputs for
rare inputs alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import Protocol

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.errors import tool_fault
from compressor.graph.ir.captures import graphs_of, has_graph, sources, walk_back
from compressor.graph.ir.movement import Movement, joins, may_pass_on, only_moves
from compressor.graph.ir.nodes import same_operator, tensor_of
from compressor.operators.facts import Host
from compressor.operators.table import operator_of
from compressor.pruning.proofs.graphs.exact import stays, touched
from compressor.pruning.proofs.graphs.written import told

OutputPlace = tuple[str, int]
"""Name of a node and number of its output; of what no node makes the name of the value, and -1."""


def demand_wiring(cut: ChannelMask, small: ir.Model) -> None:
    """Holds who reads what in a smaller model against the model that was cut.

    A node may read what a repair made, under a new name, of the value that it read; what stood in front of nodes that
    passed it on and are gone; and a constant that is equal to the one that it read. What a repair puts in only moves
    data. Whole numbers are for the runs to judge where channels went, and in the arithmetic of sizes, as repairs change
    them; elsewhere they stay.

    Args:
        cut: what went, of the model that was analysed.
        small: what is left of it.

    Raises:
        ProofFailed: a node reads something else, or became another operator; or a result comes from elsewhere.
    """
    blocks = {block.sum: block.branch for block in cut.blocks}
    _Wiring(cut.coupling.graph, _AfterCut(cut), blocks).demand_all(small.graph, "the smaller model")


def _puts_elsewhere(node: ir.Node) -> bool:
    """Are all entries of its outputs entries of its inputs, or zeros between them?"""
    movement = operator_of(node).movement
    return movement not in (None, Movement.TYPE)


def demand_same_wiring(before: ir.Model, after: ir.Model) -> None:
    """Holds who reads what in a model whose weights were fitted or trained against the model before.

    Sums may have been put in, for biases. What the weights hold is not asked.

    Args:
        before: the model with the weights from before.
        after: what recovery made of it.

    Raises:
        ProofFailed: a node reads something else, or became another operator; or a result comes from elsewhere.
    """
    _Wiring(before.graph, _AfterRecovery(before.graph)).demand_all(after.graph, "the recovered model")


def demand_wiring_beside(before: ir.Model, after: ir.Model, layers: Collection[str], called: str) -> None:
    """Holds who reads what in a model in which layers, or weights, were written as nodes of their own.

    What stands in the place of a layer is for the runs to judge.

    Args:
        before: the model with these layers whole.
        after: the same with nodes in their place, and with nodes that make weights of constants.
        layers: names of the layers.
        called: what messages call ``after``.

    Raises:
        ProofFailed: another node reads something else, or became another operator; or a result comes from elsewhere.
    """
    _Wiring(before.graph, _BesideLayers(before.graph), layers=frozenset(layers)).demand_all(after.graph, called)


def _place(value: ir.Value) -> OutputPlace:
    node = value.producer()
    return (str(value.name), -1) if node is None else (str(node.name), value.index() or 0)


class Allowed(Protocol):
    """What may be other than it was; no whole number, and nothing is gone, where nothing else is said."""

    def constant(self, kept: ir.Value, wanted: ir.Value | None) -> bool:
        """May a constant stand for a value of this graph, or where nothing was (None)?"""
        ...

    def other_integers(self, node: ir.Node | None, value: ir.Value | None) -> bool:  # noqa: ARG002 - by default none
        """May a node of this graph, or its caller (None), read other whole numbers in the place of a value?"""
        return False

    def put_in(self, node: ir.Node) -> bool:
        """May a node that this graph does not have stand between?"""
        ...

    def gone(self, value: ir.Value) -> bool:  # noqa: ARG002 - by default nothing
        """Is nothing left of a value of this graph?"""
        return False


@dataclass(frozen=True)
class _AfterCut(Allowed):
    """What a cut and its repairs may change."""

    cut: ChannelMask

    def constant(self, kept: ir.Value, wanted: ir.Value | None) -> bool:
        held = None if wanted is None else wanted.const_value
        mask = self.cut.mask(wanted)
        # What a caller may set is no constant, but where it lost channels.
        free = wanted is not None and wanted.is_graph_input() and mask is None
        return held is not None and kept.const_value is not None and not free and stays(held, kept.const_value, mask)

    def other_integers(self, node: ir.Node | None, value: ir.Value | None) -> bool:
        # How often a body runs, and which one, no repair changes.
        if (node is not None and has_graph(node)) or (value is not None and not self._is_integer(value)):
            return False
        if value is not None and self._is_size(value):
            return True
        if node is None:
            return False
        record = operator_of(node)
        if record.on_host >= Host.ARITHMETIC and all(map(self._is_followed, node.outputs)):
            return True
        # Places that were picked are numbered anew where they are constants, and sizes also where they are computed.
        asked = any(given is value and k in record.host for k, given in enumerate(node.inputs))
        known = value is None or self.cut.coupling.shapes.const(value) is not None
        return (known or asked) and touched(self.cut, node)

    def put_in(self, node: ir.Node) -> bool:
        return _puts_elsewhere(node)

    def gone(self, value: ir.Value) -> bool:
        mask = self.cut.mask(value)
        return mask is not None and not mask.any()

    def _is_integer(self, value: ir.Value) -> bool:
        dtype = self.cut.coupling.shapes.dtype(value)
        return dtype is not None and dtype.is_integer()

    def _is_followed(self, value: ir.Value) -> bool:
        # Of numbers that are no sizes, such as tokens, nothing is known beforehand.
        return self._is_integer(value) and self.cut.coupling.shapes.sample(value) is not None

    def _is_size(self, value: ir.Value) -> bool:
        maker = value.producer()
        return maker is not None and operator_of(maker).on_host == Host.ALWAYS and touched(self.cut, maker)


@dataclass(frozen=True)
class _AfterRecovery(Allowed):
    """What fitting and training weights may change."""

    graph: ir.Graph

    def constant(self, kept: ir.Value, wanted: ir.Value | None) -> bool:
        # What may be trained or fitted is a weight, or a bias where there was none.
        if str(kept.name) in self.graph.initializers or (wanted is not None and wanted.is_graph_input()):
            return False
        return wanted is None or wanted.const_value is not None

    def put_in(self, node: ir.Node) -> bool:
        return bool(operator_of(node).addends) or _puts_elsewhere(node)


@dataclass(frozen=True)
class _BesideLayers(Allowed):
    """What writing layers anew, or packing weights, may change beside these layers."""

    graph: ir.Graph

    def constant(self, kept: ir.Value, wanted: ir.Value | None) -> bool:
        # A weight that is packed has other names; one of the same name is compared by itself.
        return str(kept.name) not in self.graph.initializers and (wanted is None or wanted.const_value is not None)

    def put_in(self, node: ir.Node) -> bool:
        # What makes a weight of constants.
        return all(value.is_initializer() for value in sources(node.outputs, lambda maker, _: maker.inputs))


@dataclass(frozen=True)
class _Wiring:
    """The wiring of a graph, which another one is held against.

    Attributes:
        graph: whose wiring it is.
        allowed: what may be other than it was.
        blocks: sums that may go, and the number of the input that goes with each.
        layers: names of nodes in whose place others may stand.
    """

    graph: ir.Graph
    allowed: Allowed
    blocks: Mapping[ir.Node, int] = field(default_factory=dict)
    layers: Collection[str] = ()

    @cached_property
    def nodes(self) -> Mapping[str, ir.Node]:
        """All of them by name."""
        return {str(node.name): node for node in self.graph.all_nodes()}

    def demand_all(self, other: ir.Graph, called: str) -> None:
        """Raises ProofFailed where another graph, which messages call so, reads or gives something else."""
        self.demand_results(self.graph, other, called)
        for node in other.all_nodes():
            twin = self.nodes.get(str(node.name))
            if twin is not None and str(node.name) not in self.layers:
                self.demand(node, twin, called)

    def demand(self, node: ir.Node, twin: ir.Node, called: str) -> None:
        """Raises ProofFailed where a node reads something else than its twin in this graph."""
        if not (same_operator(node, twin) or self._may_become(node, twin)):
            raise tool_fault(f"node {node.name!r} of {called} is a {node.op_type}, was a {twin.op_type}")
        if not self._reads_same(node, twin):
            raise tool_fault(f"node {node.name!r} ({node.op_type}) of {called} reads other values than it did")
        bodies, made = graphs_of(twin), graphs_of(node)
        # A mover may stand where a node with bodies stood, and has none of them.
        if made and len(made) != len(bodies):
            raise tool_fault(f"node {node.name!r} of {called} has {len(made)} bodies, had {len(bodies)}")
        for body, graph in zip(bodies, made, strict=False):
            self.demand_results(body, graph, f"a body of {node.name!r} in {called}")

    def _may_become(self, node: ir.Node, twin: ir.Node) -> bool:
        """May a node, of another operator than its twin, have its name?"""
        return only_moves(node) and (only_moves(twin) or twin in self.blocks or self._moves_work_of(node, twin))

    def _reads_same(self, node: ir.Node, twin: ir.Node) -> bool:
        wanted, found = given_inputs(twin), given_inputs(node)

        def stands(new: ir.Value | None, old: ir.Value | None) -> bool:
            return self.stands_for(new, [old], integers=self.allowed.other_integers(twin, old))

        if not same_operator(node, twin):
            count = len(found) if joins(node) else 1
            return all(new is None or _is_whole(new) for new in found[count:]) and (
                self._moves_work_of(node, twin)
                or all(self.stands_for(v, wanted, integers=v is not None and _is_whole(v)) for v in found[:count])
            )
        if not joins(twin):
            return all(stands(new, old) for old, new in zip_longest(wanted, found))
        # Parts of which nothing is left go.
        left, dropped = deque(wanted), list[ir.Value | None]()
        for new in found:
            while left and not stands(new, left[0]):
                dropped.append(left.popleft())
            if not left:
                return False
            left.popleft()
        return all(value is not None and self.allowed.gone(value) for value in (*dropped, *left))

    def demand_results(self, wanted: ir.Graph, found: ir.Graph, owner: str) -> None:
        """Raises ProofFailed where a graph or a body gives something else than its twin in this graph."""
        for old, new in zip(wanted.outputs, found.outputs, strict=True):
            if not self.stands_for(new, [old], integers=self.allowed.other_integers(None, old)):
                raise tool_fault(f"output {old.name!r} of {owner} comes from elsewhere than it did")

    def stands_for(self, new: ir.Value | None, wanted: Sequence[ir.Value | None], *, integers: bool = False) -> bool:
        """May a value of the other graph stand where this one has one of these? ``integers``: or other integers."""
        if new is None:
            return None in wanted
        known = [old for old in wanted if old is not None]
        if any(_place(old)[0] in self.layers for old in known):
            name = _place(new)[0]
            return name in self.layers or name not in self.nodes
        # What a repair computes of sizes is for the runs to judge, as are numbers in what it put in.
        return all(
            any(_place(value) in self._in_front(old) for old in known)
            or (integers and bool(known))
            or ((integers or value is not new) and value.is_initializer() and _is_whole(value))
            or (value.is_initializer() and self._constant_for(value, known if value is new else []))
            for value in self._sources(new, integers)
        )

    def _sources(self, value: ir.Value, integers: bool) -> Iterator[ir.Value]:
        """The value itself, or what nodes that a repair put in made it of; ``integers``: arithmetic of sizes, too."""

        def through(node: ir.Node, last: ir.Value) -> Iterable[ir.Value | None] | None:
            made = str(node.name) not in self.nodes
            return node.inputs if made and ((integers and _is_whole(last)) or self.allowed.put_in(node)) else None

        return sources([value], through)

    def _moves_work_of(self, node: ir.Node, twin: ir.Node) -> bool:
        """Is what a node moves made by one that does the same as its twin, of the same?

        A repair may move what another node of the same work gives, and call that one by the name of this.
        """
        data = self._sources(node.inputs[0], integers=False) if node.inputs[0] is not None else ()
        return any((maker := value.producer()) is not None and self._does_work_of(maker, twin) for value in data)

    def _does_work_of(self, maker: ir.Node, twin: ir.Node) -> bool:
        if not same_operator(maker, twin):
            return False
        settings, wanted = ({name: told(a) for name, a in n.attributes.items()} for n in (maker, twin))
        pairs = zip_longest(given_inputs(twin), given_inputs(maker))
        return settings == wanted and all(
            self.stands_for(new, [old], integers=self.allowed.other_integers(twin, old)) for old, new in pairs
        )

    def _constant_for(self, new: ir.Value, wanted: Sequence[ir.Value]) -> bool:
        """May a constant stand there: what stays of one of these?"""
        places: Sequence[ir.Value | None] = wanted or [None]
        # One of the same name is compared with all weights.
        return any(self.allowed.constant(new, old) or (old is not None and old.name == new.name) for old in places)

    def _in_front(self, value: ir.Value) -> Iterator[OutputPlace]:
        """The value's place, and those of values that nodes only pass on to it, or add a block to that goes."""

        def through(node: ir.Node, _: ir.Value) -> Iterable[ir.Value | None]:
            if node in self.blocks:
                return [v for k, v in enumerate(node.inputs) if k != self.blocks[node]]
            if not may_pass_on(node):
                return ()
            parts = [v for v in node.inputs if v is not None and not is_empty(v) and not self.allowed.gone(v)]
            # What joins several parts gives none of them alone.
            return node.inputs[:1] if not joins(node) else parts if len(parts) == 1 else ()

        return map(_place, walk_back([value], through))


def given_inputs(node: ir.Node) -> list[ir.Value | None]:
    """Inputs of a node, without what is left out at the end."""
    inputs = list(node.inputs)
    while inputs and inputs[-1] is None:
        inputs.pop()
    return inputs


def is_empty(value: ir.Value | None) -> bool:
    """Is it a constant without elements?"""
    tensor = tensor_of(value)
    return tensor is not None and tensor.size == 0


def _is_whole(value: ir.Value) -> bool:
    dtype = value.dtype if value.const_value is None else value.const_value.dtype
    return dtype is not None and not dtype.is_floating_point()
