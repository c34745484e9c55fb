"""Matrix products: MatMul-13, Gemm-13, Einsum-12. Either operand may be a weight or an activation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx_ir as ir

from compressor.channels.combine import Operand, Space, combine
from compressor.channels.coupling import Coupling, Unexplained
from compressor.graph.contrib import MICROSOFT
from compressor.operators.propagate import product, product_of_all
from compressor.operators.reference import mask_product
from compressor.operators.rule import OpRule, Options, Shape, Signature, apply, required


def _matmul(node: ir.Node, coupling: Coupling) -> None:
    """``*b m k, *b k n -> *b m n``; one-dimensional operands lose their missing axis (numpy.matmul)."""
    a, b = (coupling.shape(v) for v in node.inputs[:2])
    out = coupling.shape(node.outputs[0])
    rank = max(len(a), len(b), 2)
    sizes: dict[str, int] = {}

    def axes(shape: Shape, last: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        lead = len(shape) - len(last)
        groups: list[tuple[str, ...]] = []
        for k, size in enumerate(shape[:lead]):
            name = f"b{rank - 2 - lead + k}"
            if size > 1:
                sizes[name] = size
            groups.append((name,) if size > 1 else ())
        for name, size in zip(last, shape[lead:], strict=True):
            if size > 1:
                sizes[name] = size
            groups.append((name,))
        return tuple(groups)

    left = axes(a, ("m", "k") if len(a) > 1 else ("k",))
    right = axes(b, ("k", "n") if len(b) > 1 else ("k",))
    result = axes(out, (("m",) if len(a) > 1 else ()) + (("n",) if len(b) > 1 else ()))
    first, second = required(node, 0), required(node, 1)
    space = Space(sizes, rows=coupling.policy.heads)
    combine(
        node,
        coupling,
        [Operand(first, left), Operand(second, right)],
        [Operand(node.outputs[0], result)],
        space,
    )


def _gemm(node: ir.Node, coupling: Coupling) -> None:
    """``m k, k n, (m n broadcast)? -> m n`` with the transpositions applied."""
    first, second = required(node, 0), required(node, 1)
    left = ("k", "m") if node.attributes.get_int("transA", 0) else ("m", "k")
    right = ("n", "k") if node.attributes.get_int("transB", 0) else ("k", "n")
    sizes = dict(zip(left, coupling.shape(first), strict=True)) | dict(zip(right, coupling.shape(second), strict=True))
    operands = [Operand(first, tuple((n,) for n in left)), Operand(second, tuple((n,) for n in right))]
    if len(node.inputs) > 2 and (bias := node.inputs[2]) is not None:
        shape = coupling.shape(bias)
        names = ("m", "n")[2 - len(shape) :]
        operands.append(Operand(bias, tuple((n,) if s > 1 else () for n, s in zip(names, shape, strict=True))))
    space = Space({n: s for n, s in sizes.items() if s > 1}, rows=coupling.policy.heads)
    combine(node, coupling, operands, [Operand(node.outputs[0], (("m",), ("n",)))], space)


def _fused(node: ir.Node, coupling: Coupling) -> None:
    """ONNX Runtime's MatMul with transposed operands, where both have the same batch axes or the second has none."""
    if any(node.attributes.get_int(k, 0) for k in ("transBatchA", "transBatchB")):
        raise Unexplained("moves its batch axes")
    batch = batch_of_second(*(coupling.shape(v) for v in node.inputs))
    left = "*b k m" if node.attributes.get_int("transA", 0) else "*b m k"
    right = "n k" if node.attributes.get_int("transB", 0) else "k n"
    text = f"{left}, {batch} {right} -> *b m n"
    apply(node, coupling, Signature.parse(text), Options(rows=coupling.policy.heads))


def batch_of_second(one: Shape, two: Shape) -> str:
    """Batch axes of the second operand in a signature: all of the first's, ``*b``, or none; else it is declined."""
    if min(len(one), len(two)) < 2 or (len(two) > 2 and len(one) != len(two)):
        raise Unexplained(f"multiplies operands of {len(one)} and {len(two)} axes")
    return "" if len(two) == 2 else "*b"


def _einsum(node: ir.Node, coupling: Coupling) -> None:
    inputs, output = equation(node)
    if any(len(set(term)) < len(term) for term in [*inputs, output]):
        raise Unexplained("repeats an index within one operand")
    values = [v for v in node.inputs if v is not None]
    sizes: dict[str, int] = {}
    for value, term in zip(values, inputs, strict=True):
        for name, size in zip(term, coupling.shape(value), strict=True):
            sizes[name] = max(size, sizes.get(name, 1))

    def operand(value: ir.Value, term: str) -> Operand:
        shape = coupling.shape(value)
        return Operand(value, tuple((n,) if s > 1 else () for n, s in zip(term, shape, strict=True)))

    space = Space({n: s for n, s in sizes.items() if s > 1}, rows=coupling.policy.heads)
    operands = [operand(v, t) for v, t in zip(values, inputs, strict=True)]
    combine(node, coupling, operands, [operand(node.outputs[0], output)], space)


def equation(node: ir.Node) -> tuple[list[str], str]:
    """Input terms and output term of an Einsum; raises Unexplained on an ellipsis."""
    text = node.attributes.get_string("equation", "").replace(" ", "")
    if "." in text or not text:
        raise Unexplained("its equation has an ellipsis")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if not arrow:
        joined = "".join(terms)
        right = "".join(sorted(c for c in set(joined) if joined.count(c) == 1))
    return terms, right


def matmul_macs(_: ir.Node, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]) -> int:
    """Positions of the output times the length of a row."""
    return prod(outputs[0] or ()) * (inputs[0] or (0,))[-1]


def gemm_macs(node: ir.Node, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]) -> int:
    """The same, with ``transA`` applied."""
    first = inputs[0] or (0, 0)
    return prod(outputs[0] or ()) * first[0 if node.attributes.get_int("transA", 0) else 1]


def _fused_macs(node: ir.Node, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]) -> int:
    return prod(outputs[0] or ()) * (inputs[0] or (0, 0))[-2 if node.attributes.get_int("transA", 0) else -1]


def _einsum_macs(node: ir.Node, inputs: Sequence[Shape | None], _: Sequence[Shape | None]) -> int:
    try:
        terms, _output = equation(node)
    except Unexplained:
        return 0
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, inputs, strict=True):
        for name, size in zip(term, shape or (), strict=False):
            sizes[name] = max(size, sizes.get(name, 1))
    return prod(sizes.values()) if len(terms) > 1 else 0


RULES = (
    OpRule(("MatMul",), _matmul, macs=matmul_macs, masked=mask_product, constants=product),
    OpRule(("FusedMatMul",), _fused, macs=_fused_macs, masked=mask_product, constants=product, domain=MICROSOFT),
    OpRule(("Gemm",), _gemm, macs=gemm_macs, masked=mask_product, constants=product),
    OpRule(("Einsum",), _einsum, macs=_einsum_macs, masked=mask_product, constants=product_of_all),
)
