"""Quantisation nodes (ONNX QuantizeLinear-21, DequantizeLinear-21): per tensor, per axis, or in blocks."""

from __future__ import annotations

import onnx_ir as ir

from compressor.channels.combine import Operand, Space, combine
from compressor.channels.coupling import Coupling, Unexplained
from compressor.operators.propagate import elementwise
from compressor.operators.repair import Repairer
from compressor.operators.rule import OpRule, attribute_axis, required


def _linear(node: ir.Node, coupling: Coupling) -> None:
    """``x`` in its own axes; scale and zero point along ``axis``, or split into blocks there."""
    value = required(node, 0)
    shape = coupling.shape(value)
    axis = attribute_axis(node, len(shape), 1)
    block = node.attributes.get_int("block_size", 0)
    names: list[tuple[str, ...]] = [(f"a{k}",) for k in range(len(shape))]
    sizes = {f"a{k}": size for k, size in enumerate(shape)}
    if block:
        if shape[axis] % block:
            raise Unexplained("has a last block that is not full")
        names[axis] = ("blocks", "inside")
        sizes |= {"blocks": shape[axis] // block, "inside": block}
    operands = [Operand(value, tuple(names))]
    for other in node.inputs[1:]:
        if other is not None:
            operands.append(Operand(other, _axes_of(coupling.shape(other), names, axis, bool(block))))
    space = Space({n: s for n, s in sizes.items() if s > 1})
    combine(node, coupling, operands, [Operand(node.outputs[0], tuple(names))], space)


def _axes_of(
    shape: tuple[int, ...], names: list[tuple[str, ...]], axis: int, blocked: bool
) -> tuple[tuple[str, ...], ...]:
    if len(shape) == len(names) and blocked:
        return tuple(("blocks",) if k == axis else n for k, n in enumerate(names))
    if len(shape) == 1 and shape[0] > 1:
        return (names[axis],)
    return tuple(() for _ in shape)


def _repair(node: ir.Node, repairer: Repairer) -> None:
    """Blocks shrink with what they lose; whole blocks go with their scale."""
    if node.attributes.get_int("block_size", 0):
        axis = attribute_axis(node, len(repairer.before(node.inputs[0])), 1)
        block = repairer.after(node.inputs[0])[axis] // repairer.after(node.inputs[1])[axis]
        node.attributes["block_size"] = ir.AttrInt64("block_size", block)


RULES = (OpRule(("QuantizeLinear", "DequantizeLinear"), _linear, repair=_repair, constants=elementwise),)
