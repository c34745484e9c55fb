"""Matrix products: MatMul-13, Gemm-13, Einsum-12. Either operand may be a weight or an activation."""

from __future__ import annotations

import onnx_ir as ir

from compressor.channels.coupling import Unexplained
from compressor.graph.ir.nodes import MICROSOFT
from compressor.graph.sizes.contrib import Follows
from compressor.graph.sizes.shape_rules import DimShape, Operands, broadcast
from compressor.operators.facts import EVERY, FUSION
from compressor.operators.operator import Operator
from compressor.operators.signature import Call

ELLIPSIS = "*"
"""In an equation: axes without a letter, any number of them, which broadcast."""


def matrices(call: Call) -> tuple[str, str]:
    """Both operands with the transpositions of Gemm applied; batch axes are not among them."""
    first = "k m" if call.attribute("transA") else "m k"
    return first, "n k" if call.attribute("transB") else "k n"


def _matmul(call: Call) -> str:
    """One-dimensional operands lose their missing axis (numpy.matmul)."""
    rows, columns = call.rank(0) != 1, call.rank(1) != 1
    left, right = "*b m k" if rows else "k", "*b k n" if columns else "k"
    batch = "*b " if rows or columns else ""
    return f"{left}, {right} -> {batch}{'m ' * rows}{'n' * columns}"


def _gemm(call: Call) -> str:
    """The bias broadcasts to the output from the right."""
    first, second = matrices(call)
    bias = ["m", "n"][2 - (call.rank(2) or 0) :]
    return f"{first}, {second}, {' '.join(bias)}? -> m n"


def _fused(call: Call) -> str:
    """ONNX Runtime's MatMul with transposed operands, where both have the same batch axes or the second has none."""
    if any(call.attribute(k) for k in ("transBatchA", "transBatchB")):
        raise Unexplained("moves its batch axes")
    check_batch(call, 1)
    first, second = matrices(call)
    return f"*b {first}, *b {second} -> *b m n"


def check_batch(call: Call, second: int) -> None:
    """Declines a product in which only one operand has batch axes, unless it is the first.

    Raises:
        Unexplained: it is such a product, or one by a vector.
    """
    one, two = call.rank(0), call.rank(second)
    if one is not None and two is not None and (min(one, two) < 2 or (two > 2 and one != two)):
        raise Unexplained(f"multiplies operands of {one} and {two} axes")


def _einsum(call: Call) -> str:
    terms, made = equation(call.node)
    # A repeated index takes a diagonal, whose positions no signature names.
    if any(len(set(term)) < len(term) for term in [*terms, made]):
        raise Unexplained("repeats an index within one operand")
    left = ", ".join(_axes(term) for term in terms)
    return f"{left} -> {_axes(made)}"


def _axes(term: str) -> str:
    return " ".join("*rest" if index == ELLIPSIS else index for index in term)


def equation(node: ir.Node) -> tuple[list[str], str]:
    """Input terms and output term of an Einsum, a letter an axis, and ``ELLIPSIS`` for those that have no letter."""
    text = node.attributes.get_string("equation", "").replace(" ", "").replace("...", ELLIPSIS)
    if not text:
        raise Unexplained("it has no equation")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if not arrow:
        joined = "".join(terms)
        # Without an arrow, ONNX as numpy: those without a letter, then indices that occur once, in alphabetical order.
        rest = ELLIPSIS if ELLIPSIS in joined else ""
        right = rest + "".join(sorted(c for c in set(joined) - {ELLIPSIS} if joined.count(c) == 1))
    return terms, right


def _fused_shapes(of: Operands) -> list[DimShape | None] | None:
    """Shape of FusedMatMul, which may transpose matrices; none for batches of it."""
    one, two = of.shape(0), of.shape(1)
    flags = [of.node.attributes.get_int(k, 0) for k in ("transA", "transB", "transBatchA", "transBatchB")]
    if one is None or two is None or any(flags[2:]) or min(len(one), len(two)) < 2:
        return None
    rows, columns = one[-1 if flags[0] else -2], two[-2 if flags[1] else -1]
    return [(*broadcast((one[:-2], two[:-2]), of.equate), rows, columns)]


OPERATORS = (
    Operator("MatMul", signature=_matmul, heads=True, factors=(0, 1)),
    Operator(
        "FusedMatMul",
        MICROSOFT,
        shapes=Follows(_fused_shapes),
        signature=_fused,
        heads=True,
        factors=(0, 1),
        factor="alpha",
        kernelless=FUSION,
    ),
    Operator(
        "Gemm",
        signature=_gemm,
        heads=True,
        factors=(0, 1),
        factor="alpha",
        bias=2,
        bias_factor="beta",
    ),
    Operator("Einsum", signature=_einsum, heads=True, factors=EVERY),
)
