"""Convolutions of any number of spatial axes, grouped and depthwise (ONNX Conv-22, ConvTranspose-22)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

import onnx_ir as ir

from compressor.channels.coupling import Coupling
from compressor.operators.propagate import product
from compressor.operators.reference import mask_product
from compressor.operators.repair import Repairer
from compressor.operators.rule import Couple, OpRule, Options, Shape, Signature, apply


def _grouped(text: str) -> Couple:
    def couple(node: ir.Node, coupling: Coupling) -> None:
        convolution(node, coupling, text)

    return couple


def convolution(node: ir.Node, coupling: Coupling, text: str, weight: int = 1) -> None:
    """Couples a convolution whose signature is ``text``, in which ``S`` stands for the spatial axes of the data, ``K``
    for those of input ``weight`` and ``P`` for those of the output.

    Along a spatial axis with a window of one position the operator is point-wise, so labels pass through.
    """
    rank = len(coupling.shape(node.inputs[0])) - 2
    points = _pointwise(node, coupling, rank, weight)
    axes = {
        "S": " ".join(f"s{k}" if k in points else f"[s{k}]" for k in range(rank)),
        "K": " ".join(f"[k{k}]" for k in range(rank)),
        "P": " ".join(f"s{k}" if k in points else f"[p{k}]" for k in range(rank)),
    }
    filled = re.sub("[SKP]", lambda found: axes[found[0]], text)
    apply(node, coupling, Signature.parse(filled), Options({"g": node.attributes.get_int("group", 1)}))


def _pointwise(node: ir.Node, coupling: Coupling, rank: int, weight: int) -> set[int]:
    """Spatial axes with a kernel of 1, a stride of 1 and no padding."""
    kernel = coupling.shape(node.inputs[weight])[2:]
    strides = node.attributes.get_ints("strides", ()) or [1] * rank
    before, after = coupling.shape(node.inputs[0])[2:], coupling.shape(node.outputs[0])[2:]
    return {k for k in range(rank) if kernel[k] == strides[k] == 1 and before[k] == after[k]}


def repair_group(node: ir.Node, repairer: Repairer, weight: int = 1) -> None:
    """``group`` follows the channels: whole groups go where filters see one channel each (depthwise)."""
    full = node.outputs[0] if node.op_type == "ConvTranspose" else node.inputs[0]
    channels = repairer.after(full)[1]
    each = repairer.after(node.inputs[weight])[1]
    if "group" in node.attributes:
        node.attributes["group"] = ir.AttrInt64("group", channels // each)


def conv_macs(_: ir.Node, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None], weight: int = 1) -> int:
    """Positions of the output times what one filter sees."""
    return prod(outputs[0] or ()) * prod((inputs[weight] or ())[1:])


def _transposed_macs(_: ir.Node, inputs: Sequence[Shape | None], __: Sequence[Shape | None]) -> int:
    return prod(inputs[0] or ()) * prod((inputs[1] or ())[1:])


RULES = (
    OpRule(
        ("Conv",),
        _grouped("n (g i) S, (g o) i K, (g o)? -> n (g o) P"),
        repair=repair_group,
        macs=conv_macs,
        masked=mask_product,
        constants=product,
    ),
    OpRule(
        ("ConvTranspose",),
        _grouped("n (g i) S, (g i) o K, (g o)? -> n (g o) P"),
        repair=repair_group,
        macs=_transposed_macs,
        masked=mask_product,
        constants=product,
    ),
)
