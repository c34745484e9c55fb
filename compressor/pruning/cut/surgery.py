"""The one knife of channels: ``remove`` makes tensors smaller by a cut, ``mask`` zeroes the same positions.

Weights are sliced by :mod:`compressor.graph.tensors.weights`, here and wherever else one becomes smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.fills import drop_copies
from compressor.channels.verify import recheck, rule_errors
from compressor.core.arrays import Array, Mask
from compressor.graph.ir.captures import values_of
from compressor.graph.ir.nodes import dims_of
from compressor.graph.tensors.weights import DerivedTensor, KeptEntries, is_large, row_mask
from compressor.operators.recurrence import W
from compressor.operators.reference import Reference
from compressor.operators.repair import Repairer
from compressor.operators.table import operator_of
from compressor.pruning.cut.depth import silence, take_out
from compressor.pruning.cut.freed import declare_anew


def remove(model: ir.Model, cut: ChannelMask) -> None:
    """Removes what ``cut`` says from the analysed ``model``, in place: weights, attributes, shapes, annotations.

    Raises:
        RuleFault: a rule cannot repair its node, or the shapes that follow are not those that were planned; the model
            is spoilt then, and has to be analysed again without that rule.
    """
    # Shapes after the cut are all worked out first, since repairs edit the graph that they are read from.
    repairer = Repairer(cut)
    graph = model.graph
    nodes = set(graph.all_nodes())
    shapes = {v: repairer.after(v) for v in values_of(graph) if cut.touches(v)}
    # Those keep their size, and each user takes as many positions as it needs from the front (channels/fills.py).
    moved = [n for n in graph.all_nodes() if any(_is_moved(v, cut) for v in n.outputs)]
    for node in list(graph.all_nodes()):
        if node not in moved and node not in cut.coupling.opaque and _touched(node, cut):
            with rule_errors(node):
                operator_of(node).repair(node, repairer)
    # After the repairs, as this puts nodes between the value and its users.
    for value in [v for n in moved for v in n.outputs if v in shapes]:
        shapes[repairer.take_from_front(value, cut.coupling.fills.moved_by)] = shapes.pop(value)
    # Weights of a large model are sliced when they are written, so that they are never all in memory.
    large = is_large(graph)
    for value, shape in shapes.items():
        if value.is_initializer() and value.const_value is not None:
            if value.is_graph_input():
                graph.inputs.remove(value)  # a default that the caller could override; its old shape is gone
            value.const_value = _cut(value, value.const_value, cut, shape, lazily=large)
        if value.is_initializer():
            value.shape = ir.Shape(shape)
        elif value.shape is not None and len(value.shape) != len(shape):
            value.shape = None  # the file said something else than is so
        elif value.shape is not None:
            dims = [_dim(old, *sizes) for old, *sizes in zip(value.shape, cut.before(value), shape, strict=True)]
            value.shape = ir.Shape(dims)
    take_out(cut, graph)
    # Copies were made for the coupling alone (channels/fills.py), and recheck infers the graph as it will be written.
    drop_copies(graph)
    recheck(model, cut.coupling, shapes, nodes)


def _is_moved(value: ir.Value, cut: ChannelMask) -> bool:
    """Of a value that holds one number and loses some: is it moved about, or made by moving one, so that its producer
    has to go on making all of it?"""
    producer, fills = value.producer(), cut.coupling.fills
    if value not in fills or not cut.touches(value):
        return False
    made_by_moving = producer is not None and fills.moved_by(producer)
    return made_by_moving or any(fills.moved_by(user) for user, _ in value.uses())


def _dim(old: int | ir.SymbolicDim, before: int, after: int) -> int | str | None:
    """A dimension of an annotation: a symbol stays where nothing went, and is forgotten where it no longer holds.

    A number that does not hold at the sizes probed is that of the exporter's example; it is forgotten too.
    """
    if isinstance(old, int):
        return after if old == before else None
    return old.value if before == after else None


def _cut(
    value: ir.Value, tensor: ir.TensorProtocol, cut: ChannelMask, shape: tuple[int, ...], *, lazily: bool
) -> ir.TensorProtocol:
    """What stays of the data of an initializer; with ``lazily``, made when it is read."""
    # Elements of less than a byte cannot be sliced by rows without unpacking them.
    if not lazily or tensor.dtype.bitwidth % 8:
        # Not ir.tensor, which asks of every array whether it is of some tensor's protocol.
        return ir.Tensor(compact(tensor.numpy(), cut, value), dtype=tensor.dtype, name=value.name)
    derived = DerivedTensor(tensor, kept_entries(cut, value), shape)
    derived.name = value.name
    return derived


def kept_entries(cut: ChannelMask, value: ir.Value) -> KeptEntries:
    """What stays of the weight ``value``; made from a cut once, and asked for any rows of it later."""
    terms = cut.coupling.layout(value, assign_fresh=False)
    # Rows of a joint term keep different positions, which one mask for each axis cannot say.
    if any(len(t.axes) > 1 for t in terms):
        return KeptEntries({}, cut.factors(value))
    axes = sorted({t.axes[0] for t in terms})
    kept = {axis: cut.keep(value, (axis,)) for axis in axes}
    return KeptEntries({axis: keep for axis, keep in kept.items() if not keep.all()})


def compact(array: Array, cut: ChannelMask, value: ir.Value) -> Array:
    """What stays of ``array``, the data of ``value``, in row-major order."""
    part = kept_entries(cut, value)
    left = part(array, 0)
    if part.factors:
        left = left.reshape(cut.after(value))
    # ascontiguousarray makes a scalar an array of one element.
    return np.ascontiguousarray(left) if left.ndim else left


def mask(model: ir.Model, cut: ChannelMask, *, thorough: bool = False) -> tuple[ir.Model, Reference]:
    """The masked reference: a clone of the analysed ``model`` in which what ``cut`` removes does not count.

    Kernels are zeroed; where activations meet without a weight, masks are put into the graph.

    Args:
        model: analysed; not changed.
        cut: what goes.
        thorough: masks values also where zeroed kernels would do, for models that hold infinities.

    Returns:
        The reference, and what was put into it.

    Raises:
        RuleFault: a rule cannot mask its node.
    """
    # Cuts speak of values of the analysed model, while the clone is what is edited; names tie them together.
    originals = {str(v.name): v for v in values_of(model.graph)}
    clone = model.clone()
    for value in clone.graph.initializers.values():
        source = originals[str(value.name)]
        tensor = source.const_value
        # Kernels only; biases and scales keep their numbers (docs/decisions/0007).
        kernel = tensor is not None and _is_kernel(source) and not (thorough and _meets_masked_data(source))
        factors = cut.factors(source) if kernel else []
        if factors and tensor is not None:
            value.const_value = _zeroed(tensor, factors)
    reference = Reference(cut, clone.graph, originals, thorough=thorough)
    opaque = {n.name for n in cut.coupling.opaque}  # all that they touch stays, and their rules do not hold
    for node in list(clone.graph.all_nodes()):
        if node.name not in opaque:
            with rule_errors(node):
                operator_of(node).mask(node, reference)
    silence(cut, reference)
    # Nothing keeps annotations true while masks are put in; without them the runtime infers shapes itself.
    for value in [v for n in clone.graph.all_nodes() for v in n.outputs]:
        if value.is_graph_output() and value not in clone.graph.outputs:
            continue  # ONNX Runtime asks for the shapes of what a body returns
        value.shape = None
    # Last, as it renames inputs and outputs that masks are found by.
    declare_anew(clone.graph, cut, originals, cut.coupling.policy.free)
    return clone, reference


def _zeroed(tensor: ir.TensorProtocol, factors: Sequence[Mask]) -> DerivedTensor:
    """``tensor`` with removed positions zero; made only when it is written, so that it is never held twice."""

    def part(array: Array, first: int) -> Array:
        return np.where(row_mask(factors, first, len(array)), array, np.zeros((), array.dtype)) if array.ndim else array

    return DerivedTensor(tensor, part, dims_of(tensor))


def _is_kernel(value: ir.Value) -> bool:
    """Is it contracted by a product? Scales, biases and tables stay as they are: a divisor of zero would spoil the
    reference, and what a removed channel adds is lost in the zeroed weight of its consumer."""
    return any(operator_of(n).multiplies for n, _ in value.uses())


def _meets_masked_data(value: ir.Value) -> bool:
    """Is it read by recurrent layers alone, as what multiplies their data? A thorough reference masks these data, and
    zeros in the rows of hidden units that go would make no number of infinite data that stay."""
    return all(index == W and operator_of(node).products is not None for node, index in value.uses())


def _touched(node: ir.Node, cut: ChannelMask) -> bool:
    return any(cut.touches(v) for v in [*node.inputs, *node.outputs] if v is not None)
