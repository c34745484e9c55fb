"""Nodes of the prepared graph read what the same nodes of the file read: no run is needed to see it.

Preparing writes some nodes anew, as what a runtime fused, calls of functions, or one of two that are equal; the others
it leaves. Where a node of both graphs reads what another node of both makes, nothing may stand between but what moves
data or passes it on. Where the file's node is gone, what stands there instead may depend on no more than that did, and
is an equal node or written anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import onnx_ir as ir

from compressor.errors import tool_fault
from compressor.graph.form.normalise import with_node_names
from compressor.graph.form.plain_sequences import handles_sequences
from compressor.graph.form.unfuse import is_fused
from compressor.graph.ir.captures import captured_values, graphs_of, has_graph, nodes_by_name, sources, walk_back
from compressor.graph.ir.movement import joins, may_pass_on, only_moves
from compressor.graph.ir.nodes import is_standard, operator_key
from compressor.graph.ir.opsets import FREE_WEIGHTS
from compressor.graph.ir.randomness import draws
from compressor.graph.sizes.known import initializer_of
from compressor.graph.tensors.weights import same_tensors
from compressor.operators.facts import Host
from compressor.operators.table import operator_of
from compressor.pruning.proofs.graphs.wiring import given_inputs, is_empty
from compressor.pruning.proofs.graphs.written import told

SharedPlace = tuple[str, str, int]
"""What both graphs have: kind, name of a node or value, and which output of the node."""

EQUAL_NODES = 32
"""Nodes, one behind the other, that are compared by what they read; more of them are for the runs."""


def demand_prepared_wiring(original: ir.Model, prepared: ir.Model) -> None:
    """Holds who reads what in a prepared graph against the file that it was made of.

    Constants are for :func:`compressor.pruning.proofs.graphs.constants.demand_same_constants`.

    Args:
        original: what was read from the file.
        prepared: made of it; its nodes have the names that :func:`compressor.graph.form.normalise.normalise` gives.

    Raises:
        ProofFailed: a node that both have reads something else in the prepared graph, or is another operator; or an
            output comes from elsewhere.
    """
    named = with_node_names(original)
    named.graph.sort()
    _demand_operators(nodes_by_name(named.graph), nodes_by_name(prepared.graph))
    old, new = _sides(named, prepared)
    _demand_results(old, new, named.graph, prepared.graph, "the prepared graph")
    for name, node in new.shared.items():
        twin = old.shared[name]
        wanted, found = given_inputs(twin), given_inputs(node)
        if joins(twin):
            held = _same_parts(wanted, found, partial(_agree, old, new))
        else:
            pairs = list(zip_longest(wanted, found))
            held = all(_agree(old, new, *pair) or _asks_for_less(old, new, node, pair) for pair in pairs)
        if not held:
            raise tool_fault(
                f"node {name!r} ({node.op_type}) of the prepared graph reads other values than in the file"
            )
        for k, (body, made) in enumerate(zip(graphs_of(twin), graphs_of(node), strict=True)):
            _demand_results(old, new, body, made, f"body {k} of {name!r} in the prepared graph")
    for name, value in new.rewritten.items():
        maker = value.producer()
        assert maker is not None  # values that nodes make
        if not new.follows_from(_all_read(maker), old.behind(old.rewritten[name])):
            raise tool_fault(f"{name!r} of the prepared graph is made of other values than in the file")


def _demand_operators(before: dict[str, ir.Node], after: dict[str, ir.Node]) -> None:
    """Raises ProofFailed where a node became another operator, but for one that only moves data.

    That may have the name of one that is gone, as an equal one gives what it gave; who reads it is asked elsewhere.
    """
    for name, node in after.items():
        twin = before.get(name)
        if twin is None or _kind(twin) == _kind(node) or only_moves(node):
            continue
        raise tool_fault(f"node {name!r} of the prepared graph is a {node.op_type}, was a {twin.op_type} in the file")


def _demand_results(old: _Side, new: _Side, wanted: ir.Graph, found: ir.Graph, owner: str) -> None:
    for value, mine in zip(wanted.outputs, found.outputs, strict=True):
        if not _agree(old, new, value, mine):
            raise tool_fault(f"output {value.name!r} of {owner} comes from elsewhere than in the file")


def _agree(old: _Side, new: _Side, wanted: ir.Value | None, found: ir.Value | None, depth: int = EQUAL_NODES) -> bool:
    """May ``found`` of the prepared graph stand where the file's nodes read ``wanted``? So many equal nodes are looked
    through, one behind the other.
    """
    if found is None or wanted is None:
        return found is wanted
    front = old.front(wanted)
    if new.is_fixed(found):
        return old.may_be_known(wanted) and _is_same_count(wanted, found)
    origins, places = new.moved_from(found), old.places(front)
    if all(new.place(value) in places for value in origins):
        return True
    makers = [node for value in front if (node := value.producer()) is not None and not _passes_on(node)]
    gone = [node for node in makers if not old.shares(node)]
    # What was taken apart may have become anything, and what is gone was merged with an equal node. Where the file's
    # node is still there, a reader may have a copy of it, and its own of what only moves data.
    anything, moved = any(_is_taken_apart(node) for node in gone), old.moved(wanted)
    for value in origins:
        maker = value.producer()
        equal = maker is not None and any(_does_the_same(old, new, node, maker, depth) for node in gone or makers)
        if not (anything or equal or new.place(value) in moved):
            return False
    found_places = {new.place(value) for value in origins}
    if found_places <= moved and not anything and not old.is_made_of(wanted, found_places):
        return False
    return new.follows_from(origins, old.behind(wanted))


def _same_parts(
    wanted: Sequence[ir.Value | None],
    found: Sequence[ir.Value | None],
    agree: Callable[[ir.Value | None, ir.Value | None], bool],
) -> bool:
    """Are the same parts joined, in their order, but for constants without elements, which go?

    Of sizes some may turn out to be none, as what stands behind the last axis; that is a part all the same.
    """
    left = deque(value for value in wanted if not is_empty(value))
    for value in found:
        if left and agree(left[0], value):
            left.popleft()
        elif not is_empty(value):
            return False
    return not left


def _is_taken_apart(node: ir.Node) -> bool:
    return _may_hand_on(node) or is_fused(node)


def _does_the_same(old: _Side, new: _Side, node: ir.Node, maker: ir.Node, depth: int) -> bool:
    """Are two nodes of one kind, with equal settings, that read the same?"""
    if _kind(node) != _kind(maker) or has_graph(node) or _settings(node) != _settings(maker):
        return False
    pairs = zip_longest(given_inputs(node), given_inputs(maker))
    return depth == 0 or all(_agree(old, new, *pair, depth - 1) for pair in pairs)


def _settings(node: ir.Node) -> tuple[tuple[str, object], ...]:
    return tuple(sorted((name, told(attribute)) for name, attribute in node.attributes.items()))


def _is_same_count(wanted: ir.Value, found: ir.Value) -> bool:
    """Is a constant what the file holds there? Floats are asked elsewhere, as is what was folded."""
    before, after = wanted.const_value, found.const_value
    if before is None or after is None or after.dtype.is_floating_point() or before.dtype != after.dtype:
        return True
    return tuple(before.shape) != tuple(after.shape) or same_tensors(before, after)


def _asks_for_less(old: _Side, new: _Side, node: ir.Node, pair: tuple[ir.Value | None, ir.Value | None]) -> bool:
    """May a node that makes copies be asked for another shape, which follows from the one that it was asked for?

    Of copies that their readers would make by broadcasting fewer are made.
    """
    wanted, found = pair
    record = operator_of(node)
    if wanted is None or found is None or not (record.spreads or record.one_number):
        return False
    return new.is_fixed(found) or new.follows_from([found], old.behind(wanted))


def _sides(original: ir.Model, prepared: ir.Model) -> tuple[_Side, _Side]:
    """Both graphs with what they share: nodes of one name and operator, and values of one name made anew."""
    graphs = original.graph, prepared.graph
    first, second = map(nodes_by_name, graphs)
    names = [name for name, node in first.items() if name in second and _kind(node) == _kind(second[name])]
    shared = [{name: nodes[name] for name in names} for nodes in (first, second)]
    made = [_made_by_others(graph, own) for graph, own in zip(graphs, shared, strict=True)]
    both = made[0].keys() & made[1].keys()
    rewritten = [{name: values[name] for name in both} for values in made]
    bodies = [_places_of_bodies(own) for own in shared]
    return (
        _Side(shared[0], rewritten[0], bodies[0], _equal_values(graphs[0]), original.ir_version >= FREE_WEIGHTS),
        _Side(shared[1], rewritten[1], bodies[1], {}, overridable=True),
    )


def _made_by_others(graph: ir.Graph, shared: dict[str, ir.Node]) -> dict[str, ir.Value]:
    """What nodes make that the other graph does not have, by name."""
    nodes = [node for node in graph.all_nodes() if shared.get(str(node.name)) is not node]
    return {str(value.name): value for node in nodes for value in node.outputs if value.name}


def _kind(node: ir.Node) -> tuple[str, str, str, int]:
    return *operator_key(node), node.overload, len(graphs_of(node))


def _places_of_bodies(shared: dict[str, ir.Node]) -> dict[ir.Value, SharedPlace]:
    """Where what enters bodies of nodes that both graphs have comes from."""
    return {
        value: ("body", f"{name}/{k}", place)
        for name, node in shared.items()
        for k, body in enumerate(graphs_of(node))
        for place, value in enumerate(body.inputs)
    }


@dataclass(frozen=True)
class _Side:
    """One of the two graphs.

    In the file ``MatMul -> a -> Identity -> b -> Gelu -> c -> Relu``, of which a prepared graph has MatMul and Relu,
    ``b`` has ``a`` in front, whose place is that of MatMul; what ``c`` reads is behind it: ``a`` and ``b``.

    Attributes:
        shared: nodes that the other has, too, by name.
        rewritten: values by name that other nodes make in the other graph.
        bodies: places of what enters bodies of shared nodes.
        equal: values that equal nodes make of the same values.
        overridable: a caller may set weights that are inputs.
    """

    shared: Mapping[str, ir.Node]
    rewritten: Mapping[str, ir.Value]
    bodies: Mapping[ir.Value, SharedPlace]
    equal: Mapping[ir.Value, Sequence[ir.Value]]
    overridable: bool

    def shares(self, node: ir.Node) -> bool:
        """Does the other graph have the node, too?"""
        return self.shared.get(str(node.name)) is node

    def is_fixed(self, value: ir.Value) -> bool:
        """Is it a constant that nobody can set?"""
        return initializer_of(value) is not None or (value.is_initializer() and not self.overridable)

    def may_be_known(self, value: ir.Value) -> bool:
        """Does a value follow from constants and sizes alone? What a caller may set is no constant."""

        def through(node: ir.Node, last: ir.Value) -> list[ir.Value]:
            if self.is_fixed(last) or operator_of(node).on_host == Host.ALWAYS:
                return []
            # Of several results of a function or a branch one may be a constant of it.
            inside = not self.shares(node) and _may_hand_on(node) and not is_fused(node)
            return [] if inside else _all_read(node)

        return all(map(self.is_fixed, sources([value], through)))

    def place(self, value: ir.Value) -> SharedPlace | None:
        """Where a value comes from, if the other graph has that, too."""
        node = value.producer()
        if node is None:
            return None if self.is_fixed(value) else self.bodies.get(value, ("input", str(value.name), 0))
        if self.shares(node):
            return "node", str(node.name), value.index() or 0
        return ("value", str(value.name), 0) if self.rewritten.get(str(value.name)) is value else None

    def twins(self, value: ir.Value) -> Sequence[ir.Value]:
        """The value, and others that equal nodes make of the same."""
        return self.equal.get(value, [value])

    def front(self, value: ir.Value) -> list[ir.Value]:
        """The value, what is passed on to it, and what nodes read that are gone and may have handed that on."""
        return list(walk_back([value], lambda node, _: self._handed_on(node, _passes_on)))

    def _handed_on(self, node: ir.Node, moves: Callable[[ir.Node], bool]) -> list[ir.Value]:
        if moves(node):
            return _moved_by(node)
        return _all_read(node) if not self.shares(node) and _may_hand_on(node) else []

    def moved_from(self, value: ir.Value) -> list[ir.Value]:
        """What nodes that the other graph does not have only moved to where the value is."""
        found = sources([value], lambda node, _: _moved_by(node) if self._moves(node) else None)
        return [source for source in found if not self.is_fixed(source)]

    def _moves(self, node: ir.Node) -> bool:
        return _passes_on(node) or (not self.shares(node) and only_moves(node))

    def moved(self, value: ir.Value) -> set[SharedPlace]:
        """Places that a value is moved from, whoever has the nodes that do it."""
        return self.places(walk_back([value], lambda node, _: self._handed_on(node, _moves_all)))

    def is_made_of(self, value: ir.Value, found: Container[SharedPlace | None]) -> bool:
        """Do movers make a value of what is at these places: of what is joined, of all parts?"""

        def ends(last: ir.Value) -> bool:
            node = last.producer()
            # What was taken apart may have become anything.
            anything = node is not None and not self.shares(node) and _is_taken_apart(node)
            return anything or self.is_fixed(last) or any(self.place(twin) in found for twin in self.twins(last))

        def through(node: ir.Node, last: ir.Value) -> list[ir.Value] | None:
            parts = _moved_by(node) if not ends(last) and _moves_all(node) else []
            return [part for part in parts if not is_empty(part)] or None

        return all(map(ends, sources([value], through)))

    def behind(self, value: ir.Value) -> set[SharedPlace]:
        """Places of a value, of equal ones, and of all that it is made of by nodes that are gone or only move data."""

        def through(node: ir.Node, _: ir.Value) -> list[ir.Value]:
            return _all_read(node) if not self.shares(node) or _moves_all(node) or handles_sequences(node) else []

        return self.places(walk_back([value], through))

    def places(self, values: Iterable[ir.Value]) -> set[SharedPlace]:
        """The places of values, and of equal ones."""
        return {place for value in values for twin in self.twins(value) if (place := self.place(twin)) is not None}

    def follows_from(self, values: Iterable[ir.Value], known: Container[SharedPlace]) -> bool:
        """Does nothing but what is known there, and constants, go into these values?"""

        def ends(last: ir.Value) -> bool:
            return self.is_fixed(last) or self.place(last) in known

        return all(map(ends, sources(values, lambda node, last: None if ends(last) else _all_read(node))))


def _may_hand_on(node: ir.Node) -> bool:
    """May a node that was taken apart have given what it reads: a branch, a sequence or a function?"""
    return has_graph(node) or not is_standard(node) or handles_sequences(node)


def _passes_on(node: ir.Node) -> bool:
    """Does a node give what it reads? Of what is joined that is so where all else has no elements."""
    parts = [v for v in node.inputs if v is not None and (v.const_value is None or v.const_value.size)]
    return may_pass_on(node) and (len(parts) == 1 or not joins(node))


def _moves_all(node: ir.Node) -> bool:
    """Are all entries of its outputs those of its inputs, by its operator or by what it is given?"""
    return only_moves(node) or _passes_on(node)


def _moved_by(node: ir.Node) -> list[ir.Value]:
    """What a node moves or passes on: its first input, or all where it joins them."""
    return [v for v in (node.inputs if joins(node) else node.inputs[:1]) if v is not None]


def _all_read(node: ir.Node) -> list[ir.Value]:
    """What a node reads, and what its bodies give and read from around them."""
    results = [value for body in graphs_of(node) for value in body.outputs]
    return [v for v in node.inputs if v is not None] + results + (captured_values(node) if results else [])


def _equal_values(graph: ir.Graph) -> dict[ir.Value, list[ir.Value]]:
    """By value those that equal nodes make of the same values, which preparing makes one of."""
    numbers: dict[ir.Value, int] = {}
    known: dict[object, int] = {}
    groups: dict[int, list[ir.Value]] = {}
    for node in graph.all_nodes():
        # Constant nodes become weights, which nobody makes one of.
        if draws(node) or has_graph(node) or not node.inputs:
            continue
        first = node.inputs[0]
        if _passes_on(node) and first is not None and len(given_inputs(node)) == 1:
            numbers[node.outputs[0]] = _number(first, numbers, known)
            continue
        reads = tuple(None if v is None else _number(v, numbers, known) for v in node.inputs)
        settings = _settings(node)
        for place, value in enumerate(node.outputs):
            numbers[value] = known.setdefault((_kind(node), reads, settings, place), len(known))
            groups.setdefault(numbers[value], []).append(value)
    return {value: group for group in groups.values() if len(group) > 1 for value in group}


def _number(value: ir.Value, numbers: dict[ir.Value, int], known: dict[object, int]) -> int:
    if value not in numbers:
        numbers[value] = known.setdefault(value, len(known))
    return numbers[value]
