"""Shapes inside the bodies of control flow, and of what comes out of them.

A body of Loop or Scan is walked with the shapes of its first iteration. Where an iteration makes another size of a
state than it got, that size varies: with symbolic sizes it becomes a symbol of its own, so that whatever depends on it
is known to vary too. What is inside keeps the numbers of the first iteration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from compressor.graph.ir.control_flow import BEFORE_STATE, Flow, Slices, sliced_shape
from compressor.graph.sizes.dims import Dim, Misfit, Size
from compressor.graph.sizes.shape_rules import DimShape

if TYPE_CHECKING:
    from compressor.graph.sizes.inference import Walker

TURNS = 3
"""How often a body runs where that is not known: a choice, as of any open size; 1 would look like a broadcast."""
BODY_ITERATIONS = 64
"""A larger limit is that of a loop that ends by its condition, and says nothing of how often it runs."""
BODY_WALKS = 8
"""Walks over a body until the sizes of its states vary no more; a body that takes longer has states without shape."""

PartShape = Sequence[Dim | None] | None
"""A shape of which some sizes are not known."""


def infer_bodies(node: ir.Node, flow: Flow, walker: Walker) -> None:
    """Walks the bodies of ``node`` and hands ``walker`` the shapes of its outputs.

    Raises:
        Misfit: no body fits; only where all sizes are numbers.
    """
    known = walker.known
    equations = dict(known.equations)
    _enter(flow, walker)
    for _ in range(BODY_WALKS):
        _walk(node, flow, walker)
        filled = _begun(flow, walker)
        if not (walker.symbolic and _widened(flow, walker)) and not filled:
            break
    else:
        # A body that makes its states larger in every round has no sizes that could be known.
        known.shapes.update(dict.fromkeys(state.inside for state in flow.states))
        _walk(node, flow, walker)
    known.equations = equations  # what a body asks of its sizes need not hold where it does not run
    count = iterations(node, flow, walker)
    for state in flow.states:
        _leave(walker, state.result, _same([state.before, state.after], walker), state.after)
    for choice in flow.choices:
        _leave(walker, choice.result, _same(choice.options, walker), choice.options[0])
    for stack in flow.stacked:
        shape = known.shapes.get(stack.slice)
        whole = None if shape is None else _with(shape, stack.axis, count)
        # How long a Scan reads follows from what it reads, and is no choice where that is not known yet.
        if shape is not None and not flow.read and walker.filled(stack.whole, whole) is None:
            whole = _with(shape, stack.axis, _most(node, walker))
        _leave(walker, stack.whole, whole, stack.slice)


def _enter(flow: Flow, walker: Walker) -> None:
    known = walker.known
    # ONNX Loop-21: a body's first inputs are the number of the iteration and the condition, both scalars.
    for value, dtype in zip(flow.counters, (ir.DataType.INT64, ir.DataType.BOOL), strict=False):
        known.shapes[value], known.dtypes[value] = (), dtype
        walker.assign_symbols(value)
    for condition in flow.counters[1:]:
        known.data[condition] = np.asarray(True)  # an iteration that is not wanted does not run
    for state in flow.states:
        known.shapes[state.inside] = known.shapes.get(state.before)
        known.dtypes[state.inside] = known.dtypes.get(state.before)
        if state.before in known.sequences:
            known.sequences[state.inside] = known.sequences[state.before]
        if state.before in known.empty:
            known.empty.add(state.inside)
        walker.assign_symbols(state.inside)
    for part in flow.read:
        shape = known.shapes.get(part.whole)
        known.shapes[part.slice] = None if not shape else _sizes(sliced_shape(shape, part.axis))
        known.dtypes[part.slice] = known.dtypes.get(part.whole)
        walker.assign_symbols(part.slice)
    for value in {v: None for body in flow.bodies for v in body.initializers.values()}:
        tensor = value.const_value
        if tensor is not None:
            known.shapes[value] = tuple(int(d) for d in tensor.shape.numpy())
            known.dtypes[value] = tensor.dtype


def _sizes(shape: Iterable[object]) -> DimShape:
    return tuple(size for size in shape if isinstance(size, (int, Size)))


def _walk(node: ir.Node, flow: Flow, walker: Walker) -> None:
    known, problems = walker.known, []
    for body in flow.bodies:
        for inner in body.all_nodes():
            # What an earlier round found need not hold with wider states.
            known.fixed.discard(inner)
            for value in inner.outputs:
                known.data.pop(value, None)
        problems.append(_walk_body(body, walker))
    # One body that fits is enough, since the others may never run.
    if all(problem is not None for problem in problems):
        raise Misfit(f"in a body of node {node.name!r} ({node.op_type}): {problems[0]}")


def _walk_body(body: ir.Graph, walker: Walker) -> str | None:
    """Visits every node; the first reason why one does not fit."""
    problem = None
    for inner in body:
        try:
            walker.visit(inner)
        except Misfit as misfit:
            problem = problem or str(misfit)
            walker.misfits[inner] = str(misfit)
            walker.known.shapes.update(dict.fromkeys(inner.outputs))
    return problem


def _begun(flow: Flow, walker: Walker) -> bool:
    """Gives sequences that start without elements those that an iteration puts in; returns whether there were any."""
    known, changed = walker.known, False
    for state in flow.states:
        shape = known.shapes.get(state.after)
        if state.inside in known.empty and shape is not None:
            known.empty.discard(state.inside)
            known.shapes[state.inside] = shape
            changed = True
    return changed


def _widened(flow: Flow, walker: Walker) -> bool:
    """Gives sizes that an iteration changes a symbol; returns whether there were any."""
    known, changed = walker.known, False
    for state in flow.states:
        now, after = known.shapes.get(state.inside), known.shapes.get(state.after)
        if now is None or now == after or state.after in known.empty:
            continue
        wide: DimShape | None = None
        if after is not None and len(after) == len(now):
            wide = tuple(one if one == two else walker.fresh() for one, two in zip(now, after, strict=True))
            open_ = [isinstance(d, Size) for d in now]
            if all(one == two or was for one, two, was in zip(now, after, open_, strict=True)):
                continue  # these sizes are symbols already, which stand for any number
        known.shapes[state.inside] = wide
        changed = True
    return changed


def _same(values: Sequence[ir.Value], walker: Walker) -> PartShape:
    """The common shape of values of which one is the result; sizes that differ are not known."""
    shapes = [walker.known.shapes.get(value) for value in values]
    found = [shape for shape in shapes if shape is not None]
    if len(found) < len(shapes) or len({len(shape) for shape in found}) > 1:
        return None
    return [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*found, strict=True)]


def _with(shape: DimShape, axis: int, size: Dim | None) -> PartShape:
    found: list[Dim | None] = list(shape)
    found.insert(axis % (len(shape) + 1), size)
    return found


def _leave(walker: Walker, value: ir.Value, shape: PartShape, like: ir.Value) -> None:
    """Takes note of a result, which has the element type of a value inside."""
    known = walker.known
    # Of a sequence what is known is about its elements, and a declared shape would be taken for that of a tensor.
    if like in known.sequences:
        known.shapes[value], known.dtypes[value] = known.shapes.get(like), None
        known.sequences[value] = known.sequences[like]
        return
    full = walker.filled(value, shape)
    known.shapes[value], known.dtypes[value] = walker.resolve(value, full, known.dtypes.get(like))
    walker.assign_symbols(value)


def iterations(node: ir.Node, flow: Flow, walker: Walker) -> Dim | None:
    """How often a body runs, where that is known."""
    # A Scan runs once for each slice of what it reads, and has no condition.
    if flow.read:
        return _length(flow.read[0], walker)
    if not flow.conditions or node.inputs[0] is None:
        return None
    go = [*flow.conditions, *(v for v in node.inputs[1:BEFORE_STATE] if v is not None)]
    # The body has to say yes in every iteration, and the condition before the first one too.
    always = [data is not None and data.dtype.kind == "b" and bool(data.all()) for data in map(walker.data, go)]
    limit = walker.data(node.inputs[0])
    if not all(always) or limit is None or limit.size != 1:
        return None
    size = limit.ravel()[0]
    return size if isinstance(size, Size) else max(0, int(size))


def _most(node: ir.Node, walker: Walker) -> Dim:
    """How often a Loop may run, or a choice where that is not known either."""
    limit = None if node.inputs[0] is None else walker.data(node.inputs[0])
    count = 0 if limit is None or limit.size != 1 else int(limit.ravel()[0])
    # 0 would make an empty axis of what is stacked, which does not show how the graph goes on.
    return count if 1 <= count <= BODY_ITERATIONS else TURNS


def _length(part: Slices, walker: Walker) -> Dim | None:
    shape = walker.known.shapes.get(part.whole)
    return None if not shape else shape[part.axis]
