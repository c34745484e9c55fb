"""Operators that only move data: label arrays are moved by the same function as the data would be.

Sources: ONNX Reshape-21, Transpose-21, Flatten-21, Squeeze-21, Unsqueeze-21, Expand-13, Tile-13,
DepthToSpace-13, SpaceToDepth-13.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import ELEMENT_LIMIT, Coupling, Layout, Unexplained
from compressor.channels.labels import Term, ordered
from compressor.graph.ir.nodes import optional_input
from compressor.operators.facts import Host
from compressor.operators.operator import Operator, required
from compressor.operators.repair import Repairer
from compressor.operators.signature import Call, Shape

ReshapeSegment = tuple[list[int], list[int]]
"""Axes before and axes after a reshape that hold the same elements."""


@dataclass(frozen=True)
class _Reshaped:
    """Shapes before and after a reshape, and the runs of axes that hold the same elements."""

    before: Shape
    after: Shape
    segments: list[ReshapeSegment]


def segments(before: Shape, after: Shape) -> list[ReshapeSegment]:
    """Cuts two shapes of equal size into runs of axes with equal products, as short as possible."""
    found: list[ReshapeSegment] = []
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = [], []
        a = b = 1
        while True:
            # The smaller product grows, so that a run ends at the first place where both are equal.
            if i < len(before) and (a <= b or j >= len(after)):
                a *= before[i]
                left.append(i)
                i += 1
            elif j < len(after):
                b *= after[j]
                right.append(j)
                j += 1
            else:
                break
            if a == b and left and right:
                break
        found.append((left, right))
    return found


def _reshape(node: ir.Node, coupling: Coupling) -> None:
    value, out = required(node, 0), node.outputs[0]
    before, after = coupling.shape(value), coupling.shape(out)
    # Sizes of zero have equal products everywhere, so that no runs can be distinguished.
    if not prod(before):
        raise Unexplained("its input is empty")
    shapes = _Reshaped(before, after, segments(before, after))
    _repeats(node, coupling, value, shapes)
    moved: Layout = []
    for term in coupling.layout(value):
        new = _move(coupling, node, value, term, shapes)
        if new is not None and any(set(new.axes) & set(t.axes) for t in moved):
            why = coupling.reason(node, out, new.axes, "Reshape merges it with another independent axis")
            coupling.units.freeze(new.units, why)
        elif new is not None:
            moved.append(new)
    coupling.label(out, moved)
    _limit_dynamic(node, coupling, out)


def _repeats(node: ir.Node, coupling: Coupling, value: ir.Value, shapes: _Reshaped) -> None:
    """Copies that Reshape joins with what they are copies of: as many of each may go, whichever the users choose.

    Repeated heads of grouped queries are such: key/value heads that have to stay (a cache) leave the repeats free.
    Where what is copied has channels itself, all copies of one go with it, and nothing is done here.
    """
    deferred = coupling.deferred_labels.get(value)
    if deferred is None or not deferred.broadcast or coupling.needless(node.outputs[0]):
        return
    own = {a for t in coupling.layout(value, assign_fresh=False) for a in t.axes}
    before, after = shapes.before, shapes.after
    for left, right in shapes.segments:
        axes = [a for a in left if before[a] > 1]
        joined = [a for a in right if after[a] > 1]
        if len(joined) != 1 or not axes or axes[-1] not in deferred.open or own & set(axes):
            continue
        # The units made here lie along all of these axes, so none but the last may still be waiting for its user.
        if len(axes) > 1 and set(axes[:-1]) & deferred.open:
            continue
        # Units that belong to the output, so that every pass finds the same ones.
        units = coupling.hidden_units(node.outputs[0], after[joined[0]])
        deferred.open.discard(axes[-1])
        deferred.terms.append(Term(tuple(axes), units.reshape([before[a] for a in axes])))


def _move(
    coupling: Coupling,
    node: ir.Node,
    value: ir.Value,
    term: Term[int],
    shapes: _Reshaped,
) -> Term[int] | None:
    """``term`` after a row-major reshape: spread over every axis of the runs it touches, then reshaped."""
    before, after = shapes.before, shapes.after
    touched = [run for run in shapes.segments if set(run[0]) & set(term.axes)]
    axes = [a for left, _ in touched for a in left]
    if prod(before[a] for a in axes) > ELEMENT_LIMIT:
        coupling.units.freeze(term.units, coupling.reason(node, value, term.axes, "Reshape mixes too many positions"))
        return None
    # A reshape is row-major; a joint term in another order would no longer say which positions lie where.
    turned = ordered(coupling.units, term, axes, coupling.reason(node, value, term.axes, "order of a joint axis"))
    index = tuple(slice(None) if a in turned.axes else None for a in axes)
    full = np.broadcast_to(turned.units[index], [before[a] for a in axes])
    out_axes = [a for _, right in touched for a in right]
    return Term(tuple(out_axes), full.reshape([after[a] for a in out_axes]))


def _limit_dynamic(node: ir.Node, coupling: Coupling, out: ir.Value) -> None:
    """Of sizes that both vary and lose channels, Reshape leaves one to run time (-1); the others have to be scaled."""
    dynamic = coupling.shapes.dynamic(out)
    both = [a for t in coupling.layout(out) for a in t.axes if dynamic[a]]
    if not both or node.op_type != "Reshape":
        return
    # ONNX allows one -1 in the target, so that any other of these axes has to lose the same share at every size.
    for axis in _written(node, coupling, both):
        count = coupling.shapes.factor(out, axis)
        if not all(_even(term, axis, count) for term in coupling.layout(out) if axis in term.axes):
            coupling.restrict(
                node, out, {axis}, "its size depends on the input, and another size of this Reshape does too"
            )
    # What was restricted merged labels, and the output gets what they have become.
    coupling.label(out, coupling.layout(out))


def _written(node: ir.Node, coupling: Coupling, axes: Sequence[int]) -> list[int]:
    """Those of ``axes`` of a Reshape whose size has to be written, as another one is left to run time."""
    asked = optional_input(node, 1)
    target = None if asked is None else coupling.shapes.sample(asked)
    left = [] if target is None else np.flatnonzero(np.ravel(target) == -1).tolist()
    open_axis = (left or list(axes))[:1]
    return [axis for axis in axes if axis not in open_axis]


def _repair_reshape(node: ir.Node, repairer: Repairer) -> None:
    written = _written(node, repairer.coupling, repairer.varying(node.outputs[0]))
    repairer.scale_shape(node, 1, written)
    repairer.set_shape(node, 1, scaled=written)


def _transpose(node: ir.Node, coupling: Coupling) -> None:
    rank = len(coupling.shape(node.inputs[0]))
    # ONNX's default turns the axes around.
    perm = list(node.attributes.get_ints("perm", ())) or list(range(rank))[::-1]
    moved: Layout = []
    for term in coupling.layout(node.inputs[0]):
        why = coupling.reason(node, node.inputs[0], term.axes, "Transpose changes the order of a joint axis")
        turned = ordered(coupling.units, term, perm, why)
        moved.append(Term(tuple(perm.index(a) for a in turned.axes), turned.units))
    coupling.label(node.outputs[0], moved)


def _expand(node: ir.Node, coupling: Coupling) -> None:
    """Expanded axes are broadcast: they hold copies, so they take on the labels of whoever uses them."""
    value, out = node.inputs[0], node.outputs[0]
    before, after = coupling.shape(value), coupling.shape(out)
    lead = len(after) - len(before)
    own = [Term(tuple(a + lead for a in t.axes), t.units) for t in coupling.layout(value)]
    # Axes that are new, or 1 before; ONNX's Expand leaves all others as they are.
    grown = {k for k, size in enumerate(after) if size > 1 and (k < lead or before[k - lead] == 1)}
    for term in coupling.broadcast_copy(out, grown):
        # The part of a user's term that lies on axes which the input itself has.
        stays = tuple(a for a in term.axes if a not in grown)
        met = next((t for t in own if set(t.axes) & set(stays)), None)
        why = coupling.reason(node, out, term.axes, "Expand copies something that cannot follow")
        if met is not None and met.axes == term.axes:
            coupling.units.union(met.units, term.units, why)
        elif met is not None or stays != term.axes[: len(stays)] or stays == term.axes:
            coupling.units.freeze(term.units, why)
    # Asked for again, because the unions above may have changed or frozen what was taken on.
    taken = {a for t in coupling.broadcast_copy(out, grown) for a in t.axes}
    coupling.label(out, [t for t in own if not set(t.axes) & taken])
    dynamic = {a for a, varies in enumerate(coupling.shapes.dynamic(out)) if varies}
    coupling.deferred_labels[out].open -= {a for a in dynamic if coupling.shapes.factor(out, a) == 1}
    for term in coupling.layout(out, assign_fresh=False):
        uneven = {a for a in dynamic if a in term.axes and not _even(term, a, coupling.shapes.factor(out, a))}
        coupling.pin(node, out, term, uneven, "its size depends on the input, and Expand has to name it")


def _even(term: Term[int], axis: int, count: int) -> bool:
    """Is ``axis`` made of equal parts of ``count`` positions, or of ``count`` positions repeated one after the other?

    Then the same share of it goes whatever its size is, a multiple of ``count``: heads beside an open batch, say.
    """
    units = np.moveaxis(term.units, term.axes.index(axis), 0)
    parts = units.reshape(-1, count, *units.shape[1:])
    repeated = units.reshape(count, -1, *units.shape[1:])
    return bool((parts == parts[:1]).all() or (repeated == repeated[:, :1]).all())


def _repair_expand(node: ir.Node, repairer: Repairer) -> None:
    # There is no -1 that leaves a size to run time.
    varying = repairer.varying(node.outputs[0])
    repairer.scale_shape(node, 1, varying)
    repairer.set_shape(node, 1, scaled=varying)


def _tile(node: ir.Node, coupling: Coupling) -> None:
    value, out = required(node, 0), node.outputs[0]
    before, after = coupling.shape(value), coupling.shape(out)
    moved: Layout = []
    for term in coupling.layout(value):
        repeats = [after[a] // before[a] for a in term.axes]
        # Repeated rows of a joint term would be rows that always agree, so it is merged first and the node is begun
        # again.
        if max(repeats) > 1 and len(term.axes) > 1:
            grown = [a for a, r in zip(term.axes, repeats, strict=True) if r > 1]
            coupling.restrict(node, value, grown, "Tile repeats it")
            return _tile(node, coupling)
        moved.append(Term(term.axes, np.tile(term.units, repeats)))
    coupling.label(out, moved)
    return None


def _depth_to_space(call: Call) -> str:
    first = call.node.attributes.get_string("mode", "DCR") == "CRD"
    return f"n ({'c [x] [y]' if first else '[x] [y] c'}) [h] [w] -> n c [p] [q]"


BLOCK_SIZES = MappingProxyType({"x": "blocksize", "y": "blocksize"})

OPERATORS = (
    Operator("Reshape", labels=_reshape, repaired=_repair_reshape, host=(1,), on_host=Host.ARITHMETIC),
    Operator("Flatten", labels=_reshape, on_host=Host.ARITHMETIC),
    *(Operator(n, labels=_reshape, host=(1,), on_host=Host.ARITHMETIC) for n in ("Squeeze", "Unsqueeze")),
    Operator("Transpose", labels=_transpose, on_host=Host.ARITHMETIC),
    Operator("Expand", labels=_expand, repaired=_repair_expand, host=(1,), on_host=Host.GROWS, spreads=True),
    Operator("Tile", labels=_tile, host=(1,), on_host=Host.GROWS),
    Operator("DepthToSpace", signature=_depth_to_space, sizes=BLOCK_SIZES),
    Operator("SpaceToDepth", signature="n c [h] [w] -> n (x y c) [p] [q]", sizes=BLOCK_SIZES),
)
