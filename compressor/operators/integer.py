"""Products and sums of integers on a grid (ONNX QLinearConv-10, ConvInteger-10, QLinearMatMul-21, MatMulInteger-10,
DynamicQuantizeLinear-11, and ONNX Runtime's operators of the same kind, domain com.microsoft).

A removed channel counts as its zero point, which is what zero is on the grid. Signatures are written here with ``Q``
for a scale or zero point: one for the whole tensor, or one for each position of the axis that stands behind the Q.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod

import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.graph.ir.nodes import MICROSOFT
from compressor.graph.ir.opsets import SOFTMAX_OF_ONE_AXIS, softmax_axes
from compressor.graph.sizes.contrib import AS_FIRST, Like
from compressor.operators.conv import SLIDES
from compressor.operators.elementwise import unary
from compressor.operators.facts import INTEGERS, Grid
from compressor.operators.joining import concat
from compressor.operators.linear import check_batch, matrices
from compressor.operators.operator import Operator, required
from compressor.operators.reference import Reference
from compressor.operators.signature import Call, Shape

CallText = Callable[[Call], str]


def _quantised(template: str) -> CallText:
    """The signature that a template is at a node: each ``Q`` becomes the axes of the scale or zero point that is
    there."""

    def written(call: Call) -> str:
        left, right = template.split("->")
        operands = [part.strip() for part in left.split(",")]
        for k, part in enumerate(operands):
            if part.startswith("Q"):  # which axis a scale lies on depends on its shape
                operands[k] = _entries(call.inputs[k] if k < len(call.inputs) else None, part[1:])
        return f"{', '.join(operands)} -> {right}"

    return written


def _entries(shape: Shape | None, along: str) -> str:
    """Axes of a scale or zero point of ``shape`` in the notation: ``along`` where it is a vector; raises
    Unexplained."""
    if shape is None:
        return "?"
    # One number for the whole tensor, in whatever rank it is written.
    if prod(shape) == 1:
        return " ".join("[u]" for _ in shape)
    if not along or len(shape) != 1:
        raise Unexplained("has scales or zero points along an axis of activations")
    return along


def _matmul(template: str, second: int) -> CallText:
    """The signature that a template with ``Q`` is at a product of matrices.

    Args:
        template: the notation, with ``Q`` in place of scales and zero points.
        second: number of the input that holds the second matrix.
    """

    def written(call: Call) -> str:
        check_batch(call, second)
        return _quantised(template)(call)

    return written


def _gemm(call: Call) -> str:
    first, second = matrices(call)
    return _quantised(f"{first}, Q, Q, {second}, Qn, Qn, n?, Q, Q -> m n")(call)


def _pool(call: Call) -> str:
    last = call.attribute("channels_last")
    return _quantised("n [*s] c, Q, Q, Q, Q -> n [*p] c" if last else "n c [*s], Q, Q, Q, Q -> n c [*p]")(call)


def _broadcast(call: Call) -> str:
    """The operands are inputs 0 and 3 and broadcast; all other inputs are scales and zero points of one number."""
    numbers = ["*a" if k in (0, 3) else " ".join("[u]" for _ in shape or ()) for k, shape in enumerate(call.inputs)]
    return f"{', '.join(text if k in (0, 3) else text + '?' for k, text in enumerate(numbers))} -> *a"


def _dynamic(node: ir.Node, coupling: Coupling) -> None:
    """Scale and zero point come from the extremes of the whole tensor, zero among them."""
    coupling.label(node.outputs[0], coupling.layout(node.inputs[0]))
    for entry in node.outputs[1:]:
        coupling.label(entry, [])


def _zeros(node: ir.Node, reference: Reference) -> None:
    reference.fill(node, 0, 0.0)


def _softmax(node: ir.Node, coupling: Coupling) -> None:
    value = required(node, 0)
    # The attribute says which operator set is followed.
    opset: int = node.attributes.get_int("opset", SOFTMAX_OF_ONE_AXIS)
    axes = softmax_axes(node.attributes.get_int("axis", None), len(coupling.shape(value)), opset)
    coupling.label(node.outputs[0], coupling.restrict(node, value, axes, "QLinearSoftmax normalises along it"))


_CONV = "n (g o) *p i *k"

OPERATORS = (
    Operator(
        "QLinearConv",
        signature=_quantised("n (g i) [*s], Q, Q, (g o) i [*k], Q(g o), Q(g o), Q, Q, (g o)? -> n (g o) [*p]"),
        sizes={"g": "group"},
        window=SLIDES,
        factors=(0, 3),
        work=_CONV,
        bias=8,
        grid={0: Grid(1, 2), 3: Grid(4, 5), 8: Grid()},
        scales=(6,),
        differentiable=False,
    ),
    Operator(
        "ConvInteger",
        signature=_quantised("n (g i) [*s], (g o) i [*k], Q, Q(g o) -> n (g o) [*p]"),
        sizes={"g": "group"},
        window=SLIDES,
        factors=(0, 1),
        work=_CONV,
        grid={0: Grid(None, 2), 1: Grid(None, 3)},
        differentiable=False,
    ),
    Operator(
        "QLinearMatMul",
        signature=_matmul("*b m k, Q, Q, *b k n, Qn, Qn, Q, Q -> *b m n", 3),
        factors=(0, 3),
        grid={0: Grid(1, 2), 3: Grid(4, 5, -1)},
        scales=(6,),
        differentiable=False,
    ),
    Operator(
        "MatMulInteger",
        signature=_matmul("*b m k, *b k n, Q, Qn -> *b m n", 1),
        factors=(0, 1),
        grid={0: Grid(None, 2), 1: Grid(None, 3, -1)},
        differentiable=False,
    ),
    Operator("DynamicQuantizeLinear", labels=_dynamic, masked=_zeros, differentiable=False),
    Operator(
        "MatMulIntegerToFloat",
        MICROSOFT,
        shapes=Like("MatMul", slice(0, 2)),
        kernelless=INTEGERS,
        signature=_matmul("*b m k, *b k n, Q, Qn, Q, Qn, n? -> *b m n", 1),
        factors=(0, 1),
        bias=6,
        grid={0: Grid(2, 4), 1: Grid(3, 5, -1)},
    ),
    Operator(
        "DynamicQuantizeMatMul",
        MICROSOFT,
        shapes=Like("MatMul", slice(0, 2)),
        kernelless=INTEGERS,
        signature=_matmul("*b m k, *b k n, Qn, Qn, n? -> *b m n", 1),
        factors=(0, 1),
        bias=4,
        grid={1: Grid(2, 3, -1)},
    ),
    Operator(
        "QGemm",
        MICROSOFT,
        shapes=Like("Gemm", slice(0, 4, 3), 7),
        kernelless=INTEGERS,
        signature=_gemm,
        factors=(0, 3),
        bias=6,
        grid={0: Grid(1, 2), 3: Grid(4, 5, -1), 6: Grid()},
        scales=(7,),
    ),
    *(
        Operator(
            f"QLinear{name}",
            MICROSOFT,
            shapes=Like(name, slice(0, 4, 3), 6),
            signature=_broadcast,
            heads=True,
            grid={0: Grid(1, 2), 3: Grid(4, 5)},
            scales=(6,),
            kernelless=INTEGERS,
        )
        for name in ("Add", "Mul")
    ),
    *(
        Operator(name, MICROSOFT, shapes=AS_FIRST, labels=unary, scales=(1, 3), kernelless=INTEGERS)
        for name in ("QLinearLeakyRelu", "QLinearSigmoid")
    ),
    Operator("QLinearSoftmax", MICROSOFT, shapes=AS_FIRST, labels=_softmax, scales=(1, 3), kernelless=INTEGERS),
    *(
        Operator(
            f"QLinear{name}",
            MICROSOFT,
            shapes=Like(name, slice(0, 1), 3),
            signature=_pool,
            scales=(1, 3),
            kernelless=INTEGERS,
        )
        for name in ("AveragePool", "GlobalAveragePool")
    ),
    # Inputs are scale and zero point of the result, then tensor, scale and zero point of each operand.
    Operator(
        "QLinearConcat",
        MICROSOFT,
        shapes=Like("Concat", slice(2, None, 3), 0),
        labels=partial(concat, operands=slice(2, None, 3)),
        encodes="grid",
        kernelless=INTEGERS,
    ),
)
