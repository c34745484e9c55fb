"""What follows from the facts of a record at one node: attributes after a cut, masks of the reference, constants."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.graph.ir.movement import Movement
from compressor.graph.ir.nodes import optional_input
from compressor.operators import propagate, reference
from compressor.operators.constants import Constants
from compressor.operators.facts import Neutral
from compressor.operators.reference import Reference
from compressor.operators.repair import Repairer
from compressor.operators.signature import Call, Group, NamedAxes, Shape, axis_names, name_axes, solve_sizes

if TYPE_CHECKING:
    from compressor.operators.operator import Operator

# ---- attributes -------------------------------------------------------------------------------------------------


def repair_sizes(operator: Operator, node: ir.Node, repairer: Repairer) -> None:
    """Gives attributes that are sizes of axes what is left of them.

    Where the planned shapes have the size, it is that. Where they do not (``n (g c) *s``: both may have shrunk), whole
    rows of the leading part are counted; if none went, the size is what it was.
    """
    text = operator.text(_call(node, repairer.before))
    before, after = (name_axes(text, _call(node, shape)) for shape in (repairer.before, repairer.after))
    stated, rest = operator.given(node)
    solve_sizes(before, stated, rest)
    for group, size in before.extents.items():
        if size == 1 and prod(before.sizes.get(n, 1) for n in group) > 1:
            del after.extents[group]  # broadcast: any size would fit
    attributes = {axis_names(key): source for key, source in operator.sizes.items() if isinstance(source, str)}
    # Sizes that attributes hold are those that are looked for; all others hold after the cut too.
    solve_sizes(after, [(group, size) for group, size in stated if group not in attributes])
    for group, attribute in attributes.items():
        # Left out, the attribute has its default, and nothing is to be rewritten.
        if not node.attributes.get_int(attribute, 0):
            continue
        if all(name in after.sizes for name in group):
            left: int | None = prod(after.sizes[name] for name in group)
        else:
            left = _whole_rows(after, group, dict(stated)[group], node, repairer)
        if left is not None:
            node.attributes[attribute] = ir.AttrInt64(attribute, left)


def _call(node: ir.Node, shape: Callable[[ir.Value | None], Shape]) -> Call:
    inputs = tuple(None if v is None else shape(v) for v in node.inputs)
    return Call(node, inputs, tuple(shape(v) for v in node.outputs))


def _whole_rows(named: NamedAxes, group: Group, rows: int, node: ir.Node, repairer: Repairer) -> int | None:
    """How many of the rows ``group`` are left on the axis that they lead; None: none went, or they lead none."""
    led = [
        (len(names), index, axis)
        for index, axes in named.operands.items()
        for axis, names in enumerate(axes)
        if len(names) > len(group) and names[: len(group)] == group
    ]
    if not led:
        return None
    # The axis that is split into the fewest names mixes the rows with the least.
    _, index, axis = min(led)
    return repairer.whole_rows(node.inputs[index], axis, rows)


# ---- the masked reference -----------------------------------------------------------------------------------------


def mask_node(operator: Operator, node: ir.Node, edited: Reference) -> None:
    """Makes removed positions not count where ``node`` sums or compares them."""
    if operator.masked is not None:
        operator.masked(node, edited)
    elif operator.grid and operator.factors:
        _mask_integers(operator, node, edited)
    elif len(operator.factors) > 1:
        reference.mask_product(node, edited)
    elif operator.neutral is not None:
        _mask_reduction(operator, operator.neutral, node, edited)


def masks(operator: Operator) -> bool:
    """May :func:`mask_node` do anything to a node?"""
    return operator.masked is not None or bool(operator.factors) or operator.neutral is not None


def _mask_integers(operator: Operator, node: ir.Node, edited: Reference) -> None:
    """Removed positions hold the zero point, which is what zero is on the grid."""
    data = operator.factors[0]
    zero = operator.grid[data].zero if data in operator.grid else None
    point = optional_input(node, zero)
    edited.fill(node, data, 0.0 if point is None else point)


def _mask_reduction(operator: Operator, neutral: Neutral, node: ir.Node, edited: Reference) -> None:
    """Removed positions that the reduction runs over become neutral."""
    value = node.inputs[0]
    if edited.mask(value) is None or operator.over is None:
        return
    if edited.varies(value, operator.over(Call.of(edited.source_of(node), edited.cut.coupling))):
        edited.fill(node, 0, neutral.of(edited.dtype(value)))


# ---- constants ----------------------------------------------------------------------------------------------------


def learn(operator: Operator, node: ir.Node, constants: Constants) -> None:
    """Tells ``constants`` what the outputs of ``node`` hold and what it sums over; what it masks stays otherwise."""
    if operator.constants is not None:
        operator.constants(node, constants)
    elif operator.pointwise:
        propagate.elementwise(node, constants)
    elif operator.keeps_zero:
        propagate.carry_zero(node, constants)
    elif operator.factors and not operator.grid:
        propagate.product(node, constants, operator.factors, operator.bias, operator.bias_factor)
    elif operator.moves or operator.movement is Movement.JOINS:
        propagate.carry(node, constants)
    elif masks(operator):
        for value in node.inputs:
            constants.stay(constants.units(value))
