"""Operators that look at neighbouring channels: the place of a channel counts, and yet channels may go.

A kernel that slides over channels (efficient channel attention, a convolution of a transposed image) and a
normalisation by the channels beside each (LRN) need every position of that axis. Removed channels are put back as zeros
in front of such a node and taken out behind it: it computes what it did where they were masked, and all others are
spared them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.core.arrays import Array
from compressor.graph.ir.nodes import input_of
from compressor.graph.ir.opsets import node_of
from compressor.operators.constants import Constants
from compressor.operators.reference import Reference
from compressor.operators.repair import Repairer
from compressor.operators.signature import Call, NamedAxes


def depthwise_axes(call: Call) -> Sequence[int]:
    """Spatial axes of the first input that a convolution keeps as long as they are, if each filter sees one channel.

    Filters that mix channels cost as much whatever their spatial axes hold, so nothing would be gained there.
    """
    data, kernel, made = call.shape(0), call.shape(1), call.outputs[0]
    if made is None or kernel[1] != 1 or kernel[0] != data[1]:
        return ()
    return [axis for axis in range(2, len(data)) if data[axis] == made[axis] > 1 and kernel[axis] > 1]


def carry_places(node: ir.Node, coupling: Coupling, named: NamedAxes, axes: Sequence[int]) -> frozenset[str]:
    """Names the axes of the output as those of the data, in place, where channels lie along these ``axes``.

    Returns:
        The names of these axes, along which the order of channels counts.
    """
    if not axes:
        return frozenset()
    value, found = input_of(node, 0), set[str]()
    labelled = {a for term in coupling.layout(value, assign_fresh=False) for a in term.axes}
    for axis in labelled.intersection(axes):
        if coupling.shapes.dynamic(value)[axis]:
            continue
        named.outputs[0] = tuple(named.operands[0][axis] if a == axis else g for a, g in enumerate(named.outputs[0]))
        found.update(named.operands[0][axis])
    named.fixed -= found
    return frozenset(found)


def fill_gaps(node: ir.Node, axes: Sequence[int], repairer: Repairer) -> None:
    """Puts zeros where channels along ``axes`` went, and takes what comes of them out behind the node; in place.

    The node becomes the last Gather, so that its output is still that of the same name; a copy of it does its work.
    """
    value, made = input_of(node, 0), node.outputs[0]
    changed = [axis for axis in axes if repairer.changed(value, axis)]
    if not changed:
        return
    whole: ir.Value = value
    for axis in changed:
        whole = _with_zeros(node, whole, axis, repairer)
    inputs = [whole, *node.inputs[1:]]
    twin = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), name=f"{node.name}.whole")
    found = _put(node, twin, made.type, repairer)
    for axis in changed:
        kept = repairer.constant(f"{node.name}.kept{axis}", np.flatnonzero(repairer.keep(made, (axis,))))
        if axis != changed[-1]:
            gather = ir.node("Gather", [found, kept], attributes={"axis": axis}, name=f"{node.name}.part{axis}")
            found = _put(node, gather, made.type, repairer)
    node.op_type = "Gather"
    node.resize_inputs(2)
    node.replace_input_with(0, found)
    node.replace_input_with(1, kept)
    node.attributes.clear()
    node.attributes["axis"] = ir.AttrInt64("axis", changed[-1])


def _with_zeros(node: ir.Node, value: ir.Value, axis: int, repairer: Repairer) -> ir.Value:
    """``value`` with a zero at each removed position along ``axis``: one is added at the end, and put wherever one is
    missing."""
    source = input_of(node, 0)
    rank, kept = len(repairer.before(source)), repairer.keep(source, (axis,))
    pads = np.zeros(2 * rank, np.int64)
    pads[rank + axis] = 1

    def constant(name: str, array: Array) -> ir.Value:
        return repairer.constant(f"{node.name}.{name}{axis}", array)

    pad = node_of("Pad", value, {"pads": pads.tolist()}, repairer.coupling.opset, constant)
    pad.name = f"{node.name}.zero{axis}"
    places = np.where(kept, np.cumsum(kept) - 1, kept.sum())
    inputs = [_put(node, pad, source.type, repairer), constant("places", places)]
    gather = ir.node("Gather", inputs, attributes={"axis": axis}, name=f"{node.name}.spread{axis}")
    return _put(node, gather, source.type, repairer)


def _put(before: ir.Node, node: ir.Node, kind: ir.TypeProtocol | None, repairer: Repairer) -> ir.Value:
    node.name = repairer.unique(str(node.name))
    made = node.outputs[0]
    made.name, made.type = repairer.unique(f"{node.name}.out"), kind
    before.prepend(node)
    return made


def mask_beside(node: ir.Node, axes: Sequence[int], edited: Reference) -> bool:
    """Sets removed positions of the first input to zero where its neighbours look at them; whether there are any."""
    if not edited.varies(node.inputs[0], axes):
        return False
    edited.fill(node, 0, 0.0)
    return True


def learn_beside(node: ir.Node, axes: Sequence[int], constants: Constants) -> bool:
    """Channels that neighbours look at stay unless they are zero, as what is put back is; whether there are any.

    Nothing is known of the output: what comes of a zero is not zero.
    """
    if not axes:
        return False
    value = input_of(node, 0)
    terms = [t for t in constants.coupling.layout(value, assign_fresh=False) if set(t.axes) & set(axes)]
    for term in terms:
        constants.stay(term.units[constants.known(value, term.units) != 0])
    return bool(terms)
