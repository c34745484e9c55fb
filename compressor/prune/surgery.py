"""The one knife: the only place where weights are sliced. ``remove`` makes tensors smaller, ``mask`` zeroes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compressor.channels.cut import Cut, Mask
from compressor.graph.shapes import Array, initializer_of
from compressor.ops.reference import Reference
from compressor.ops.repair import Repairer
from compressor.ops.rule import OpRule

Rules = Mapping[tuple[str, str], OpRule]


def remove(model: ir.Model, cut: Cut, rules: Rules) -> None:
    """Removes what ``cut`` says from the analysed ``model``, in place: weights, attributes, shapes, annotations."""
    repairer = Repairer(cut)
    graph = model.graph
    shapes = {v: repairer.after(v) for v in _values(graph) if cut.touches(v)}
    for node in list(graph):
        rule = rules.get((node.domain, node.op_type))
        if rule is not None and rule.repair is not None and _touched(node, cut):
            rule.repair(node, repairer)
    for value, shape in shapes.items():
        if value.is_initializer() and value.const_value is not None:
            array = compact(value.const_value.numpy(), cut, value)
            value.const_value = ir.tensor(array, name=value.name)
        if value.shape is not None:
            dims = [after if isinstance(old, int) else old for old, after in zip(value.shape, shape, strict=True)]
            value.shape = ir.Shape(dims)


def compact(array: Array, cut: Cut, value: ir.Value) -> Array:
    """What stays of ``array``, in row-major order."""
    shape = list(array.shape)
    plain = [t for t in cut.coupling.layout(value, settle=False) if len(t.axes) == 1]
    joint = [t for t in cut.coupling.layout(value, settle=False) if len(t.axes) > 1]
    if joint:
        # Ragged rows first, by one mask over the whole tensor; then rows by plain axes are gone with it.
        keep = cut.mask(value)
        if keep is None:
            return array
        after = cut.after(value)
        return array[np.broadcast_to(keep, shape)].reshape(after)
    for term in plain:
        array = np.compress(cut.keeps(term), array, axis=term.axes[0])
    return np.ascontiguousarray(array) if array.ndim else array


def mask(model: ir.Model, cut: Cut, rules: Rules) -> tuple[ir.Model, Reference]:
    """The masked reference: a clone of the analysed ``model`` in which what ``cut`` removes does not count.

    Kernels are zeroed; where activations meet without a weight, masks are put into the graph.
    """
    originals = {str(v.name): v for v in _values(model.graph)}
    clone = model.clone()
    for value in clone.graph.initializers.values():
        source = originals[str(value.name)]
        tensor = source.const_value
        keep = cut.mask(source) if tensor is not None and _is_kernel(source, cut, rules) else None
        if keep is not None and tensor is not None:
            value.const_value = _zeroed(tensor, keep, _zero_point(source))
    reference = Reference(cut, clone.graph, originals)
    for node in list(clone.graph):
        rule = rules.get((node.domain, node.op_type))
        if rule is not None and rule.masked is not None:
            rule.masked(node, reference)
    for value in [v for n in clone.graph for v in n.outputs]:
        value.shape = None
    return clone, reference


def _zeroed(tensor: ir.TensorProtocol, keep: Mask, zero: Array | int) -> ir.LazyTensor:
    """``tensor`` with removed positions zero; made only when it is written, so that it is never held twice."""

    def make() -> ir.TensorProtocol:
        array = tensor.numpy()
        return ir.tensor(np.where(keep, array, np.asarray(zero).astype(array.dtype)), name=tensor.name)

    return ir.LazyTensor(make, dtype=tensor.dtype, shape=ir.Shape(tensor.shape), name=tensor.name)


def _is_kernel(value: ir.Value, cut: Cut, rules: Rules) -> bool:
    """Does it hold filters, or does a product contract it? Scales, biases and tables stay as they are: a divisor
    of zero would spoil the reference, and what a removed channel adds is lost in the zeroed consumer."""
    lazy = cut.coupling.lazies.get(value)
    if lazy is not None and {"in", "out"} & set(lazy.roles.values()):
        return True
    users = [rules.get((n.domain, n.op_type)) for n, _ in value.uses()]
    return any(r is not None and r.macs is not None for r in users)


def _zero_point(value: ir.Value) -> Array | int:
    """What stands for zero in a quantised weight, shaped to broadcast against it."""
    for node, index in value.uses():
        if node.op_type == "DequantizeLinear" and index == 0 and len(node.inputs) > 2 and node.inputs[2] is not None:
            tensor = initializer_of(node.inputs[2])
            if tensor is not None and tensor.size == 1:
                return tensor.numpy().reshape(())
            if tensor is not None and value.shape is not None and len(tensor.shape) == 1:
                shape = [1] * len(value.shape)
                shape[node.attributes.get_int("axis", 1)] = -1
                return tensor.numpy().reshape(shape)
    return 0


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(v for n in graph for v in n.outputs)]


def _touched(node: ir.Node, cut: Cut) -> bool:
    return any(cut.touches(v) for v in [*node.inputs, *node.outputs] if v is not None)
