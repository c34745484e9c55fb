"""Operators that pick positions along an axis: label arrays are indexed as the data would be.

Sources: ONNX Split-18, Slice-13, Gather-13, GatherElements-13, GatherND-13, ScatterElements-18, ScatterND-18,
TensorScatter-24, Compress-11, ReverseSequence-10.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import onnx_ir as ir

from compressor.channels.combine import combine
from compressor.channels.coupling import Coupling, Layout, Unexplained
from compressor.channels.labels import Term, UnitArray
from compressor.channels.operands import Operand, Space
from compressor.graph.ir.opsets import stated
from compressor.operators.facts import Host
from compressor.operators.operator import Operator, attribute_axis, required
from compressor.operators.repair import SLICE_SETTINGS, Repairer
from compressor.operators.signature import Call


def uncut(node: ir.Node, coupling: Coupling, value: ir.Value, axes: set[int]) -> Layout:
    """The layout of ``value`` without ragged axes among ``axes``.

    A joint term that is cut along its ragged axis would lose other positions in every row. Either whole rows stay
    the choice (attention heads), or all rows lose the same positions.
    """
    for term in coupling.layout(value):
        if len(term.axes) > 1 and term.axes[-1] in axes:
            last = len(term.axes) - 1
            why = coupling.reason(node, value, term.axes, f"{node.op_type} cuts through it")
            coupling.units.merge_along(term.units, [last] if coupling.policy.heads else range(last), why)
    return coupling.layout(value)


def _pick(node: ir.Node, coupling: Coupling, value: ir.Value, positions: Mapping[int, UnitArray]) -> Layout:
    """Terms of ``value`` after positions were taken along some of its axes.

    Positions of an axis are int64 of any rank; a scalar drops the axis.
    """
    moved: Layout = []
    for term in uncut(node, coupling, value, set(positions)):
        units, axes = term.units, list(term.axes)
        # From the last dimension on: a scalar position takes its dimension away, and those before it keep their places.
        for dimension in range(len(axes) - 1, -1, -1):
            if axes[dimension] in positions:
                units = np.take(units, positions[axes[dimension]], axis=dimension)
        kept = [a for a in axes if a not in positions or positions[a].ndim]
        moved.append(Term(tuple(kept), units))
    return moved


# ---- Slice ---------------------------------------------------------------------------------------------------


def slice_positions(node: ir.Node, coupling: Coupling) -> dict[int, UnitArray] | None:
    """Axis -> positions that a Slice takes along it, int64[n]; None where bounds are computed at run time."""
    shape = coupling.shape(node.inputs[0])
    const = coupling.shapes.const
    starts, ends, axes, steps = (stated(node, name, coupling.opset, const) for name in SLICE_SETTINGS)
    # Where axes or steps are given, but not known, their default does not hold.
    if starts is None or ends is None or any(v is not None and const(v) is None for v in node.inputs[1:]):
        return None
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    return {
        axis % len(shape): slice_range(shape[axis], start, end, step)
        for axis, start, end, step in zip(*(a.tolist() for a in (axes, starts, ends, steps)), strict=True)
    }


def slice_range(size: int, start: int, end: int, step: int) -> UnitArray:
    """Positions that a Slice takes of an axis of ``size`` (ONNX Slice-13).

    Negative numbers count from the back. What is still out of range is clamped: forwards to ``[0, size]``, backwards
    the start to ``[0, size - 1]`` and the end to ``[-1, size - 1]``. Python differs: backwards from below the first
    position it takes nothing, where ONNX takes the first one.
    """
    start, end = (bound + size if bound < 0 else bound for bound in (start, end))
    lowest, start_limit, end_limit = (0, size - 1, -1) if step < 0 else (0, size, 0)
    start = min(max(start, lowest), start_limit)
    end = min(max(end, end_limit), size - 1 if step < 0 else size)
    return np.arange(start, end, step, dtype=np.int64)


def _slice(node: ir.Node, coupling: Coupling) -> None:
    value = required(node, 0)
    out, before = node.outputs[0], coupling.shape(value)
    after, dynamic, cut = coupling.shape(out), coupling.shapes.dynamic(value), coupling.shapes.dynamic(out)
    positions = slice_positions(node, coupling)
    if positions is None:
        # A size that varies, before or after, may be equal here and differ at another length.
        sizes = enumerate(zip(before, after, strict=True))
        changed = {a for a, (x, y) in sizes if x != y or dynamic[a] or cut[a]}
        coupling.label(out, coupling.restrict(node, value, changed, "Slice cuts it at run time"))
        return
    # A reversed axis has all positions too, but their order changes, so the first has to be 0.
    whole = {a for a, p in positions.items() if len(p) == before[a] and (p[:1] == 0).all()}
    # A whole axis is not cut, so a joint term along it stays as it is.
    ragged_free = {a: p for a, p in positions.items() if a not in whole}
    coupling.label(out, _pick(node, coupling, value, ragged_free))


def _repair_slice(node: ir.Node, repairer: Repairer) -> None:
    new = {
        axis: repairer.follow(node, axis, positions)
        for axis, positions in (slice_positions(node, repairer.coupling) or {}).items()
        if repairer.changed(node.inputs[0], axis) or repairer.changed(node.outputs[0], axis)
    }
    for axis, positions in new.items():
        repairer.slice_axis(node, axis, positions)


# ---- Split ---------------------------------------------------------------------------------------------------


def _split(node: ir.Node, coupling: Coupling) -> None:
    value = required(node, 0)
    axis = attribute_axis(node, len(coupling.shape(value)), 0)
    if any(coupling.shapes.dynamic(out)[axis] for out in node.outputs if out.name):
        terms = coupling.restrict(node, value, {axis}, "Split cuts it at run time")
        for out in node.outputs:
            coupling.label(out, terms)
        return
    start = 0
    for out in node.outputs:
        size = coupling.shape(out)[axis]
        positions = np.arange(start, start + size, dtype=np.int64)
        coupling.label(out, _pick(node, coupling, value, {axis: positions}))
        start += size


def _repair_split(node: ir.Node, repairer: Repairer) -> None:
    axis = attribute_axis(node, len(repairer.before(node.inputs[0])), 0)
    if not repairer.changed(node.inputs[0], axis):
        return
    sizes = [repairer.after(v)[axis] for v in node.outputs]
    # ONNX allows one of them, the number of outputs or their sizes.
    node.attributes.pop("num_outputs", None)
    repairer.state(node, "split", np.asarray(sizes, np.int64))


# ---- Gather --------------------------------------------------------------------------------------------------


def _gather(node: ir.Node, coupling: Coupling) -> None:
    value, indices = required(node, 0), required(node, 1)
    before, rank = coupling.shape(value), len(coupling.shape(indices))
    axis = attribute_axis(node, len(before), 0)
    index = coupling.shapes.const(indices)
    # Its entries name positions; they are rewritten, and none of them has channels.
    coupling.freeze(node, indices, None, "is an index of Gather")
    if index is None:
        terms = _embedding(node, coupling, value, axis)
    else:
        # Negative entries count from the back.
        terms = _pick(node, coupling, value, {axis: np.asarray(index, np.int64) % before[axis]})
        spread = {a: a for a in range(axis)} | {a: a + rank - 1 for a in range(axis + 1, len(before))}
        coupling.label(node.outputs[0], [_spread(t, axis, rank, spread) for t in terms])
        return
    coupling.label(
        node.outputs[0],
        [Term(tuple(a if a < axis else a + rank - 1 for a in t.axes), t.units) for t in terms],
    )


def _spread(term: Term[int], axis: int, rank: int, others: Mapping[int, int]) -> Term[int]:
    """Axes of a gathered term in the output: the gathered one becomes as many as the index has."""
    axes: list[int] = []
    for a in term.axes:
        axes += list(range(axis, axis + rank)) if a == axis else [others[a]]
    return Term(tuple(axes), term.units)


def _embedding(node: ir.Node, coupling: Coupling, value: ir.Value, axis: int) -> Layout:
    """Rows picked at run time: that axis stays; the other axes of a table hold its features."""
    deferred = coupling.deferred(value)
    if deferred is not None and not deferred.broadcast:
        for other in sorted(deferred.open - {axis}):
            deferred.roles.setdefault(other, "out")
    return coupling.restrict(node, value, {axis}, "Gather picks along it at run time")


def _repair_gather(node: ir.Node, repairer: Repairer) -> None:
    axis = attribute_axis(node, len(repairer.before(node.inputs[0])), 0)
    index = repairer.coupling.shapes.const(node.inputs[1])
    rank = len(repairer.before(node.inputs[1]))
    axes = range(axis, axis + rank)
    if index is None or not (
        repairer.changed(node.inputs[0], axis) or any(repairer.changed(node.outputs[0], a) for a in axes)
    ):
        return
    kept = repairer.keep(node.outputs[0], tuple(axes))
    # Which entries of the index stay is a matter of the output; where they point after the cut, of the input.
    old = np.asarray(index, np.int64) % repairer.before(node.inputs[0])[axis]
    new = repairer.renumber(node.inputs[0], axis)[old[kept]].reshape([repairer.after(node.outputs[0])[a] for a in axes])
    repairer.set_input(node, 1, new.astype(index.dtype))


# ---- element-wise and n-dimensional gathers and scatters -----------------------------------------------------


def _along(call: Call, made: int) -> str:
    """Index, data and updates run together along every axis but one; the output is like operand ``made``."""
    shape, axis = call.shape(0), call.axis(0)
    operands, shapes = [], [call.shape(k) for k in range(len(call.node.inputs))]
    # Where sizes differ, the index covers the first positions of the axis alone: another position would be first.
    whole = {a for a in range(len(shape)) if a == axis or any(sizes[a] != shape[a] for sizes in shapes)}
    for k in range(len(shapes)):
        operands.append(" ".join(f"[own{k}.{a}]" if a in whole else f"a{a}" for a in range(len(shape))))
    return f"{', '.join(operands)} -> {operands[made]}"


def _compress(call: Call) -> str:
    """Positions that a condition tells are taken along one axis, or else of the flattened input."""
    if call.node.attributes.get("axis") is None:
        raise Unexplained("picks of all axes at once")
    axis = call.axis(0)
    data, made = ([f"a{k}" if k != axis else f"[{name}]" for k in range(len(call.shape(0)))] for name in ("s", "p"))
    return f"{' '.join(data)}, [c] -> {' '.join(made)}"


def _reverse_sequence(call: Call) -> str:
    """Positions along the axis of time change places, up to a length for each entry of the batch."""
    batch, time = call.attribute("batch_axis", 1), call.attribute("time_axis", 0)
    data = " ".join(f"a{k}" if k != time else "[t]" for k in range(len(call.shape(0))))
    return f"{data}, a{batch} -> {data}"


def _tensor_scatter(call: Call) -> str:
    """Updates are written over the data from a position along one axis, which is given for each entry of the batch."""
    rank = len(call.shape(0))
    axis = call.attribute("axis", -2) % rank
    data, new = (" ".join(f"a{k}" if k != axis else f"[{own}]" for k in range(rank)) for own in ("s", "u"))
    return f"{data}, {new}, a0? -> {data}"


def _addressed(node: ir.Node, coupling: Coupling) -> int:
    """How many leading axes of the data an index tuple addresses; the index itself stays whole."""
    indices = required(node, 1)
    coupling.freeze(node, indices, None, f"is an index of {node.op_type}")
    return node.attributes.get_int("batch_dims", 0) + coupling.shape(indices)[-1]


def _gather_nd(node: ir.Node, coupling: Coupling) -> None:
    """The axes of the data that an index tuple addresses stay whole; the others are those of the output."""
    data, depth = required(node, 0), _addressed(node, coupling)
    terms = coupling.restrict(node, data, range(depth), "GatherND picks along it")
    # The addressed axes give way to those of the index but its last.
    shift = len(coupling.shape(node.inputs[1])) - 1 - depth
    coupling.label(node.outputs[0], [Term(tuple(a + shift for a in t.axes), t.units) for t in terms])


def _scatter_nd(node: ir.Node, coupling: Coupling) -> None:
    """The axes of the data that an index tuple addresses stay whole; the others run along with those of the updates."""
    data, depth = required(node, 0), _addressed(node, coupling)
    shape, index = coupling.shape(data), coupling.shape(node.inputs[1])
    # Zeros that are made at run time, and other constants, get their channels from the updates below.
    if coupling.deferred(data) is None:
        coupling.restrict(node, data, range(depth), "ScatterND writes along it")
    rest = [(f"a{a}",) for a in range(depth, len(shape))]
    updates = required(node, 2)
    names = [(f"d{a}",) for a in range(depth)] + rest
    others = [(f"i{a}",) for a in range(len(index) - 1)] + rest
    sizes = {n[0]: s for n, s in zip(names, shape, strict=True)}
    sizes |= {n[0]: s for n, s in zip(others, coupling.shape(updates), strict=True)}
    fixed = frozenset(n[0] for n in [*names, *others] if n not in rest)
    operands = [Operand(data, tuple(names)), Operand(updates, tuple(others))]
    space = Space({n: s for n, s in sizes.items() if s > 1}, fixed)
    combine(node, coupling, operands, [Operand(node.outputs[0], tuple(names))], space)


OPERATORS = (
    Operator("Slice", labels=_slice, repaired=_repair_slice, host=(1, 2, 3, 4), on_host=Host.ARITHMETIC),
    Operator("Split", labels=_split, repaired=_repair_split, host=(1,), on_host=Host.ARITHMETIC),
    Operator("Gather", labels=_gather, repaired=_repair_gather, on_host=Host.ARITHMETIC, tables={1: 0}),
    Operator("GatherElements", signature=partial(_along, made=1), on_host=Host.ARITHMETIC),
    Operator("ScatterElements", signature=partial(_along, made=0), on_host=Host.ARITHMETIC, overwrites=True),
    Operator("Scatter", signature=partial(_along, made=0), overwrites=True),
    Operator("TensorScatter", signature=_tensor_scatter, overwrites=True),
    Operator("Compress", signature=_compress),
    Operator("ReverseSequence", signature=_reverse_sequence),
    Operator("GatherND", labels=_gather_nd, on_host=Host.ARITHMETIC),
    Operator("ScatterND", labels=_scatter_nd, on_host=Host.ARITHMETIC, overwrites=True),
)
