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
from compressor.graph.ir.edit import constant_array
from compressor.graph.ir.nodes import input_of, optional_input
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


def beside_odd_scales(graph: ir.Graph) -> list[ir.Node]:
    """Makers and readers of what has a constant scale that no grid has, in the order of the graph.

    That is one that is not finite, or not positive; those of numbers packed in a byte have signs, and may be 0.
    """
    found: dict[ir.Node, None] = {}
    for node in graph.all_nodes():
        scales = [initializer_of(v) for v in (optional_input(node, k) for k in _scales(node) if k is not None) if v]
        signed = bool(operator_of(node).packed)
        if all(t is None or _fits(t.numpy(), signed=signed) for t in scales):
            continue
        made = [] if node.inputs[0] is None else [node.inputs[0].producer()]
        found |= dict.fromkeys(n for n in (node, *made, *(n for v in node.outputs for n, _ in v.uses())) if n)
    return list(found)


def _fits(scales: Array, *, signed: bool) -> bool:
    numbers = scales.astype(np.float32)
    return bool((np.isfinite(numbers) & (signed | (numbers > 0))).all())


def _scales(node: ir.Node) -> set[int | None]:
    record = operator_of(node)
    return {*record.scales, *(grid.scale for grid in record.grid.values())}


def weight_elements(values: Iterable[ir.Value]) -> int:
    """Parameters in these initializers."""
    return round(sum(v.const_value.size * reals_each(v) for v in values if v.const_value is not None))


def real(value: ir.Value, array: Array, coarser: GridNumbers | None = None) -> Array:
    """The numbers that ``array``, data of ``value``, stands for; in float32 if they are on a grid.

    A scale or zero point that is only computed at run time counts as 1 or 0; ``coarser`` multiplies the scale.
    """
    found = grid_of(value)
    if found is None or not array.size:
        return array
    numbers = array.astype(np.float32)
    for apply, setting in zip((np.subtract, np.multiply), _settings(*found, array.shape, coarser), strict=True):
        numbers = numbers if setting is None else apply(numbers, setting)
    return numbers


def codes_for(value: ir.Value, numbers: Array, coarser: GridNumbers | None = None) -> Array:
    """The integers of an initializer on a grid that come nearest to ``numbers``; ``coarser`` multiplies the scale."""
    held = constant_array(value)
    steps = _steps(value, numbers, coarser)
    return np.clip(np.rint(steps), *_limits(held)).astype(held.dtype)


def coarser_for(value: ir.Value, numbers: Array) -> GridNumbers:
    """By what the scale of an initializer on a grid has to be multiplied so that ``numbers`` fit: at least 1 each."""
    node, grid = _known_grid(value)
    scale = constant_array(input_of(node, grid.scale or 0)).astype(np.float32)
    zero = _settings(node, grid, numbers.shape)[0]
    zero = np.zeros((), np.float32) if zero is None else zero
    low, high = _limits(constant_array(value))
    steps = _steps(value, numbers) - zero.astype(np.float64)
    # Of each number the share of the way to the end of the grid on its side.
    needed = np.where(steps > 0, steps / np.maximum(high - zero, 1), steps / np.minimum(low - zero, -1))
    found = np.ones(scale.size)
    entry = _spread(np.arange(scale.size, dtype=np.float32).reshape(scale.shape), numbers.shape, grid.along(node))
    np.maximum.at(found, np.broadcast_to(entry, numbers.shape).astype(np.int64), needed)
    return found.reshape(scale.shape).astype(np.float32)


def _limits(held: Array) -> tuple[float, float]:
    """The ends of a grid. Of bytes those that are there: quantisers spare a bit where sums of products overflow."""
    if held.dtype.itemsize > 1:
        limits = np.iinfo(held.dtype.str)
        return float(limits.min), float(limits.max)
    whole = held.astype(np.float32)
    return float(whole.min()), float(whole.max())


def _steps(value: ir.Value, numbers: Array, coarser: GridNumbers | None = None) -> npt.NDArray[np.float64]:
    """Where ``numbers`` lie on the grid of an initializer: float64, not rounded."""
    zero, scale = _settings(*_known_grid(value), numbers.shape, coarser)
    steps = np.asarray(numbers, np.float64)
    steps = steps if scale is None else steps / np.where(scale == 0, np.float32(1), scale)
    return steps if zero is None else steps + zero


def _known_grid(value: ir.Value) -> tuple[ir.Node, Grid]:
    found = grid_of(value)
    assert found is not None
    return found


def _settings(
    node: ir.Node, grid: Grid, shape: tuple[int, ...], coarser: GridNumbers | None = None
) -> tuple[GridNumbers | None, GridNumbers | None]:
    """Zero point and scale, broadcast to ``shape``; None where there is none, or it is only computed at run time."""
    values = (optional_input(node, index) for index in (grid.zero, grid.scale))
    tensors = (None if value is None else initializer_of(value) for value in values)
    zero, scale = (None if tensor is None else tensor.numpy().astype(np.float32) for tensor in tensors)
    if scale is not None and coarser is not None:
        scale = scale * coarser
    along = grid.along(node)
    spread = [None if entries is None else _spread(entries, shape, along) for entries in (zero, scale)]
    return spread[0], spread[1]


def scales_constants(value: ir.Value) -> bool:
    """Is a value the scale of initializers on a grid, and nothing else?"""
    uses = [(node, operator_of(node).grid, index) for node, index in value.uses()]
    return bool(uses) and all(
        any(grid.scale == index and input_of(node, held).is_initializer() for held, grid in grids.items())
        for node, grids, index in uses
    )


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
