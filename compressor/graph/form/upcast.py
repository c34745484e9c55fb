"""Copies of models in which every number, value and cast is a wider float: to train in, or to compute more exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from compressor.graph.form.normalise import normalise
from compressor.graph.ir.nodes import REALS, SHORT_REALS

TYPED = frozenset({"dtype", "output_dtype", "softmax_precision", "to"})
"""Attributes that hold an element type."""


def is_narrow(model: ir.Model) -> bool:
    """Does the model hold weights of 16 bits?"""
    return any(
        value.const_value is not None and value.const_value.dtype in SHORT_REALS
        for graph in model.graphs()
        for value in graph.initializers.values()
    ) or any(a.type == ir.AttributeType.TENSOR and a.as_tensor().dtype in SHORT_REALS for a in _attributes(model))


def widened(model: ir.Model, to: ir.DataType = ir.DataType.FLOAT) -> ir.Model:
    """A normalised copy in a wider float, under the same names; what is no narrower float stays.

    Values that the narrow model rounds are not rounded here.
    """
    # Normal form first: functions of a model could hold casts to 16 bits too.
    copy = normalise(model.clone())
    for graph in copy.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = _wide(value.const_value, to)
        for value in _values(graph):
            if isinstance(value.type, ir.TensorType) and _is_narrower(value.dtype, to):
                value.type = ir.TensorType(to)  # a new one: clones share theirs
    for node in copy.graph.all_nodes():
        for name, attribute in list(node.attributes.items()):
            node.attributes[name] = _widened(attribute, to)
    return copy


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _attributes(model: ir.Model) -> Iterator[ir.Attr]:
    for node in model.graph.all_nodes():
        yield from node.attributes.values()


def _widened(attribute: ir.Attr, to: ir.DataType) -> ir.Attr:
    if attribute.type == ir.AttributeType.TENSOR:
        return ir.AttrTensor(attribute.name, _wide(attribute.as_tensor(), to))
    # An integer names an element type only in these attributes.
    typed = attribute.type == ir.AttributeType.INT and attribute.name in TYPED and attribute.as_int() in REALS
    if typed and _is_narrower(ir.DataType(attribute.as_int()), to):
        return ir.AttrInt64(attribute.name, int(to))
    return attribute


def _wide(tensor: ir.TensorProtocol, to: ir.DataType) -> ir.TensorProtocol:
    if not _is_narrower(tensor.dtype, to):
        return tensor
    return ir.tensor(np.asarray(tensor.numpy()).astype(to.numpy()), name=tensor.name)


def _is_narrower(dtype: ir.DataType | None, to: ir.DataType) -> bool:
    return dtype in REALS and dtype.bitwidth < to.bitwidth
