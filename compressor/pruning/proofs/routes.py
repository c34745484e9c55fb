"""Every branch and every body takes part in the proof, whatever the inputs of the proof would have run.

Which branch an If takes and how often a Loop goes round is decided by numbers of the input, and seeded ones may never
ask for some. So the masked graph and the smaller model are also compared with these decisions made for both of them
alike: on one route the branches are chosen one way, on the next another, until each was on a route. Two graphs that
mean the same still mean the same when the same decision is taken from both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.core.compare import Tolerance
from compressor.errors import ModelError, tool_fault
from compressor.graph.ir.captures import captured_values, has_graph
from compressor.graph.ir.control_flow import Flow, flow_of
from compressor.graph.ir.nodes import optional_input, tensor_of
from compressor.pruning.proofs.outputs.evidence import Evidence, NotProved
from compressor.pruning.proofs.outputs.standard import Standard, with_tolerance
from compressor.pruning.proofs.runs.whole_or_pieces import runnable
from compressor.runtime.stored import Answers, Feed

ROUTES = 16
"""Routes that are tried at most; a graph of more branches than these reach is proved in part, and said so."""
ITERATIONS = 2
"""How often a Loop goes round on a route: the second iteration sees what the first one made."""
MOST_ITERATIONS = 1000
"""A number of iterations that the file fixes is left as it is up to here."""
NOT_REACHED = (
    "part of it may not have run in the proof: with its decisions made for it the model does not run on these inputs"
)
NO_NUMBER_THERE = (
    "part of it gave no finite number in the proof: with its decisions made for it no output that hangs on it has one "
    "on these inputs"
)

Branches = Mapping[str, bool]
"""Name of an If -> is it the first branch that is taken?"""


@dataclass(frozen=True)
class Route:
    """A way through the control flow of a graph.

    Attributes:
        branches: which branch each If takes; the others decide for themselves.
        loops: does every Loop go round?
    """

    branches: Branches = field(default_factory=dict)
    loops: bool = True


def routes(graph: ir.Graph) -> list[Route]:
    """Routes that lead through every branch of ``graph``, and through every body; none where it has no control flow."""
    if not flows(graph):
        return []
    listed: list[dict[str, bool]] = []
    for goal in (goal for place in _places(graph) for goal in place.goals):
        # Decisions that do not contradict each other share a route, so that few runs reach every branch.
        fitting = [r for r in listed if all(r.get(name, taken) == taken for name, taken in goal.items())]
        if fitting:
            fitting[0].update(goal)
        else:
            listed.append(dict(goal))
    # Without an If there are still Loops, whose bodies one route with no decisions reaches.
    return [Route(MappingProxyType(branches)) for branches in listed[:ROUTES]] or [Route()]


def flows(graph: ir.Graph) -> bool:
    """Has the graph control flow?"""
    return any(map(_decides, graph.all_nodes()))


def _decides(node: ir.Node) -> bool:
    flow = flow_of(node) if has_graph(node) else None
    return flow is not None and bool(flow.choices or flow.conditions)


@dataclass(frozen=True)
class _Place:
    """A node with control flow, and what leads there.

    Attributes:
        node: the node.
        top: the node of the graph itself that it is, or in whose bodies it lies.
        flow: what it does.
        above: decisions of the branches that it lies in.
        looped: it lies in the body of a Loop.
    """

    node: ir.Node
    top: ir.Node
    flow: Flow
    above: Branches
    looped: bool

    @property
    def goals(self) -> list[Branches]:
        """The decisions that lead into each branch."""
        return [{**self.above, str(self.node.name): first} for first in (True, False)] if self.flow.choices else []

    def reached(self, tried: Sequence[Route]) -> bool:
        """Did some of these routes take every branch of it, and go round in it?"""
        # On a route where Loops decide for themselves, none may have gone round.
        near = [route for route in tried if route.loops or not (self.looped or self.flow.conditions)]
        wanted = self.goals or [self.above]
        return all(any(goal.items() <= route.branches.items() for route in near) for goal in wanted)


def _places(
    graph: ir.Graph, above: Branches = MappingProxyType({}), *, looped: bool = False, top: ir.Node | None = None
) -> Iterator[_Place]:
    """Every node with control flow, those in bodies after the one that has the body."""
    for node in graph:
        flow = flow_of(node) if has_graph(node) else None
        if flow is None:
            continue
        place = _Place(node, top or node, flow, above, looped)
        yield place
        for number, body in enumerate(flow.bodies):
            # A branch inside a branch is reached only if the outer one is taken, so decisions add up on the way down.
            goal = place.goals[0 if number == 0 else 1] if flow.choices else above
            yield from _places(body, goal, looped=looped or bool(flow.conditions), top=place.top)


def on_route(model: ir.Model, route: Route) -> tuple[ir.Model, Feed]:
    """A copy of ``model`` that takes the decisions of a route as further inputs, and these inputs.

    They are no constants, so that no optimiser takes what is decided out of the graph: ONNX Runtime 1.31 crashes on
    some graphs when it inlines a branch.
    """
    # Names are shared by the masked graph and the smaller model, so one feed decides for both.
    decided = _Decided(model.clone(), {})
    for node in list(decided.model.graph.all_nodes()):
        flow = flow_of(node) if has_graph(node) else None
        if flow is not None and flow.choices and node.name in route.branches:
            decided.give(node, 0, np.asarray(route.branches[str(node.name)]))
        elif flow is not None and flow.conditions and route.loops:
            decided.go_round(node, flow)
    return decided.model, decided.feed


@dataclass(frozen=True)
class _Decided:
    """A model whose decisions become inputs, one by one.

    Attributes:
        model: is edited.
        feed: the decisions by name of input.
    """

    model: ir.Model
    feed: dict[str, Array]

    def go_round(self, node: ir.Node, flow: Flow) -> None:
        """Lets a Loop run as often as its limit says: that of the file if it is small, or else ``ITERATIONS``."""
        # A small fixed limit belongs to what the graph means, such as the length of an unrolled sequence.
        limit = tensor_of(node.inputs[0])
        if limit is None or int(limit.numpy().ravel()[0]) > MOST_ITERATIONS:
            self.give(node, 0, np.asarray(ITERATIONS, np.int64))
        # A Loop stops at its limit or when its condition is false; a condition that stays true leaves it to the limit.
        always = self.give(node, 1, np.asarray(True))
        for place, value in enumerate(flow.conditions):
            # An output of a body has to be made inside it, so an outer value is handed through an Identity.
            handed = ir.node("Identity", [always], name=f"{node.name}.always{place}")
            handed_on = handed.outputs[0]
            handed_on.name, handed_on.type, handed_on.shape = (
                f"{handed.name}.out",
                value.type,
                ir.Shape(always.shape or ()),
            )
            flow.bodies[0].append(handed)
            flow.bodies[0].outputs[place] = handed_on

    def give(self, node: ir.Node, index: int, decision: Array) -> ir.Value:
        """Makes input ``index`` of ``node`` an input of the model, which is fed with ``decision``."""
        given = optional_input(node, index)
        # ONNX allows a scalar or a tensor of one element here, and the body may declare either.
        rank = 0 if given is None or given.shape is None else len(given.shape)
        array = decision.reshape([1] * rank)
        kind = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        value = ir.Value(name=f"{node.name}.decided{index}", shape=ir.Shape(array.shape), type=kind)
        self.model.graph.inputs.append(value)
        # Trailing optional inputs may be missing altogether.
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, value)
        self.feed[str(value.name)] = array
        return value


@dataclass(frozen=True)
class Routed:
    """What the comparisons on all routes showed.

    Attributes:
        standards: route -> what the smaller model had to give there.
        shown: how near it came.
        missing: control flow of which a part did not run, or gave no number.
    """

    standards: Sequence[tuple[Route, Standard]]
    shown: Sequence[Evidence]
    missing: Sequence[NotProved]


@dataclass(frozen=True)
class ModelPair:
    """Two models that are to give the same.

    Attributes:
        reference: what is right.
        other: what was made of it.
    """

    reference: ir.Model
    other: ir.Model


def prove_routes(
    models: ModelPair,
    feeds: Sequence[Feed],
    tolerance: Tolerance,
    folder: Path,
    provider: str,
    *,
    ways: ir.Graph | None = None,
) -> Routed:
    """Compares two models on every route.

    Args:
        models: the masked graph and the smaller model, or others; neither is changed.
        feeds: inputs of the proof; on each route the first one that the masked graph takes is used.
        tolerance: error that is allowed.
        folder: where files may be put.
        provider: where they are run.
        ways: the graph whose routes are taken; None: the masked one. A route over a node that the masked graph does not
            have, or not once, is not taken.

    Raises:
        ProofFailed: the smaller model does not run where the masked graph does.
    """
    ways = models.reference.graph if ways is None else ways
    standards, shown = list[tuple[Route, Standard]](), list[Evidence]()
    planned = routes(ways)
    once = Counter(str(node.name) for node in models.reference.graph.all_nodes()) if planned else Counter[str]()
    for wanted in planned:
        if any(once[name] != 1 for name in wanted.branches):
            continue
        # Loops that are made to go round may run out of what they slice; then their own decisions are better than none.
        for route in (wanted, replace(wanted, loops=False)):
            expected = _runs(models.reference, route, feeds, folder, provider)
            if expected is None:
                continue
            actual = _runs(models.other, route, expected.runs.feeds, folder, provider)
            if actual is None:
                raise tool_fault("the smaller model does not run in every branch, as the original does")
            standard, held = with_tolerance(expected, actual, tolerance, models.reference)
            standards.append((route, standard))
            shown.append(Evidence.of(standard, held))
            if shown[-1].compared:
                break
    return Routed(standards, shown, list(_missing(ways, [route for route, _ in standards], shown)))


def _missing(ways: ir.Graph, ran: Sequence[Route], shown: Sequence[Evidence]) -> Iterator[NotProved]:
    """Control flow of which a part was on no route that ran, or on none where what hangs on it was compared."""
    for place in _places(ways):
        if not (place.flow.choices or place.flow.conditions):
            continue
        outputs = _outputs_behind(ways, place.top)
        compared = [route for route, one in zip(ran, shown, strict=True) if any(map(one.counts.get, outputs))]
        if not place.reached(compared):
            yield NotProved(str(place.node.name), NO_NUMBER_THERE if place.reached(ran) else NOT_REACHED)


def _outputs_behind(graph: ir.Graph, node: ir.Node) -> list[str]:
    """Names of outputs of a graph that depend on one of its nodes."""
    behind = set(node.outputs)
    for later in graph:
        read = [*later.inputs, *(captured_values(later) if has_graph(later) else ())]
        if not behind.isdisjoint(read):
            behind.update(later.outputs)
    return [str(value.name) for value in graph.outputs if value in behind]


def _runs(model: ir.Model, route: Route, feeds: Sequence[Feed], folder: Path, provider: str) -> Answers | None:
    """What the model gives on the first of the feeds that it takes; None where it takes none."""
    routed, decisions = on_route(model, route)
    try:
        return Answers.to_some(runnable(routed, folder, provider), [], [{**feed, **decisions} for feed in feeds])
    except ModelError:
        return None
