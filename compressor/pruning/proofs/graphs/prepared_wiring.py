"""Nodes of the prepared graph read what the same nodes of the file read: no run is needed to see it.

Preparing writes some nodes anew, as what a runtime fused, calls of functions, or one of two that are equal; the others
it leaves. Between nodes that both graphs have, what was written anew may read nothing but what the file's nodes read
there, and where nothing stands in the prepared graph, the file may have had only what passes a value on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import onnx_ir as ir

from compressor.errors import tool_fault
from compressor.graph.form.normalise import with_node_names
from compressor.graph.form.plain_sequences import handles_sequences
from compressor.graph.ir.captures import captured_values, graphs_of, has_graph
from compressor.graph.ir.movement import joins, may_pass_on, only_moves
from compressor.graph.ir.nodes import is_standard
from compressor.graph.ir.randomness import draws
from compressor.graph.sizes.shapes import initializer_of
from compressor.pruning.proofs.graphs.wiring import given_inputs
from compressor.pruning.proofs.graphs.written import told

SharedPlace = tuple[str, str, int]
"""What both graphs have: kind, name of a node or value, and which output of the node."""


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
    _demand_operators(_by_name(named.graph), _by_name(prepared.graph))
    old, new = _sides(named.graph, prepared.graph)
    _demand_results(old, new, named.graph, prepared.graph, "the prepared graph")
    for name, node in new.shared.items():
        twin = old.shared[name]
        wanted, found = given_inputs(twin), given_inputs(node)
        if joins(twin):
            # Constants without elements go.
            rest = iter(wanted)
            held = all(any(_agree(old, new, value, mine) for value in rest) for mine in found)
        else:
            held = all(_agree(old, new, value, mine) for value, mine in zip_longest(wanted, found))
        if not held:
            raise tool_fault(
                f"node {name!r} ({node.op_type}) of the prepared graph reads other values than in the file"
            )
        for k, (body, made) in enumerate(zip(graphs_of(twin), graphs_of(node), strict=True)):
            _demand_results(old, new, body, made, f"body {k} of {name!r} in the prepared graph")
    for name, value in new.rewritten.items():
        known = old.rewritten.get(name)
        if known is not None and not new.read_behind(value) <= old.reach(known):
            raise tool_fault(f"{name!r} of the prepared graph is made of other values than in the file")


def _demand_operators(before: dict[str, ir.Node], after: dict[str, ir.Node]) -> None:
    """Raises ProofFailed where a node became another operator, but of those that only move data."""
    for name, node in after.items():
        twin = before.get(name)
        if twin is None or _kind(twin) == _kind(node) or (only_moves(node) and only_moves(twin)):
            continue
        raise tool_fault(f"node {name!r} of the prepared graph is a {node.op_type}, was a {twin.op_type} in the file")


def _demand_results(old: _Side, new: _Side, wanted: ir.Graph, found: ir.Graph, owner: str) -> None:
    for value, mine in zip(wanted.outputs, found.outputs, strict=True):
        if not _agree(old, new, value, mine):
            raise tool_fault(f"output {value.name!r} of {owner} comes from elsewhere than in the file")


def _agree(old: _Side, new: _Side, wanted: ir.Value | None, found: ir.Value | None) -> bool:
    """May ``found`` of the prepared graph stand where the file's nodes read ``wanted``?"""
    if found is None or wanted is None:
        return found is wanted
    if initializer_of(found) is not None:
        return True
    place = new.place(found)
    if place is not None:
        return place in old.in_front(wanted)
    return new.read_behind(found) <= old.reach(wanted)


def _sides(original: ir.Graph, prepared: ir.Graph) -> tuple[_Side, _Side]:
    """Both graphs with what they share: nodes of one name and operator, and values of one name made anew."""
    first, second = _by_name(original), _by_name(prepared)
    names = [name for name, node in first.items() if name in second and _kind(node) == _kind(second[name])]
    shared = [{name: nodes[name] for name in names} for nodes in (first, second)]
    made = [_made_by_others(graph, own) for graph, own in zip((original, prepared), shared, strict=True)]
    both = made[0].keys() & made[1].keys()
    rewritten = [{name: values[name] for name in both} for values in made]
    return (
        _Side(shared[0], rewritten[0], _places_of_bodies(shared[0]), _equal_values(original)),
        _Side(shared[1], rewritten[1], _places_of_bodies(shared[1]), {}),
    )


def _made_by_others(graph: ir.Graph, shared: dict[str, ir.Node]) -> dict[str, ir.Value]:
    """What nodes make that the other graph does not have, by name."""
    nodes = [node for node in graph.all_nodes() if shared.get(str(node.name)) is not node]
    return {str(value.name): value for node in nodes for value in node.outputs if value.name}


def _by_name(graph: ir.Graph) -> dict[str, ir.Node]:
    count = Counter(str(node.name) for node in graph.all_nodes())
    return {str(node.name): node for node in graph.all_nodes() if count[str(node.name)] == 1}


def _kind(node: ir.Node) -> tuple[str, str, str, int]:
    return node.domain, node.op_type, node.overload, len(graphs_of(node))


def _places_of_bodies(shared: dict[str, ir.Node]) -> dict[ir.Value, SharedPlace]:
    """Where what enters bodies of nodes that both graphs have comes from."""
    return {
        value: ("body", f"{name}/{k}", place)
        for name, node in shared.items()
        for k, body in enumerate(graphs_of(node))
        for place, value in enumerate(body.inputs)
    }


@dataclass
class _Side:
    """One of the two graphs.

    Attributes:
        shared: nodes that the other has, too, by name.
        rewritten: values by name that other nodes make in the other graph.
        bodies: places of what enters bodies of shared nodes.
        equal: values that equal nodes make of the same values.
    """

    shared: dict[str, ir.Node]
    rewritten: dict[str, ir.Value]
    bodies: dict[ir.Value, SharedPlace]
    equal: dict[ir.Value, list[ir.Value]]

    def place(self, value: ir.Value) -> SharedPlace | None:
        """Where a value comes from, if the other graph has that, too."""
        node = value.producer()
        if node is None:
            return self.bodies.get(value, ("input", str(value.name), 0))
        if self.shared.get(str(node.name)) is node:
            return "node", str(node.name), value.index() or 0
        return ("value", str(value.name), 0) if self.rewritten.get(str(value.name)) is value else None

    def read_behind(self, value: ir.Value) -> set[SharedPlace]:
        """Places that the nodes read which make a value, through nodes that the other graph does not have."""
        return self._behind(value, through=_nothing)

    def reach(self, value: ir.Value) -> set[SharedPlace]:
        """The same and the value's own, and what only moves data, which preparing may do for each reader by itself."""
        return set(self.in_front(value)) | self._behind(value, through=_moves)

    def in_front(self, value: ir.Value) -> Iterator[SharedPlace]:
        """The places of a value and of those that what is gone from the other graph only passed on to it."""
        waiting, seen = [value], set[ir.Value]()
        while waiting:
            last = waiting.pop()
            if last in seen:
                continue
            seen.add(last)
            yield from (place for twin in self._equal(last) if (place := self.place(twin)) is not None)
            node = last.producer()
            if node is None:
                continue
            if may_pass_on(node):
                waiting += [v for v in (node.inputs if joins(node) else node.inputs[:1]) if v is not None]
            elif self.shared.get(str(node.name)) is not node and _may_hand_on(node):
                waiting += _all_read(node)

    def _behind(self, value: ir.Value, through: Callable[[ir.Node], bool]) -> set[SharedPlace]:
        """Where a value comes from: in front of nodes that make it and are gone, or are gone through all the same."""
        waiting, seen, found = [value], set[ir.Value](), set[SharedPlace]()
        while waiting:
            last = waiting.pop()
            if last in seen or initializer_of(last) is not None:
                continue
            seen.add(last)
            node = last.producer()
            if last is not value:
                found.update(place for twin in self._equal(last) if (place := self.place(twin)) is not None)
            if node is not None and (last is value or self.place(last) is None or through(node)):
                waiting += _all_read(node)
        return found

    def _equal(self, value: ir.Value) -> list[ir.Value]:
        """The value, and others that equal nodes make of the same."""
        return self.equal.get(value, [value])


def _may_hand_on(node: ir.Node) -> bool:
    """May a node that was taken apart have given what it reads: a branch, a sequence or a function?"""
    return has_graph(node) or not is_standard(node) or handles_sequences(node)


def _nothing(_: ir.Node) -> bool:
    return False


def _moves(node: ir.Node) -> bool:
    return only_moves(node) or may_pass_on(node) or handles_sequences(node)


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
        first = node.inputs[0] if node.inputs else None
        if may_pass_on(node) and first is not None and len(given_inputs(node)) == 1:
            numbers[node.outputs[0]] = _number(first, numbers, known)
            continue
        reads = tuple(None if v is None else _number(v, numbers, known) for v in node.inputs)
        settings = tuple(sorted((name, told(attribute)) for name, attribute in node.attributes.items()))
        for place, value in enumerate(node.outputs):
            numbers[value] = known.setdefault((_kind(node), reads, settings, place), len(known))
            groups.setdefault(numbers[value], []).append(value)
    return {value: group for group in groups.values() if len(group) > 1 for value in group}


def _number(value: ir.Value, numbers: dict[ir.Value, int], known: dict[object, int]) -> int:
    if value not in numbers:
        numbers[value] = known.setdefault(value, len(known))
    return numbers[value]
