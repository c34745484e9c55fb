"""Convolutions of any number of spatial axes, grouped and depthwise (ONNX Conv-22, ConvTranspose-22)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.ops.reference import mask_sums
from compressor.ops.repair import Repairer
from compressor.ops.rule import Couple, Options, OpRule, Shape, Signature, apply


def _grouped(text: str) -> Couple:
    parsed = Signature.parse(text)

    def couple(node: ir.Node, coupling: Coupling) -> None:
        apply(node, coupling, parsed, Options({"g": node.attributes.get_int("group", 1)}))

    return couple


def _repair_group(node: ir.Node, repairer: Repairer) -> None:
    """``group`` follows the channels: whole groups go where filters see one channel each (depthwise)."""
    full = node.outputs[0] if node.op_type == "ConvTranspose" else node.inputs[0]
    channels = repairer.after(full)[1]
    each = repairer.after(node.inputs[1])[1]
    if "group" in node.attributes:
        node.attributes["group"] = ir.AttrInt64("group", channels // each)


def _conv_macs(_: ir.Node, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]) -> int:
    return prod(outputs[0] or ()) * prod((inputs[1] or ())[1:])


def _transposed_macs(_: ir.Node, inputs: Sequence[Shape | None], __: Sequence[Shape | None]) -> int:
    return prod(inputs[0] or ()) * prod((inputs[1] or ())[1:])


RULES = (
    OpRule(
        ("Conv",), _grouped("n (g i) [*s], (g o) i [*k], (g o)? -> n (g o) [*p]"), repair=_repair_group, macs=_conv_macs, masked=mask_sums
    ),
    OpRule(
        ("ConvInteger",),
        _grouped("n (g i) [*s], (g o) i [*k], ? -> n (g o) [*p]"),
        repair=_repair_group,
        macs=_conv_macs,
        masked=mask_sums,
    ),
    OpRule(
        ("ConvTranspose",),
        _grouped("n (g i) [*s], (g i) o [*k], (g o)? -> n (g o) [*p]"),
        repair=_repair_group,
        macs=_transposed_macs,
        masked=mask_sums,
    ),
)
