"""Integers that stand for real numbers, ``scale * (integer - zero point)``, as records say where the two are.

Sources: ONNX DequantizeLinear-21, QLinearConv-10, QLinearMatMul-21, ConvInteger-10, MatMulInteger-10, and ONNX
Runtime's operators of domain ``com.microsoft``.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.graph.ir.nodes import optional_input
from compressor.graph.sizes.known import initializer_of
from compressor.operators.facts import Grid
from compressor.operators.table import operator_of

GridNumbers = npt.NDArray[np.float32]


def grid_of(value: ir.Value) -> tuple[ir.Node, Grid] | None:
    """The first reader of ``value`` that takes it for numbers on a grid."""
    for node, index in value.uses():
        found = operator_of(node).grid.get(index)
        if found is not None:
            return node, found
    return None


def reals_each(value: ir.Value) -> float:
    """Parameters that one element of an initializer stands for: the definition of docs/measuring.md.

    One of floats and of integers on a grid; several of bytes that numbers of few bits are packed in; none of scales,
    zero points, shapes and indices.
    """
    tensor = value.const_value
    if tensor is None:
        return 0.0
    for node, index in value.uses():
        bits = operator_of(node).packed.get(index)
        if bits is not None and tensor.dtype.itemsize == 1:
            return 8 / node.attributes.get_int(bits, 4)
    real_numbers = tensor.dtype.is_floating_point() and not _is_scale(value)
    return float(real_numbers or grid_of(value) is not None)


def _is_scale(value: ir.Value) -> bool:
    """Do all that read a value take it for a scale?"""
    uses = value.uses()
    return bool(uses) and all(index in _scales(node) or _joins_scale(node, index) for node, index in uses)


def _joins_scale(node: ir.Node, index: int) -> bool:
    """Is an input multiplied with the scale of activations that are quantised as they come?"""
    if index not in operator_of(node).scale or len(node.inputs) != 2:
        return False
    other = node.inputs[1 - index]
    maker = None if other is None else other.producer()
    return maker is not None and maker.op_type == "DynamicQuantizeLinear" and other is maker.outputs[1]


def _scales(node: ir.Node) -> set[int | None]:
    record = operator_of(node)
    return {*record.scales, *(grid.scale for grid in record.grid.values())}


def weight_elements(values: Iterable[ir.Value]) -> int:
    """Parameters in these initializers."""
    return round(sum(v.const_value.size * reals_each(v) for v in values if v.const_value is not None))


def real(value: ir.Value, array: Array) -> Array:
    """The numbers that ``array``, data of ``value``, stands for; in float32 if they are on a grid.

    A scale or zero point that is only computed at run time counts as 1 or 0.
    """
    found = grid_of(value)
    if found is None or not array.size:
        return array
    node, grid = found
    numbers = array.astype(np.float32)
    for index, apply in ((grid.zero, np.subtract), (grid.scale, np.multiply)):
        other = optional_input(node, index)
        tensor = initializer_of(other) if other is not None else None
        if tensor is not None:
            numbers = apply(numbers, _spread(tensor.numpy().astype(np.float32), array.shape, grid.along(node)))
    return numbers


def _spread(entries: GridNumbers, shape: tuple[int, ...], axis: int) -> GridNumbers:
    """``entries`` in a form that broadcasts to ``shape``.

    There is one for all, one for each position along ``axis``, or one for each block there.
    """
    if prod(entries.shape) == 1:
        return entries.reshape(())
    axis %= len(shape)
    if entries.ndim == 1:
        return entries.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    if entries.shape[axis] in (1, shape[axis]):
        return entries
    # The last block may be shorter than the others.
    return np.repeat(entries, -(-shape[axis] // entries.shape[axis]), axis=axis).take(range(shape[axis]), axis=axis)
