"""Matrix products as matrices: Gemm-13, MatMul-13, Einsum-12, the weight on either side.

All are contractions over named axes. Seen from the weight, an axis is contracted (input and weight), of the rows
(input and output), of the outputs (weight and output) or of the groups (all three).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.channels.coupling import Unexplained
from compressor.graph.evaluate import Array
from compressor.operators.linear import equation
from compressor.reconstruct.form import Matrix, Pick, Shape, Unrepairable, inverse, wide

Names = tuple[str, ...]
UNIT = ""
"""Name of an axis of size 1 that is broadcast."""


@dataclass(frozen=True)
class Contraction:
    """A product over named axes.

    Attributes:
        data: names of the input's axes; UNIT where it is broadcast.
        held: names of the weight's axes.
        made: names of the output's axes.
        shape: shape of the weight.
        scale: factor of the product (``alpha``).
    """

    data: Names
    held: Names
    made: Names
    shape: Shape
    scale: float = 1.0

    def __post_init__(self) -> None:
        alone = {n for n in self.data if n not in self.held and n not in self.made}
        alone |= {n for n in self.held if n not in self.data and n not in self.made}
        if alone - {UNIT}:
            raise Unrepairable("it sums an operand by itself")
        for names in (self.data, self.held, self.made):
            real = [n for n in names if n != UNIT]
            if len(set(real)) < len(real):
                raise Unrepairable("it repeats an axis within one operand")
        if not self.scale:
            raise Unrepairable("its product is multiplied by zero")

    @property
    def _groups(self) -> list[str]:
        return [n for n in self.held if n in self.data and n in self.made and n]

    @property
    def _outs(self) -> list[str]:
        return [n for n in self.held if n not in self.data and n in self.made]

    @property
    def _inner(self) -> list[str]:
        return [n for n in self.held if n in self.data and n not in self.made and n]

    @property
    def _rows(self) -> list[str]:
        return [n for n in self.made if n not in self.held]

    def _size(self, names: Sequence[str]) -> list[int]:
        return [self.shape[self.held.index(n)] for n in names]

    def matrix(self, weight: Array) -> Matrix:
        """[groups, out, contracted], times the scale."""
        order = [*self._groups, *self._outs, *self._inner]
        sizes = [prod(self._size(part)) for part in (self._groups, self._outs, self._inner)]
        return wide(_arranged(weight, self.held, order)).reshape(sizes) * self.scale

    def weight(self, matrix: Matrix) -> Matrix:
        """The inverse of :meth:`matrix`."""
        order = [*self._groups, *self._outs, *self._inner]
        places = [self.held.index(n) for n in order]
        return (matrix / self.scale).reshape(self._size(order)).transpose(inverse(_ranks(places))).reshape(self.shape)

    def count(self, output: Shape) -> int:
        """Product of the sizes of the axes that only the input brings."""
        return prod(output[self.made.index(n)] for n in self._rows)

    def rows(self, data: Array, output: Shape, pick: Pick) -> Matrix:  # noqa: ARG002 - as every form
        """[groups, rows, contracted]."""
        parts = (self._groups, [n for n in self._rows if n in self.data], self._inner)
        return self._split(data, self.data, parts)[:, pick]

    def targets(self, output: Array, pick: Pick) -> Matrix:
        """[groups, rows, out]."""
        return self._split(output, self.made, (self._groups, self._rows, self._outs))[:, pick]

    @staticmethod
    def _split(array: Array, names: Names, parts: tuple[list[str], ...]) -> Matrix:
        sizes = [prod(array.shape[names.index(n)] for n in part) for part in parts]
        return wide(_arranged(array, names, [n for part in parts for n in part]).reshape(sizes))

    def spread(self, bias: Matrix, rank: int) -> Matrix:
        """Ones along the axes of the rows."""
        order = [*self._groups, *self._outs]
        places = [self.made.index(n) for n in order]
        shape = [1] * rank
        for name, place in zip(order, places, strict=True):
            shape[place] = self._size([name])[0]
        return bias.reshape(self._size(order)).transpose(inverse(_ranks(places))).reshape(shape)

    def gather(self, bias: Array, rank: int) -> Matrix:
        """From anything that broadcasts to the output and does not vary along the rows."""
        names = self.made[rank - bias.ndim :]
        if bias.ndim > rank or any(s > 1 and n not in self.held for s, n in zip(bias.shape, names, strict=True)):
            raise Unrepairable("its bias varies from row to row")
        order = [*self._groups, *self._outs]
        full = [self._size([n])[0] if n in order else 1 for n in self.made]
        array = _arranged(np.broadcast_to(wide(bias), full), tuple(n if n in order else UNIT for n in self.made), order)
        return wide(array).reshape(prod(self._size(self._groups)), prod(self._size(self._outs)))


def gemm(node: ir.Node, held: int, shapes: tuple[Shape, Shape, Shape]) -> Contraction:
    """``alpha * A' B'`` with the weight as operand ``held``; ``shapes`` are those of input, weight and output."""
    names = [
        ("k", "m") if node.attributes.get_int("transA", 0) else ("m", "k"),
        ("n", "k") if node.attributes.get_int("transB", 0) else ("k", "n"),
    ]
    return Contraction(names[1 - held], names[held], ("m", "n"), shapes[1], node.attributes.get_float("alpha", 1.0))


def matmul(node: ir.Node, held: int, shapes: tuple[Shape, Shape, Shape]) -> Contraction:  # noqa: ARG001
    """``*b m k, *b k n -> *b m n``; one-dimensional operands lose their missing axis (numpy.matmul)."""
    ranks = (len(shapes[1]), len(shapes[0])) if held == 0 else (len(shapes[0]), len(shapes[1]))
    rank = max(*ranks, 2)

    def names(own: int, last: Names) -> Names:
        lead = own - len(last)
        return (*(f"b{rank - 2 - lead + k}" for k in range(lead)), *last)

    both = [names(ranks[0], ("m", "k")[-ranks[0] :] if ranks[0] > 1 else ("k",))]
    both.append(names(ranks[1], ("k", "n") if ranks[1] > 1 else ("k",)))
    ends = (("m",) if ranks[0] > 1 else ()) + (("n",) if ranks[1] > 1 else ())
    made = (*(f"b{k}" for k in range(rank - 2)), *ends)
    return _broadcast(both[1 - held], both[held], made, shapes)


def einsum(node: ir.Node, held: int, shapes: tuple[Shape, Shape, Shape]) -> Contraction:
    """Two operands without an ellipsis."""
    try:
        terms, made = equation(node)
    except Unexplained as reason:
        raise Unrepairable(str(reason)) from None
    if len(terms) != 2:
        raise Unrepairable("it multiplies more than two operands")
    return _broadcast(tuple(terms[1 - held]), tuple(terms[held]), tuple(made), shapes)


def _broadcast(data: Names, held: Names, made: Names, shapes: tuple[Shape, Shape, Shape]) -> Contraction:
    """Axes of size 1 that meet a larger one have no name."""
    sizes = (dict(zip(data, shapes[0], strict=True)), dict(zip(held, shapes[1], strict=True)))

    def kept(names: Names, own: dict[str, int], other: dict[str, int]) -> Names:
        return tuple(UNIT if own[n] == 1 and other.get(n, 1) > 1 else n for n in names)

    return Contraction(kept(data, sizes[0], sizes[1]), kept(held, sizes[1], sizes[0]), made, shapes[1])


def _arranged(array: Array, names: Names, order: Sequence[str]) -> Array:
    """Axes in the given order, those without a name (size 1) gone."""
    spare = tuple(k for k, n in enumerate(names) if n == UNIT)
    left = [n for n in names if n != UNIT]
    return np.squeeze(array, spare).transpose([left.index(n) for n in order])


def _ranks(places: Sequence[int]) -> list[int]:
    """Positions among themselves: (4, 1, 2) -> (2, 0, 1)."""
    ordered = sorted(places)
    return [ordered.index(p) for p in places]
