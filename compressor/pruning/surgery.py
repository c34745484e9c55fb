"""The one knife: the only place where weights are sliced. ``remove`` makes tensors smaller, ``mask`` zeroes them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import Cut, Mask
from compressor.channels.fills import drop_copies
from compressor.channels.verify import blamed, recheck
from compressor.graph.evaluate import Array
from compressor.operators.operator import Rules
from compressor.operators.reference import Reference
from compressor.operators.repair import Repairer


def remove(model: ir.Model, cut: Cut, rules: Rules) -> None:
    """Removes what ``cut`` says from the analysed ``model``, in place: weights, attributes, shapes, annotations.

    Raises:
        RuleFault: a rule cannot repair its node, or the shapes that follow are not those that were planned; the model
            is spoilt then, and has to be analysed again without that rule.
    """
    repairer = Repairer(cut)
    graph = model.graph
    nodes = set(graph)
    shapes = {v: repairer.after(v) for v in _values(graph) if cut.touches(v)}
    moved = [n for n in graph if any(_is_moved(v, cut) for v in n.outputs)]
    for node in list(graph):
        rule = rules.get((node.domain, node.op_type))
        if node in moved or rule is None or node in cut.coupling.opaque:
            continue
        if _touched(node, cut):
            with blamed(node):
                rule.repair(node, repairer)
    for value in [v for n in moved for v in n.outputs if v in shapes]:
        shapes[repairer.take_from_front(value, cut.coupling.fills.moved_by)] = shapes.pop(value)
    for value, shape in shapes.items():
        if value.is_initializer() and value.const_value is not None:
            if value.is_graph_input():
                graph.inputs.remove(value)  # a default that the caller could override; its old shape is gone
            array = compact(value.const_value.numpy(), cut, value)
            value.const_value = ir.tensor(array, name=value.name)
        if value.shape is not None:
            dims = [_dim(old, *sizes) for old, *sizes in zip(value.shape, cut.before(value), shape, strict=True)]
            value.shape = ir.Shape(dims)
    drop_copies(graph)
    recheck(model, cut.coupling, shapes, nodes)


def _is_moved(value: ir.Value, cut: Cut) -> bool:
    """Of a value that holds one number and loses some: is it moved about, or made by moving one, so that its producer
    has to go on making all of it?"""
    producer, fills = value.producer(), cut.coupling.fills
    if value not in fills or not cut.touches(value):
        return False
    made_by_moving = producer is not None and fills.moved_by(producer)
    return made_by_moving or any(fills.moved_by(user) for user, _ in value.uses())


def _dim(old: int | ir.SymbolicDim, before: int, after: int) -> int | str | None:
    """A dimension of an annotation: a symbol stays where nothing went, and is forgotten where it no longer holds."""
    if isinstance(old, int):
        return after
    return old.value if before == after else None


def compact(array: Array, cut: Cut, value: ir.Value) -> Array:
    """What stays of ``array``, in row-major order."""
    terms = cut.coupling.layout(value, settle=False)
    if any(len(t.axes) > 1 for t in terms):
        keep = cut.mask(value)
        return array if keep is None else array[np.broadcast_to(keep, array.shape)].reshape(cut.after(value))
    for axis in {t.axes[0] for t in terms}:
        array = np.compress(cut.keep(value, (axis,)), array, axis=axis)
    return np.ascontiguousarray(array) if array.ndim else array


def mask(model: ir.Model, cut: Cut, rules: Rules, *, thorough: bool = False) -> tuple[ir.Model, Reference]:
    """The masked reference: a clone of the analysed ``model`` in which what ``cut`` removes does not count.

    Kernels are zeroed; where activations meet without a weight, masks are put into the graph.
    """
    originals = {str(v.name): v for v in _values(model.graph)}
    clone = model.clone()
    for value in clone.graph.initializers.values():
        source = originals[str(value.name)]
        tensor = source.const_value
        keep = cut.mask(source) if tensor is not None and _is_kernel(source, rules) else None
        if keep is not None and tensor is not None:
            value.const_value = _zeroed(tensor, keep)
    reference = Reference(cut, clone.graph, originals, thorough=thorough)
    opaque = {n.name for n in cut.coupling.opaque}  # all that they touch stays, and their rules do not hold
    for node in list(clone.graph):
        rule = rules.get((node.domain, node.op_type))
        if rule is not None and node.name not in opaque:
            with blamed(node):
                rule.mask(node, reference)
    for value in [v for n in clone.graph for v in n.outputs]:
        value.shape = None
    return clone, reference


def _zeroed(tensor: ir.TensorProtocol, keep: Mask) -> ir.LazyTensor:
    """``tensor`` with removed positions zero; made only when it is written, so that it is never held twice."""

    def make() -> ir.TensorProtocol:
        array = tensor.numpy()
        return ir.tensor(np.where(keep, array, np.zeros((), array.dtype)), name=tensor.name)

    return ir.LazyTensor(make, dtype=tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=tensor.name)


def _is_kernel(value: ir.Value, rules: Rules) -> bool:
    """Is it contracted by a product? Scales, biases and tables stay as they are: a divisor of zero would spoil the
    reference, and what a removed channel adds is lost in the zeroed weight of its consumer."""
    users = [rules.get((n.domain, n.op_type)) for n, _ in value.uses()]
    return any(r is not None and r.multiplies for r in users)


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(v for n in graph for v in n.outputs)]


def _touched(node: ir.Node, cut: Cut) -> bool:
    return any(cut.touches(v) for v in [*node.inputs, *node.outputs] if v is not None)
