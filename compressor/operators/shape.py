"""Shape arithmetic: it carries no channels; what it computes is repaired where it is used.

After pruning, shape arithmetic still sees the original sizes (a Shape node whose input shrank is overridden), so
that a scale such as ``1/sqrt(Shape(q)[-1])`` keeps its value. Operators that take a shape (Reshape, Expand, ...)
get their entries from the planned shapes instead.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.graph.ir.nodes import fill_number
from compressor.operators.constants import Constants
from compressor.operators.facts import Host
from compressor.operators.operator import Operator
from compressor.operators.repair import Repairer


def reads_shape(node: ir.Node, coupling: Coupling) -> None:
    """Whatever channels its input has do not matter to it, and its result has none."""
    coupling.ignore(node.inputs[0])
    coupling.label(node.outputs[0], [])


def _size(node: ir.Node, coupling: Coupling) -> None:
    coupling.ignore(node.inputs[0])
    if coupling.shapes.const(node.outputs[0]) is None:
        coupling.freeze(node, node.inputs[0], None, "Size counts its elements at run time")
    coupling.label(node.outputs[0], [])


def _repair(node: ir.Node, repairer: Repairer) -> None:
    """The original sizes, for whoever computes with them."""
    value, out = node.inputs[0], node.outputs[0]
    before, after = repairer.before(value), repairer.after(value)
    if before == after:
        return
    static = repairer.coupling.shapes.const(out)
    if static is not None:
        repairer.replace_by_constant(node, static)
        return
    start, end = (node.attributes.get_int(k, None) for k in ("start", "end"))
    window = slice(start, end)
    repairer.rescale(out, np.asarray(before[window], np.int64), np.asarray(after[window], np.int64))


def _constant_of_shape(node: ir.Node, coupling: Coupling) -> None:
    """One number everywhere: every axis of static size takes on the labels of whoever uses it."""
    coupling.follow_users(node.outputs[0])


def _one_number(node: ir.Node, constants: Constants) -> None:
    units = constants.units(node.outputs[0])
    constants.learn(node.outputs[0], [(units, np.full(units.shape, fill_number(node)))])


def _repair_constant_of_shape(node: ir.Node, repairer: Repairer) -> None:
    repairer.set_shape(node, 0)


OPERATORS = (
    Operator("Shape", labels=reads_shape, repaired=_repair, differentiable=False, on_host=Host.ALWAYS),
    Operator("Size", labels=_size, repaired=_repair, differentiable=False, on_host=Host.ALWAYS),
    Operator(
        "ConstantOfShape",
        labels=_constant_of_shape,
        repaired=_repair_constant_of_shape,
        constants=_one_number,
        host=(0,),
        on_host=Host.GROWS,
        spreads=True,
        differentiable=False,
        one_number=True,
    ),
)
