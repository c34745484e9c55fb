"""Control flow (ONNX If-25, Loop-25, Scan-25): channels run through bodies as through any other nodes.

Weights inside a body and weights that it captures are pruned like those around it. The state that an iteration hands
on has the same channels in every iteration, the branches of an If agree on what they return, and a Scan neither takes
apart nor stacks along an axis that loses channels. An output that the caller of the model sees is reached as such.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from compressor.channels.combine import combine
from compressor.channels.coupling import Coupling, Unexplained
from compressor.channels.labels import Term
from compressor.channels.operands import Operand, Space
from compressor.graph.ir.control_flow import Flow, LoopState, Slices, flow_of
from compressor.operators.operator import Operator

STEP = "step"
"""The axis of a value along which iterations take or add slices."""


def _labels(node: ir.Node, coupling: Coupling) -> None:
    """Into the bodies, through them, and out again."""
    flow = flow_of(node)
    if flow is None:
        raise Unexplained("has a form that is not followed")
    _enter(node, coupling, flow)
    for body in flow.bodies:
        coupling.follow(body)
    # After the bodies, which make these values.
    for value in flow.conditions:
        coupling.freeze(node, value, None, "decides whether to go on")
    for state in flow.states:
        tie(node, coupling, (state.before, state.inside, state.after), state.result)
    for choice in flow.choices:
        tie(node, coupling, choice.options, choice.result)
    for stack in flow.stacked:
        pass_slices(node, coupling, stack, stack.slice, stack.whole)
    # Each tie leaves its own meeting at the node; the last would pass for that of all operands.
    coupling.node_operands.pop(node, None)


def _enter(node: ir.Node, coupling: Coupling, flow: Flow) -> None:
    own = {*(s.before for s in flow.states), *(s.whole for s in flow.read)}
    for value in node.inputs:
        if value is not None and value not in own:
            coupling.freeze(node, value, None, "decides what runs, and how often")
    for value in flow.counters:
        coupling.label(value, [])
    for state in flow.states:
        _start(coupling, state)
    for part in flow.read:
        pass_slices(node, coupling, part, part.whole, part.slice)


def _start(coupling: Coupling, state: LoopState) -> None:
    """The first iteration gets the channels of the first state.

    Where that is a constant or a copy whose axes nobody has spoken for, they bring channels of their own, which
    :func:`tie` then merges with those that an iteration makes and gives to the first state.
    """
    deferred, shape = coupling.deferred(state.before), coupling.shapes(state.inside)
    # An empty state has no positions to take labels from; what an iteration makes of it brings them.
    if shape is not None and coupling.shapes.empty(state.before):
        dynamic = coupling.shapes.dynamic(state.inside)
        axes = [a for a, size in enumerate(shape) if size > 1 and not dynamic[a]]
        coupling.label(state.inside, [Term((a,), coupling.fresh(state.inside, a)) for a in axes])
        return
    if shape is None or len(shape) != len(coupling.shapes(state.before) or ()):
        coupling.label(state.inside, [])
        return
    terms = coupling.layout(state.before, assign_fresh=False)
    if deferred is not None:
        dynamic = coupling.shapes.dynamic(state.inside)
        # What varies with the input cannot be a fixed number of channels.
        open_ = [a for a in sorted(deferred.open) if not dynamic[a]]
        terms = [*terms, *(Term((a,), coupling.fresh(state.inside, a)) for a in open_)]
    coupling.label(state.inside, terms)


def tie(node: ir.Node, coupling: Coupling, values: Sequence[ir.Value], result: ir.Value) -> None:
    """Position by position, ``values`` and ``result`` are the same; along an axis where sizes differ, all stays.

    Empty sequences have no positions, and say nothing.
    """
    values = [value for value in values if not coupling.shapes.empty(value)]
    every = (*values, result)
    found = [coupling.shapes(value) for value in every]
    shapes = [shape for shape in found if shape is not None]
    if len(shapes) < len(found) or len({len(shape) for shape in shapes}) > 1:
        for value in values:
            coupling.freeze(node, value, None, "is handed on by control flow, and its shape is not known")
        coupling.label(result, [])
        return
    sizes: dict[str, int] = {}
    fixed: set[str] = set()
    operands = []
    for k, (value, shape) in enumerate(zip(every, shapes, strict=True)):
        names = []
        for axis, size in enumerate(shape):
            differ = len({other[axis] for other in shapes}) > 1
            name = f"own{k}.{axis}" if differ else f"a{axis}"
            names.append(name)
            sizes[name] = size
            # Positions of axes of different sizes do not correspond, so nothing goes there.
            fixed |= {name} if differ else set()
        operands.append(Operand(value, tuple((n,) if sizes[n] > 1 else () for n in names)))
    space = Space({n: s for n, s in sizes.items() if s > 1}, fixed, coupling.policy.heads)
    combine(node, coupling, operands[:-1], operands[-1:], space)


def pass_slices(node: ir.Node, coupling: Coupling, part: Slices, given: ir.Value, made: ir.Value) -> None:
    """From a whole to its slices, or back: all axes but that of the iterations are the same."""
    whole, slice_ = (coupling.shapes(v) for v in (part.whole, part.slice))
    if whole is None or slice_ is None or len(whole) != len(slice_) + 1:
        coupling.freeze(node, given, None, "is taken apart or stacked by control flow, and its shape is not known")
        coupling.label(made, [])
        return
    names = [f"a{axis}" for axis in range(len(slice_))]
    sizes = dict(zip(names, slice_, strict=True))
    names.insert(part.axis % len(whole), STEP)
    sizes[STEP] = whole[part.axis]
    sizes = {n: s for n, s in sizes.items() if s > 1}
    operands = {
        part.whole: Operand(part.whole, tuple((n,) if n in sizes else () for n in names)),
        part.slice: Operand(part.slice, tuple((n,) if n in sizes else () for n in names if n != STEP)),
    }
    # Iterations take slices one by one, so none of them may be missing.
    combine(node, coupling, [operands[given]], [operands[made]], Space(sizes, {STEP}, coupling.policy.heads))


OPERATORS = (
    Operator("If", labels=_labels, host=(0,)),
    Operator("Loop", labels=_labels, host=(0, 1)),
    Operator("Scan", labels=_labels),
)
