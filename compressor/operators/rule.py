"""What one operator is: its record, and the signature language that most records are written in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.combine import Operand, Space, combine
from compressor.channels.coupling import Coupling, Unexplained

if TYPE_CHECKING:
    from compressor.operators.constants import Constants
    from compressor.operators.repair import Repairer

Couple = Callable[[ir.Node, Coupling], None]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class OpRule:
    """Everything the toolchain knows about an operator.

    Attributes:
        op_types: operators that share this record.
        couple: how labels flow through a node; sets the layouts of its outputs.
        repair: rewrites attributes and shape inputs once channels are gone; None: nothing to rewrite.
        macs: multiply-accumulates of a node from the shapes of its inputs and outputs; None: not counted.
        masked: edits a node of the masked reference where activations are summed without a weight (matrix
            products of activations, reductions, norms), so that removed positions do not count.
        constants: what a node holds where its inputs are constant, and what it sums over; see
            :mod:`compressor.operators.propagate`. None: nothing is known of it, and what it masks or sums over stays.
        domain: operator domain.
    """

    op_types: tuple[str, ...]
    couple: Couple
    repair: Callable[[ir.Node, Repairer], None] | None = None
    macs: Callable[[ir.Node, Sequence[Shape | None], Sequence[Shape | None]], int] | None = None
    masked: Callable[..., None] | None = None
    constants: Callable[[ir.Node, Constants], None] | None = None
    domain: str = ""


@dataclass(frozen=True)
class _Item:
    """One axis in a signature: names, maybe starred (any number of axes), fixed or optional."""

    names: tuple[str, ...]
    star: bool = False
    fixed: bool = False


@dataclass(frozen=True)
class Signature:
    """Operands and outputs of an operator in named axes, as in einops.

    ``n (g i) [*s], (g o) i [*k], (g o)? -> n (g o) [*p]`` reads: the first operand's second axis is a row-major
    split of ``g`` and ``i``; ``*s`` stands for any number of axes; axes in brackets are fixed (nothing can be
    removed along them); an operand with ``?`` may be missing. Names shared by operands are coupled, names only
    in operands are contracted, names that only a weight brings to an output are filters.
    """

    operands: tuple[tuple[_Item, ...], ...]
    optional: tuple[bool, ...]
    outputs: tuple[tuple[_Item, ...], ...]

    @staticmethod
    @lru_cache(maxsize=512)
    def parse(text: str) -> Signature:
        """Reads the notation above."""
        left, right = text.split("->")
        operands = [part.strip() for part in left.split(",")]
        return Signature(
            tuple(_items(part.removesuffix("?")) for part in operands),
            tuple(part.endswith("?") for part in operands),
            tuple(_items(part) for part in right.split(",")),
        )


def _items(text: str) -> tuple[_Item, ...]:
    found: list[_Item] = []
    for token in _tokens(text):
        fixed = token.startswith("[")
        inner = token.strip("[]")
        if inner.startswith("("):
            found.append(_Item(tuple(inner.strip("()").split()), fixed=fixed))
        else:
            found.append(_Item((inner.lstrip("*"),), star=inner.startswith("*"), fixed=fixed))
    return tuple(found)


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    depth = 0
    for word in text.split():
        if depth:
            tokens[-1] += " " + word
        else:
            tokens.append(word)
        depth += word.count("(") - word.count(")")
    return tokens


@dataclass(frozen=True)
class Options:
    """How :func:`apply` reads a signature at one node.

    Attributes:
        sizes: sizes of names that no axis of their own shows (``g`` of a grouped convolution).
        rows: see :class:`compressor.channels.combine.Space`.
        fixed: further fixed names.
    """

    sizes: Mapping[str, int] | None = None
    rows: bool = False
    fixed: tuple[str, ...] = ()


def apply(node: ir.Node, coupling: Coupling, signature: Signature, options: Options | None = None) -> None:
    """Couples ``node`` by its signature; operands are its inputs in order."""
    options = options or Options()
    sizes = dict(options.sizes or {})
    fixed = set(options.fixed)
    operands: list[Operand] = []
    for index, items in enumerate(signature.operands):
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            if not signature.optional[index]:
                raise Unexplained(f"input {index} is missing")
            continue
        operands.append(_name(coupling, value, items, sizes, fixed))
    for value in node.inputs[len(signature.operands) :]:
        coupling.freeze(node, value, None, f"is an input of {node.op_type} without a signature")
    outputs = []
    for index, items in enumerate(signature.outputs):
        if index < len(node.outputs) and node.outputs[index].name:
            outputs.append(_name(coupling, node.outputs[index], items, sizes, fixed))
    space = Space({n: s for n, s in sizes.items() if s > 1}, frozenset(fixed), options.rows)
    combine(node, coupling, operands, outputs, space)


def _name(
    coupling: Coupling, value: ir.Value, items: tuple[_Item, ...], sizes: dict[str, int], fixed: set[str]
) -> Operand:
    shape = coupling.shape(value)
    stars = [i for i in items if i.star]
    spare = len(shape) - (len(items) - len(stars))
    if len(stars) > 1 or spare < 0 or (spare and not stars):
        raise Unexplained(f"{value.name} has {len(shape)} axes, its signature another number")
    axes: list[tuple[str, ...]] = []
    for item in items:
        groups = [(f"{item.names[0]}{k}",) for k in range(spare)] if item.star else [item.names]
        axes += groups
        if item.fixed:
            fixed.update(n for group in groups for n in group)
    for size, group in zip(shape, axes, strict=True):
        _resolve(size, group, sizes)
    return Operand(value, tuple(axes))


def _resolve(size: int, group: tuple[str, ...], sizes: dict[str, int]) -> None:
    """Fills in the one unknown size of a group of names."""
    unknown = [n for n in group if n not in sizes]
    known = 1
    for name in group:
        known *= sizes.get(name, 1)
    if len(unknown) == 1 and known and size % known == 0:
        sizes[unknown[0]] = size // known


def signature(text: str, **options: object) -> Couple:
    """A coupling function from a signature alone."""
    parsed = Signature.parse(text)
    chosen = Options(**options) if options else None  # type: ignore[arg-type]

    def couple(node: ir.Node, coupling: Coupling) -> None:
        apply(node, coupling, parsed, chosen)

    return couple


def broadcast(node: ir.Node, coupling: Coupling, operands: Sequence[int] | None = None) -> None:
    """Element-wise operators with multidirectional broadcasting (ONNX Broadcasting.md): axes align at the right.

    Of the inputs, ``operands`` (all) are broadcast; the others are scalars.
    """
    chosen = range(len(node.inputs)) if operands is None else operands
    values = [v for k in chosen if (v := node.inputs[k]) is not None]
    shapes = [coupling.shape(v) for v in values]
    out = coupling.shape(node.outputs[0])
    rank = len(out)
    sizes = {f"a{k}": size for k, size in enumerate(out) if size > 1}

    def axes(shape: Shape) -> tuple[tuple[str, ...], ...]:
        start = rank - len(shape)
        return tuple((f"a{start + k}",) if size > 1 else () for k, size in enumerate(shape))

    sides = [Operand(v, axes(s)) for v, s in zip(values, shapes, strict=True)]
    outputs = [Operand(v, axes(out)) for v in node.outputs if v.name]
    combine(node, coupling, sides, outputs, Space(sizes, rows=coupling.policy.heads))


def required(node: ir.Node, index: int) -> ir.Value:
    """Input ``index`` of ``node``; raises Unexplained where it is left out."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise Unexplained(f"input {index} is missing")
    return value


def attribute_axis(node: ir.Node, rank: int, default: int, name: str = "axis") -> int:
    """A possibly negative axis attribute as a non-negative number."""
    axis = node.attributes.get_int(name, default)
    return axis + rank if axis < 0 else axis
