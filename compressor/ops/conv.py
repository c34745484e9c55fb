"""Convolutions of any number of spatial axes, grouped and depthwise (ONNX Conv-22, ConvTranspose-22)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.ops.propagate import product
from compressor.ops.reference import mask_product
from compressor.ops.repair import Repairer
from compressor.ops.rule import Couple, OpRule, Options, Shape, Signature, apply


def _grouped(data: str, weight: str, bias: str) -> Couple:
    """Coupling of a convolution whose operands begin with these axes; spatial axes are filled in for each node.

    Along a spatial axis with a window of one position the operator is point-wise, so labels pass through.
    """

    def couple(node: ir.Node, coupling: Coupling) -> None:
        rank = len(coupling.shape(node.inputs[0])) - 2
        points = _pointwise(node, coupling, rank)
        seen = " ".join(f"s{k}" if k in points else f"[s{k}]" for k in range(rank))
        made = " ".join(f"s{k}" if k in points else f"[p{k}]" for k in range(rank))
        taps = " ".join(f"[k{k}]" for k in range(rank))
        text = f"{data} {seen}, {weight} {taps}{bias} -> n (g o) {made}"
        apply(node, coupling, Signature.parse(text), Options({"g": node.attributes.get_int("group", 1)}))

    return couple


def _pointwise(node: ir.Node, coupling: Coupling, rank: int) -> set[int]:
    """Spatial axes with a kernel of 1, a stride of 1 and no padding."""
    kernel = coupling.shape(node.inputs[1])[2:]
    strides = node.attributes.get_ints("strides", ()) or [1] * rank
    before, after = coupling.shape(node.inputs[0])[2:], coupling.shape(node.outputs[0])[2:]
    return {k for k in range(rank) if kernel[k] == strides[k] == 1 and before[k] == after[k]}


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


_DATA, _CONV, _TRANSPOSED = "n (g i)", "(g o) i", "(g i) o"

RULES = (
    OpRule(
        ("Conv",),
        _grouped(_DATA, _CONV, ", (g o)?"),
        repair=_repair_group,
        macs=_conv_macs,
        masked=mask_product,
        constants=product,
    ),
    OpRule(
        ("ConvTranspose",),
        _grouped(_DATA, _TRANSPOSED, ", (g o)?"),
        repair=_repair_group,
        macs=_transposed_macs,
        masked=mask_product,
        constants=product,
    ),
)
