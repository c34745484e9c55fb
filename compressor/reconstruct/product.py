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
from compressor.core.arrays import Array
from compressor.operators.signature import Call, Signature, expand
from compressor.operators.table import operator_of
from compressor.reconstruct.form import VARYING, Matrix, Pick, Shape, Unrepairable, as_float64, inverse_permutation

Names = tuple[str, ...]
BROADCAST_AXIS = ""
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
        # An axis of one operand alone is summed before the product, and is no part of a matrix.
        alone = {n for n in self.data if n not in self.held and n not in self.made}
        alone |= {n for n in self.held if n not in self.data and n not in self.made}
        if alone - {BROADCAST_AXIS}:
            raise Unrepairable("it sums an operand by itself")
        for names in (self.data, self.held, self.made):
            real = [n for n in names if n != BROADCAST_AXIS]
            if len(set(real)) < len(real):
                # A diagonal, as Einsum allows it.
                raise Unrepairable("it repeats an axis within one operand")
        # The weight is divided by it when it is written back.
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

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Groups, outputs and contracted positions of :meth:`matrix`."""
        return prod(self._size(self._groups)), prod(self._size(self._outs)), prod(self._size(self._inner))

    def matrix(self, weight: Array) -> Matrix:
        """[groups, out, contracted], times the scale."""
        order = [*self._groups, *self._outs, *self._inner]
        return as_float64(_arranged(weight, self.held, order)).reshape(self.sizes) * self.scale

    def weight(self, matrix: Matrix) -> Matrix:
        """Turns a matrix back into the operator's weight: the inverse of :meth:`matrix`."""
        order = [*self._groups, *self._outs, *self._inner]
        # The axes that remain once those of size 1 are dropped are in the order of ``places``; ranks undo that order.
        places = [self.held.index(n) for n in order]
        return (
            (matrix / self.scale)
            .reshape(self._size(order))
            .transpose(inverse_permutation(_ranks(places)))
            .reshape(self.shape)
        )

    def resized(self, *, outs: int | None = None, inner: int | None = None) -> Shape:
        """The shape of a weight, of one axis of outputs and one that is contracted, with other sizes."""
        sizes = dict(zip(self.held, self.shape, strict=True))
        for (name,), size in ((self._outs, outs), (self._inner, inner)):
            sizes[name] = sizes[name] if size is None else size
        return tuple(sizes[name] for name in self.held)

    def count(self, output: Shape) -> int:
        """Rows in an output of this shape: the product of the sizes of the axes that are not the weight's."""
        return prod(output[self.made.index(n)] for n in self._rows)

    def rows(self, data: Array, output: Shape, pick: Pick) -> Matrix:  # noqa: ARG002 - as every form
        """Inputs as rows of a regression: float64[groups, rows, contracted]."""
        parts = (self._groups, [n for n in self._rows if n in self.data], self._inner)
        return self._split(data, self.data, parts)[:, pick]

    def targets(self, output: Array, pick: Pick) -> Matrix:
        """Outputs as rows of a regression: float64[groups, rows, out]."""
        return self._split(output, self.made, (self._groups, self._rows, self._outs))[:, pick]

    @staticmethod
    def _split(array: Array, names: Names, parts: tuple[list[str], ...]) -> Matrix:
        sizes = [prod(array.shape[names.index(n)] for n in part) for part in parts]
        return as_float64(_arranged(array, names, [n for part in parts for n in part]).reshape(sizes))

    def spread(self, bias: Matrix, rank: int) -> Matrix:
        """A bias in a shape that broadcasts against the output: 1 along the axes that are rows."""
        order = [*self._groups, *self._outs]
        places = [self.made.index(n) for n in order]
        shape = [1] * rank
        for name, place in zip(order, places, strict=True):
            shape[place] = self._size([name])[0]
        return bias.reshape(self._size(order)).transpose(inverse_permutation(_ranks(places))).reshape(shape)

    def gather(self, bias: Array, rank: int) -> Matrix:
        """From anything that broadcasts to the output and does not vary along the rows."""
        # Broadcasting lines shapes up at their ends (ONNX, numpy).
        names = self.made[rank - bias.ndim :]
        if bias.ndim > rank or any(s > 1 and n not in self.held for s, n in zip(bias.shape, names, strict=True)):
            raise Unrepairable(VARYING)
        order = [*self._groups, *self._outs]
        # Filled up along axes of outputs, where it may have size 1, and single along rows.
        full = [self._size([n])[0] if n in order else 1 for n in self.made]
        array = _arranged(
            np.broadcast_to(as_float64(bias), full),
            tuple(n if n in order else BROADCAST_AXIS for n in self.made),
            order,
        )
        return as_float64(array).reshape(prod(self._size(self._groups)), prod(self._size(self._outs)))


def contraction(node: ir.Node, held: int, shapes: tuple[Shape, Shape, Shape]) -> Contraction:
    """The form of a product whose weight is operand ``held``; ``shapes`` are those of input, weight and output.

    Names of axes are those of the operator's signature.

    Raises:
        Unrepairable: the form of the operator is declined, has other operands, or an axis that is split.
    """
    operator = operator_of(node)
    # ``shapes`` has the data first; the operator has its operands where they are.
    pair = (shapes[1], shapes[0]) if held == 0 else (shapes[0], shapes[1])
    call = Call(node, pair, shapes[2:])
    try:
        signature = Signature.parse(operator.text(call))
        operands, outputs = expand(signature, [len(s) for s in pair], [len(shapes[2])])
    except Unexplained as reason:
        raise Unrepairable(str(reason)) from None
    # Einsum takes any number of operands; of three, none is the weight of a matrix product of the others.
    if len(node.inputs) > 2 and operator.bias is None:
        raise Unrepairable("it multiplies more than two operands")
    sides = [operands[1 - held], operands[held], outputs[0]]
    if any(len(group) != 1 for axes in sides for group in axes):
        raise Unrepairable("it splits an axis")
    data, weight, made = (tuple(name for (name,) in axes) for axes in sides)
    scale = node.attributes.get_float(operator.factor, 1.0) if operator.factor else 1.0
    return _broadcast(data, weight, made, shapes, scale)


def _broadcast(data: Names, held: Names, made: Names, shapes: tuple[Shape, Shape, Shape], scale: float) -> Contraction:
    """Axes of size 1 that meet a larger one have no name."""
    sizes = (dict(zip(data, shapes[0], strict=True)), dict(zip(held, shapes[1], strict=True)))

    def kept(names: Names, own: dict[str, int], other: dict[str, int]) -> Names:
        # An axis of size 1 that meets a larger one is not contracted with it, though the signature gives both one name.
        return tuple(BROADCAST_AXIS if own[n] == 1 and other.get(n, 1) > 1 else n for n in names)

    return Contraction(kept(data, sizes[0], sizes[1]), kept(held, sizes[1], sizes[0]), made, shapes[1], scale)


def _arranged(array: Array, names: Names, order: Sequence[str]) -> Array:
    """Axes in the given order, those without a name (size 1) gone."""
    spare = tuple(k for k, n in enumerate(names) if n == BROADCAST_AXIS)
    left = [n for n in names if n != BROADCAST_AXIS]
    # Only axes without a name: others of size 1 are wanted, and squeezing all would lose them.
    return np.squeeze(array, spare).transpose([left.index(n) for n in order])


def _ranks(places: Sequence[int]) -> list[int]:
    """Positions among themselves: (4, 1, 2) -> (2, 0, 1)."""
    ordered = sorted(places)
    return [ordered.index(p) for p in places]
