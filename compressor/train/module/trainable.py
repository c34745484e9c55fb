"""Which initializers training may change.

A floating initializer is a *parameter* where a gradient can reach it: some path of differentiable operators
leads from it to an output. Not so where it is a setting (a bound of Clip, the exponent of Pow, scales of Resize,
the grid of QuantizeLinear) or a running statistic. Numbers that only take part in element-wise arithmetic are
parameters unless they look like arithmetic rather than weights: single entries (epsilons, scale factors) and
masks (infinite or huge entries, or matrices of zeros and one other number).
"""

from __future__ import annotations

from enum import IntEnum
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.graph.ir.movement import Movement
from compressor.graph.ir.nodes import REALS, optional_input
from compressor.operators.table import operator_of
from compressor.train.module.placement import attribute_graphs

MASK_SIZE = 1e4
"""Entries of this size are meant to mask: exporters write -1e4, -65504, -1e9 and the smallest float."""


class ValueRole(IntEnum):
    """How a value takes part in what the graph returns."""

    NONE = 0
    TERM = 1
    WEIGHT = 2


def parameters(graph: ir.Graph) -> set[ir.Value]:
    """The initializers, of the graph and of graphs in it, that training may change; see the module."""
    roles: dict[ir.Value, ValueRole] = {}
    _assign(graph, roles)
    found = set()
    for value in initializers(graph):
        tensor = value.const_value
        role = roles.get(value, ValueRole.NONE)
        if tensor is None or not _trains(tensor.dtype) or role == ValueRole.NONE:
            continue
        if role == ValueRole.WEIGHT or not _is_arithmetic(tensor):
            found.add(value)
    return found


def statistics(graph: ir.Graph) -> set[ir.Value]:
    """The initializers that hold running statistics of normalisation."""
    return {
        v
        for node in graph.all_nodes()
        for k in operator_of(node).statistics
        if (v := optional_input(node, k)) is not None and v.is_initializer()
    }


def initializers(graph: ir.Graph) -> list[ir.Value]:
    """All initializers of the graph and of graphs in it, the outer ones first."""
    found = list(graph.initializers.values())
    for node in graph:
        for body in attribute_graphs(node):
            found += initializers(body)
    return found


def _assign(graph: ir.Graph, roles: dict[ir.Value, ValueRole]) -> None:
    # Class numbers and other integers pass no gradient on.
    for value in graph.outputs:
        if value.dtype is None or value.dtype.is_floating_point():
            roles[value] = ValueRole.WEIGHT
    # Backwards: a value's role follows from those that read it.
    for node in reversed(list(graph)):
        for body in attribute_graphs(node):
            _assign(body, roles)
        made = max((roles.get(v, ValueRole.NONE) for v in node.outputs), default=ValueRole.NONE)
        operator = operator_of(node)
        if made == ValueRole.NONE or not operator.differentiable or _to_integer(node):
            continue
        # A move hands on the role of its result; arithmetic makes a term, everything else a weight.
        if not operator.hands_on:
            made = ValueRole.TERM if operator.arithmetic else ValueRole.WEIGHT
        for index, operand in enumerate(node.inputs):
            # A constant beside the other operands of a maximum or a minimum is a bound.
            bound = operator.clamps and operand is not None and operand.is_initializer()
            if operand is not None and not bound and not operator.is_setting(index):
                # The strongest role counts, as a value may be read in several ways.
                roles[operand] = max(roles.get(operand, ValueRole.NONE), made)


def _to_integer(node: ir.Node) -> bool:
    casts = operator_of(node).movement is Movement.TYPE
    return casts and not ir.DataType(node.attributes.get_int("to", 1)).is_floating_point()


def _trains(dtype: ir.DataType) -> bool:
    return dtype in REALS


def _is_arithmetic(tensor: ir.TensorProtocol) -> bool:
    sizes = [int(n) for n in tensor.shape.numpy() if n != 1]
    if prod(sizes) <= 1:
        return True
    array = np.asarray(tensor.numpy(), np.float64)
    # -1e9 and infinity are masks, and moving them would open what they close.
    if not np.isfinite(array).all() or np.abs(array).max() >= MASK_SIZE:
        return True
    if len(sizes) < 2:
        return False
    # One number and zeros: a mask or a selection, such as the lower triangle.
    others = array[array != 0]
    return 0 < others.size < array.size and bool((others == others[0]).all())
