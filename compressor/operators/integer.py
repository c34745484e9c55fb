"""Products and sums of integers on a grid (ONNX QLinearConv-10, ConvInteger-10, QLinearMatMul-21, MatMulInteger-10,
DynamicQuantizeLinear-11, and ONNX Runtime's operators of the same kind, domain com.microsoft).

A removed channel counts as its zero point, which is what zero is on the grid.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod

import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.graph.contrib import MICROSOFT
from compressor.operators.conv import conv_macs, convolution, repair_group
from compressor.operators.elementwise import unary
from compressor.operators.indexing import concat
from compressor.operators.linear import batch_of_second, gemm_macs, matmul_macs
from compressor.operators.reference import Reference
from compressor.operators.rule import Couple, OpRule, Shape, Signature, apply, attribute_axis, broadcast, required

_CONV = "n (g i) S, Q, Q, (g o) i K, Q(g o), Q(g o), Q, Q, (g o)? -> n (g o) P"
_CONV_INTEGER = "n (g i) S, (g o) i K, Q, Q(g o) -> n (g o) P"


def _written(node: ir.Node, coupling: Coupling, template: str) -> str:
    """``template`` with its ``Q``, scales and zero points, written out for ``node``: one for the whole tensor, or one
    for each position of the axis that stands behind the ``Q``."""
    left, right = template.split("->")
    operands = [part.strip() for part in left.split(",")]
    for k, part in enumerate(operands):
        if part.startswith("Q"):
            operands[k] = _entries(node.inputs[k] if k < len(node.inputs) else None, part[1:], coupling)
    return f"{', '.join(operands)} -> {right}"


def _entries(value: ir.Value | None, along: str, coupling: Coupling) -> str:
    if value is None:
        return "?"
    shape = coupling.shape(value)
    if prod(shape) == 1:
        return " ".join("[u]" for _ in shape)
    if not along or len(shape) != 1:
        raise Unexplained("has scales or zero points along an axis of activations")
    return along


def _apply(node: ir.Node, coupling: Coupling, template: str) -> None:
    apply(node, coupling, Signature.parse(_written(node, coupling, template)))


def _conv(template: str, weight: int) -> Couple:
    def couple(node: ir.Node, coupling: Coupling) -> None:
        convolution(node, coupling, _written(node, coupling, template), weight)

    return couple


def _matmul(template: str, second: int) -> Couple:
    """``B`` in the template stands for the batch axes of the second operand."""

    def couple(node: ir.Node, coupling: Coupling) -> None:
        batch = batch_of_second(*(coupling.shape(node.inputs[k]) for k in (0, second)))
        _apply(node, coupling, template.replace("B", batch))

    return couple


def _gemm(node: ir.Node, coupling: Coupling) -> None:
    first = "k m" if node.attributes.get_int("transA", 0) else "m k"
    second = "n k" if node.attributes.get_int("transB", 0) else "k n"
    template = f"{first}, Q, Q, {second}, Qn, Qn, n?, Q, Q -> m n"
    _apply(node, coupling, template)


def _dynamic(node: ir.Node, coupling: Coupling) -> None:
    """Scale and zero point come from the extremes of the whole tensor, zero among them."""
    coupling.label(node.outputs[0], coupling.layout(node.inputs[0]))
    for entry in node.outputs[1:]:
        coupling.label(entry, [])


def _softmax(node: ir.Node, coupling: Coupling) -> None:
    value = required(node, 0)
    rank = len(coupling.shape(value))
    axis = attribute_axis(node, rank, -1 if node.attributes.get_int("opset", 13) >= 13 else 1)
    axes = {axis} if node.attributes.get_int("opset", 13) >= 13 else set(range(axis, rank))
    coupling.label(node.outputs[0], coupling.restrict(node, value, axes, "QLinearSoftmax normalises along it"))


def _pool(node: ir.Node, coupling: Coupling) -> None:
    spatial = "n [*s] c, Q, Q, Q, Q -> n [*p] c" if node.attributes.get_int("channels_last", 0) else (
        "n c [*s], Q, Q, Q, Q -> n c [*p]"
    )  # fmt: skip
    _apply(node, coupling, spatial)


def _masked(data: int, zero: int | None) -> Callable[[ir.Node, Reference], None]:
    """Removed positions of input ``data`` are zero where they are summed: they hold the zero point."""

    def masked(node: ir.Node, reference: Reference) -> None:
        point = node.inputs[zero] if zero is not None and zero < len(node.inputs) else None
        reference.fill(node, data, 0.0 if point is None else point)

    return masked


def _macs(of: Callable[..., int], *operands: int) -> Callable[..., int]:
    """``of`` an operator without scales, whose inputs are these."""

    def macs(node: ir.Node, inputs: list[Shape | None], outputs: list[Shape | None]) -> int:
        return of(node, [inputs[k] for k in operands], outputs)

    return macs


RULES = (
    OpRule(
        ("QLinearConv",),
        _conv(_CONV, 3),
        repair=partial(repair_group, weight=3),
        macs=_macs(conv_macs, 0, 3),
        masked=_masked(0, 2),
    ),
    OpRule(("ConvInteger",), _conv(_CONV_INTEGER, 1), repair=repair_group, macs=conv_macs, masked=_masked(0, 2)),
    OpRule(
        ("QLinearMatMul",),
        _matmul("*b m k, Q, Q, B k n, Qn, Qn, Q, Q -> *b m n", 3),
        macs=_macs(matmul_macs, 0, 3),
        masked=_masked(0, 2),
    ),
    OpRule(("MatMulInteger",), _matmul("*b m k, B k n, Q, Qn -> *b m n", 1), macs=matmul_macs, masked=_masked(0, 2)),
    OpRule(("DynamicQuantizeLinear",), _dynamic, masked=_masked(0, None)),
    OpRule(
        ("MatMulIntegerToFloat",),
        _matmul("*b m k, B k n, Q, Qn, Q, Qn, n? -> *b m n", 1),
        macs=matmul_macs,
        masked=_masked(0, 4),
        domain=MICROSOFT,
    ),
    OpRule(
        ("DynamicQuantizeMatMul",),
        _matmul("*b m k, B k n, Qn, Qn, n? -> *b m n", 1),
        macs=matmul_macs,
        masked=_masked(0, None),
        domain=MICROSOFT,
    ),
    OpRule(("QGemm",), _gemm, macs=_macs(gemm_macs, 0, 3), masked=_masked(0, 2), domain=MICROSOFT),
    OpRule(("QLinearAdd", "QLinearMul"), partial(broadcast, operands=(0, 3)), domain=MICROSOFT),
    OpRule(("QLinearLeakyRelu", "QLinearSigmoid"), unary, domain=MICROSOFT),
    OpRule(("QLinearSoftmax",), _softmax, domain=MICROSOFT),
    OpRule(("QLinearAveragePool", "QLinearGlobalAveragePool"), _pool, domain=MICROSOFT),
    OpRule(("QLinearConcat",), partial(concat, operands=slice(2, None, 3)), domain=MICROSOFT),
)
