"""The notation in which records say how an operator reads its operands, and what a node makes of it.

``n (g i) [*s], (g o) i [*k], (g o)? -> n (g o) [*p]`` is a grouped convolution, in named axes as in einops:

- the same name in several operands or outputs is the same thing, position by position;
- ``(g i)`` is one axis, a row-major split of two;
- ``*s`` is any number of axes. They align at the right, and an axis of size 1 is broadcast (numpy's rule);
- ``[...]`` is fixed: position or extent matters there, so nothing can be removed along it;
- ``?`` behind an operand: it may be missing. ``...`` in place of one: more like the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

import onnx_ir as ir

from compressor.channels.coupling import Coupling, Unexplained
from compressor.channels.operands import Operand
from compressor.core.arrays import Array
from compressor.graph.ir.nodes import optional_input

Shape = tuple[int, ...]
Group = tuple[str, ...]
"""Names of one axis, in row-major order; none where it spans nothing (size 1)."""
Axes = tuple[Group, ...]


@dataclass(frozen=True)
class Item:
    """One axis of a signature: its names, maybe starred (any number of axes), some of them fixed."""

    names: Group
    star: bool = False
    fixed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Signature:
    """Operands and outputs of an operator in named axes; see the module for the notation.

    Attributes:
        operands: items of each operand, in the order of the node's inputs.
        optional: whether an operand may be missing.
        outputs: items of each output.
        more: further inputs are like the last operand.
    """

    operands: tuple[tuple[Item, ...], ...]
    optional: tuple[bool, ...]
    outputs: tuple[tuple[Item, ...], ...]
    more: bool = False

    @staticmethod
    # A model has thousands of nodes and some dozens of signatures; reading one takes 40 us.
    @lru_cache(maxsize=512)
    def parse(text: str) -> Signature:
        """Reads the notation of signatures (module docstring)."""
        left, right = text.split("->")
        parts = [part.strip() for part in left.split(",")]
        more = parts[-1] == "..."
        operands = parts[:-1] if more else parts
        return Signature(
            tuple(items(part.removesuffix("?")) for part in operands),
            tuple(part.endswith("?") for part in operands),
            tuple(items(part) for part in right.split(",")),
            more,
        )

    def operand(self, index: int) -> tuple[Item, ...] | None:
        """Items of an input; None where the signature leaves it out."""
        if index < len(self.operands):
            return self.operands[index]
        return self.operands[-1] if self.more else None


def axis_names(axis: str) -> Group:
    """``"(kv rep)"`` -> ``("kv", "rep")``."""
    return tuple(axis.strip("()").split())


def items(text: str) -> tuple[Item, ...]:
    """The axes of one operand."""
    found: list[Item] = []
    for token in _tokens(text):
        whole = token.startswith("[")
        inner = token[1:-1] if whole else token
        words = inner.strip("()").split()
        names = tuple(word.strip("[]").lstrip("*") for word in words)
        fixed = frozenset(n for n, word in zip(names, words, strict=True) if whole or word.startswith("["))
        found.append(Item(names, inner.startswith("*"), fixed))
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
class Call:
    """One use of an operator: what a signature may depend on.

    Attributes:
        node: the node.
        inputs: shapes of its inputs; None: missing, or not known.
        outputs: shapes of its outputs.
        coupling: knows static values; None where shapes alone are at hand.
    """

    node: ir.Node
    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape | None, ...] = ()
    coupling: Coupling | None = None

    @staticmethod
    def of(node: ir.Node, coupling: Coupling) -> Call:
        """``node`` in a graph whose shapes are known."""
        shapes = coupling.shapes
        return Call(
            node,
            tuple(None if v is None else shapes(v) for v in node.inputs),
            tuple(shapes(v) for v in node.outputs),
            coupling,
        )

    def shape(self, index: int) -> Shape:
        """Shape of an input.

        Raises:
            Unexplained: it is missing, or its shape is not known.
        """
        value = optional_input(self.node, index)
        if value is None:
            raise Unexplained(f"input {index} is missing")
        found = self.inputs[index]
        if found is None:
            raise Unexplained(f"the shape of {value.name} is not known")
        return found

    def rank(self, index: int) -> int | None:
        """Number of axes of an input; None where it is missing or not known."""
        found = self.inputs[index] if index < len(self.inputs) else None
        return None if found is None else len(found)

    def attribute(self, name: str, default: int = 0) -> int:
        """A whole number among the attributes."""
        return self.node.attributes.get_int(name, default)

    def axis(self, default: int, name: str = "axis") -> int:
        """An axis of the first input that an attribute names, maybe from the end."""
        rank = len(self.shape(0))
        axis = self.attribute(name, default)
        return axis + rank if axis < 0 else axis

    def const(self, index: int, what: str) -> Array:
        """Static data of an input.

        Raises:
            Unexplained: it depends on the model's input, or only shapes are at hand.
        """
        if self.coupling is None:
            raise Unexplained(f"{what} is not at hand")
        return self.coupling.const(self.node.inputs[index], what)


@dataclass(frozen=True)
class Window:
    """Spatial axes of an operator that slides a kernel: stars of data, kernel and output in its signature.

    Along an axis with a kernel of 1, a stride of 1 and no padding the operator is point-wise: the output's axis is
    the data's, and not fixed.

    Attributes:
        data: star of the data's spatial axes.
        kernel: star of the kernel's.
        output: star of the output's.
        moved: another input moves the sampling points, so that the operator is never point-wise.
    """

    data: str
    kernel: str
    output: str
    moved: bool = False


@dataclass
class NamedAxes:
    """Axes of a node by their names.

    Attributes:
        operands: input -> names of each of its axes.
        outputs: names of each axis of every output that has a name.
        sizes: size of every name that is known.
        fixed: names along which nothing can go.
        extents: size of every axis, by its names as the signature has them; the largest where it is broadcast.
    """

    operands: dict[int, Axes] = field(default_factory=dict)
    outputs: dict[int, Axes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    extents: dict[Group, int] = field(default_factory=dict)

    def operand_values(self, node: ir.Node) -> list[Operand]:
        """The operands that a node has, with their axes, as :func:`compressor.channels.combine.combine` takes them."""
        return [Operand(v, axes) for k, axes in self.operands.items() if (v := node.inputs[k]) is not None]

    def output_values(self, node: ir.Node) -> list[Operand]:
        """Values that the node writes, in the order of its signature."""
        return [Operand(node.outputs[k], axes) for k, axes in self.outputs.items()]


def expand(
    signature: Signature, inputs: Sequence[int | None], outputs: Sequence[int | None]
) -> tuple[dict[int, Axes], dict[int, Axes]]:
    """Names of each axis of inputs and outputs of so many axes; None: left out.

    Raises:
        Unexplained: an operand has another number of axes than its signature.
    """
    sides = (
        {k: (own, r) for k, r in enumerate(inputs) if (own := signature.operand(k)) is not None and r is not None},
        {k: (own, r) for k, (own, r) in enumerate(zip(signature.outputs, outputs, strict=False)) if r is not None},
    )
    stars: dict[str, int] = {}
    for side, kind in zip(sides, ("input", "output"), strict=True):
        for index, (own, rank) in side.items():
            _check_rank(own, rank, f"{kind} {index}")
            for item in own:
                if item.star:
                    # The operand with the most axes sets the number; others align with its last ones.
                    stars[item.names[0]] = max(stars.get(item.names[0], 0), rank - len(own) + 1)
    given, made = ({k: _expanded(own, rank, stars) for k, (own, rank) in side.items()} for side in sides)
    return given, made


def _check_rank(own: tuple[Item, ...], rank: int, name: str) -> None:
    stars = sum(item.star for item in own)
    spare = rank - (len(own) - stars)
    if stars > 1 or spare < 0 or (spare and not stars):
        raise Unexplained(f"{name} has {rank} axes, its signature another number")


def _expanded(own: tuple[Item, ...], rank: int, stars: Mapping[str, int]) -> Axes:
    groups: list[Group] = []
    for item in own:
        last = stars.get(item.names[0], 0)
        spare = rank - len(own) + 1
        # The last names of the star, because broadcasting aligns at the right.
        groups += [(f"{item.names[0]}{k}",) for k in range(last - spare, last)] if item.star else [item.names]
    return tuple(groups)


def name_axes(text: str, call: Call) -> NamedAxes:
    """Gives every axis the names that a signature gives it; sizes of names are not worked out yet.

    Raises:
        Unexplained: a required input is missing, a shape is not known, or the number of axes does not fit.
    """
    signature = Signature.parse(text)
    inputs = [_shape(signature, call, k) for k in range(max(len(call.node.inputs), len(signature.operands)))]
    named = [bool(v.name) for v in call.node.outputs]
    if any(n and s is None for n, s in zip(named, call.outputs[: len(signature.outputs)], strict=False)):
        raise Unexplained("the shape of its result is not known")
    outputs = [s if n else None for n, s in zip(named, call.outputs, strict=False)]
    given, made, fixed = _frame(text, ranks(inputs), ranks(outputs))
    found = NamedAxes(fixed=set(fixed))
    for axes, shapes, place in ((given, inputs, found.operands), (made, outputs, found.outputs)):
        for index, groups in axes.items():
            shape = shapes[index] or ()
            for group, size in zip(groups, shape, strict=True):
                # The largest: the others are 1 and broadcast.
                found.extents[group] = max(size, found.extents.get(group, 1))
            place[index] = tuple(() if size == 1 else g for g, size in zip(groups, shape, strict=True))
    return found


# Asked for every node in every pass over the graph, at 60 us.
@lru_cache(maxsize=4096)
def _frame(
    text: str, inputs: tuple[int | None, ...], outputs: tuple[int | None, ...]
) -> tuple[Mapping[int, Axes], Mapping[int, Axes], frozenset[str]]:
    """Names of each axis, and those that are fixed."""
    signature = Signature.parse(text)
    given, made = expand(signature, inputs, outputs)
    return given, made, frozenset(_fixed(signature, (*given.values(), *made.values())))


def _shape(signature: Signature, call: Call, index: int) -> Shape | None:
    """The shape of an operand; None where the signature leaves it out, or lets it be left out."""
    if signature.operand(index) is None:
        return None
    absent = index >= len(call.node.inputs) or call.node.inputs[index] is None
    return None if absent and (signature.more or signature.optional[index]) else call.shape(index)


def ranks(shapes: Sequence[Shape | None]) -> tuple[int | None, ...]:
    """The number of axes of each; None where a shape is not known."""
    return tuple(None if s is None else len(s) for s in shapes)


def _fixed(signature: Signature, sides: Iterable[Axes]) -> set[str]:
    """Names in brackets; of a star, all that it stands for."""
    items_ = [item for own in (*signature.operands, *signature.outputs) for item in own]
    stars = {item.names[0] for item in items_ if item.star and item.fixed}
    plain = {name for item in items_ if not item.star for name in item.fixed}
    found = {name for axes in sides for group in axes for name in group}
    return plain | {name for name in found if any(is_of(name, star) for star in stars)}


def slide(named: NamedAxes, window: Window, call: Call) -> None:
    """Names the output's axes as the data's where the operator is point-wise; in place."""
    if window.moved:
        return
    count = sum(len(group) == 1 and is_of(group[0], window.kernel) for group in named.extents)
    strides = call.node.attributes.get_ints("strides", ()) or [1] * count
    for k in range(count):
        data, kernel, output = (f"{star}{k}" for star in (window.data, window.kernel, window.output))
        same = named.extents.get((data,)) == named.extents.get((output,))
        # Kernel and stride of 1 are not enough: padding would make the output longer than the data.
        if named.extents.get((kernel,)) == strides[k] == 1 and same:
            named.fixed.discard(data)
            for index, axes in named.outputs.items():
                named.outputs[index] = tuple((data,) if group == (output,) else group for group in axes)


SizeConstraint = tuple[Group, int]


def solve_sizes(named: NamedAxes, given: Iterable[SizeConstraint], defaults: Iterable[SizeConstraint] = ()) -> None:
    """Works out the sizes of names, in place: from ``given``, from the axes, and else from ``defaults``.

    An axis of size 1 counts only where nothing else is known, since it may be broadcast.
    """
    axes = [(group, size) for group, size in named.extents.items() if size != 1]
    ones = [(group, size) for group, size in named.extents.items() if size == 1]
    known: list[SizeConstraint] = []
    # The surest first: what attributes say, then sizes above 1, then ones, then defaults.
    for more in (given, axes, ones, defaults):
        known += [(group, size) for group, size in more if any(n not in named.sizes for n in group)]
        # A size that was worked out may be what another axis was waiting for.
        changed = True
        while changed:
            changed = False
            for group, size in known:
                changed = _resolve(group, size, named.sizes) or changed


def _resolve(group: Group, size: int, sizes: dict[str, int]) -> bool:
    """Fills in the one unknown size of a group of names, or all where the axis has one position."""
    unknown = [n for n in group if n not in sizes]
    if size == 1:
        sizes.update(dict.fromkeys(unknown, 1))
        return bool(unknown)
    known = prod(sizes.get(n, 1) for n in group)
    # An empty axis makes the product 0, by which nothing can be divided.
    if len(unknown) != 1 or not known or size % known:
        return False
    sizes[unknown[0]] = size // known
    return True


def is_of(name: str, star: str) -> bool:
    """Is ``name`` one of the axes that ``*star`` stands for?"""
    return name.startswith(star) and name[len(star) :].isdigit()


Text = str | Callable[[Call], str]
"""A signature, or what gives it for a node; the latter raises Unexplained to decline a form of the operator."""
