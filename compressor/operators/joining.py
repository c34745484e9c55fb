"""Operators that lay positions beside those that are there: of other values (Concat), or of one number (Pad).

Sources: ONNX Concat-13, Pad-21, CenterCropPad-18.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.channels.combine import combine
from compressor.channels.coupling import ELEMENT_LIMIT, Coupling, Layout, Unexplained
from compressor.channels.fills import holds_one_number
from compressor.channels.labels import FROZEN, Term, UnitArray
from compressor.channels.operands import Operand, Space
from compressor.graph.ir.nodes import optional_input
from compressor.graph.ir.opsets import stated
from compressor.operators import propagate
from compressor.operators.constants import Constants
from compressor.operators.facts import Host
from compressor.operators.indexing import uncut
from compressor.operators.operator import Operator, attribute_axis, required
from compressor.operators.repair import Repairer
from compressor.operators.signature import Call

EVERYTHING = slice(None)


# ---- Concat --------------------------------------------------------------------------------------------------


def concat(node: ir.Node, coupling: Coupling, operands: slice = EVERYTHING) -> None:
    """Joins ``operands`` among the inputs along ``axis``; the others are scalars."""
    values = [v for v in node.inputs[operands] if v is not None]
    shapes = [coupling.shape(v) for v in values]
    rank = len(shapes[0])
    axis = attribute_axis(node, rank, 0)
    sizes: dict[str, int] = {}
    joining = []
    for k, (value, shape) in enumerate(zip(values, shapes, strict=True)):
        names = [f"join{k}" if a == axis else f"a{a}" for a in range(rank)]
        sizes |= dict(zip(names, shape, strict=True))
        joining.append(Operand(value, tuple((n,) if sizes[n] else () for n in names)))  # none of an empty axis
        _bring_units(coupling, value, axis)
    combine(
        node,
        coupling,
        joining,
        [],
        Space({n: s for n, s in sizes.items() if s > 1}, rows=coupling.policy.heads),
    )
    layouts = [coupling.layout(v) for v in values]
    joined = [next((t for t in layout if axis in t.axes), None) for layout in layouts]
    # Terms that do not lie along the axis have been made the same in all operands above.
    terms = {t.axes: t for layout in layouts for t in layout if axis not in t.axes}
    axes = tuple(sorted({a for t in joined if t is not None for a in t.axes}))
    if axes:
        parts = [_fill(t, axes, shape) for t, shape in zip(joined, shapes, strict=True)]
        terms[axes] = Term(axes, np.concatenate(parts, axis=axes.index(axis)))
    coupling.label(node.outputs[0], terms.values())


def _bring_units(coupling: Coupling, value: ir.Value, axis: int) -> None:
    """Of one number, as in a first state of zeros, any positions may go: they have units of their own, as a border."""
    deferred = coupling.deferred(value)
    if deferred is None or axis not in deferred.open:
        return
    if deferred.broadcast or holds_one_number(coupling.shapes, value):
        deferred.terms.append(Term((axis,), coupling.fresh(value, axis)))
        deferred.roles[axis] = "affine"
        deferred.open.discard(axis)


def _fill(term: Term[int] | None, axes: tuple[int, ...], shape: tuple[int, ...]) -> UnitArray:
    """``term`` broadcast to ``axes``; frozen everywhere if there is none."""
    sizes = [shape[a] for a in axes]
    # Positions without labels stay whatever is removed around them.
    if term is None:
        return np.full(sizes, FROZEN, np.int64)
    index = tuple(slice(None) if a in term.axes else None for a in axes)
    return np.broadcast_to(term.units[index], sizes)


# ---- Pad -----------------------------------------------------------------------------------------------------


def _pads(node: ir.Node, coupling: Coupling) -> dict[int, tuple[int, int]] | None:
    """Axis -> positions added before and after; None where computed at run time."""
    rank = len(coupling.shape(node.inputs[0]))
    axes = list(range(rank))
    found = stated(node, "pads", coupling.opset, coupling.shapes.const)
    if found is None:
        return None
    pads = [int(p) for p in found]
    if optional_input(node, 3) is not None:
        axes = [int(a) % rank for a in coupling.const(node.inputs[3], "the list of axes")]
    return {a: (pads[k], pads[k + len(axes)]) for k, a in enumerate(axes)}


def _pad(node: ir.Node, coupling: Coupling) -> None:
    """Padding along a labelled axis is made of units of its own: constant positions that hold no weight."""
    value, out = required(node, 0), node.outputs[0]
    pads = _pads(node, coupling)
    before, after = coupling.shape(value), coupling.shape(out)
    if pads is None:
        changed = {a for a, (x, y) in enumerate(zip(before, after, strict=True)) if x != y}
        changed |= {a for a, dynamic in enumerate(coupling.shapes.dynamic(out)) if dynamic}
        coupling.label(out, coupling.restrict(node, value, changed, "Pad extends it at run time"))
        return
    grown = {a for a, pair in pads.items() if pair != (0, 0)}
    if any(after[a] > ELEMENT_LIMIT for a in grown):
        raise Unexplained(f"it pads to {list(after)}, and labels of at most {ELEMENT_LIMIT} positions are made")
    # A mirrored border repeats channels in an order that a cut would change; a negative pad takes channels away.
    if node.attributes.get_string("mode", "constant") != "constant" or any(min(p) < 0 for p in pads.values()):
        coupling.label(out, coupling.restrict(node, value, grown, "Pad mirrors or crops it"))
        return
    moved: Layout = []
    for term in uncut(node, coupling, value, grown):
        units = term.units
        for dimension, axis in enumerate(term.axes):
            if axis in grown:
                first, last = pads[axis]
                ring = coupling.fresh(out, axis)
                shape = [-1 if d == dimension else 1 for d in range(units.ndim)]
                sides = [np.broadcast_to(r.reshape(shape), _resized(units.shape, dimension, len(r)))
                         for r in (ring[:first], ring[len(ring) - last :])]  # fmt: skip
                units = np.concatenate([sides[0], units, sides[1]], axis=dimension)
        moved.append(Term(term.axes, units))
    coupling.label(out, moved)


def _resized(shape: tuple[int, ...], dimension: int, size: int) -> tuple[int, ...]:
    return (*shape[:dimension], size, *shape[dimension + 1 :])


def _fill_pad(node: ir.Node, constants: Constants) -> None:
    if node.attributes.get_string("mode", "constant") != "constant":
        propagate.carry(node, constants)
        return
    number = optional_input(node, 2)
    given = node.attributes.get_float("value", 0.0) if number is None else float(constants.scalar(number))
    propagate.pad(node, constants, given)


def _repair_pad(node: ir.Node, repairer: Repairer) -> None:
    pads = _pads(node, repairer.coupling)
    if pads is None:
        return
    new = dict(pads)
    # Pads count added positions, and only those that stay are added after the cut.
    for axis, (first, last) in pads.items():
        if repairer.changed(node.outputs[0], axis) and (first or last):
            kept = repairer.keep(node.outputs[0], (axis,))
            new[axis] = (int(kept[:first].sum()), int(kept[len(kept) - last :].sum()))
    if new == pads:
        return
    repairer.state(node, "pads", np.asarray([*new.values()], np.int64).T.ravel())


def _center_crop_pad(call: Call) -> str:
    """Crops or fills up the axes that the attribute names, all without it."""
    rank = len(call.shape(0))
    named = {axis % rank for axis in call.node.attributes.get_ints("axes", range(rank))}
    data, made = (" ".join(f"a{k}" if k not in named else f"[{own}{k}]" for k in range(rank)) for own in ("s", "p"))
    return f"{data}, [r] -> {made}"


OPERATORS = (
    Operator("Concat", labels=concat, on_host=Host.ARITHMETIC),
    Operator("Pad", labels=_pad, repaired=_repair_pad, constants=_fill_pad, host=(1, 2, 3), on_host=Host.ARITHMETIC),
    Operator("CenterCropPad", signature=_center_crop_pad, host=(1,)),
)
