"""How a product reads its weight: which axes of it hold outputs, and which are summed over."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.operators.operator import Operator
from compressor.operators.signature import Call, NamedAxes, Shape, Signature, expand, solve_sizes

WeightNumbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WeightAxes:
    """The axes of a weight by what they do.

    Attributes:
        split: sizes of all named axes, in row-major order; their product is the weight's size.
        roles: one letter each, from where the name stands: ``o`` in weight and output (outputs), ``g`` in the data
            too (groups), ``i`` in weight and data (summed over), ``t`` in the weight alone (taps of a kernel).
    """

    split: Shape
    roles: str

    @property
    def groups(self) -> int:
        """Blocks of the product that share nothing."""
        return self._size("g")

    @property
    def channels(self) -> int:
        """Output channels, of all groups."""
        return self._size("go")

    @property
    def inputs_first(self) -> bool:
        """Do the axes that are summed over come before those of the outputs, as in ConvTranspose and ``x @ w``?"""
        return self.roles.find("i") < self.roles.find("o")

    def _size(self, of: str) -> int:
        return prod(size for size, role in zip(self.split, self.roles, strict=True) if role in of)

    def filters(self, weight: Array) -> WeightNumbers:
        """The weight by output channel: float64[channels, all that is summed over]."""
        return weight.astype(np.float64).reshape(self.split).transpose(self._order).reshape(self.channels, -1)

    def kernel(self, filters: WeightNumbers, shape: Shape) -> WeightNumbers:
        """The weight, of this shape, whose :meth:`filters` these are."""
        sizes = [self.split[k] for k in self._order]
        return filters.reshape(sizes).transpose(np.argsort(self._order)).reshape(shape)

    @property
    def _order(self) -> list[int]:
        return sorted(range(len(self.roles)), key=lambda k: "goit".index(self.roles[k]))

    def scaled(self, weight: Array, scale: WeightNumbers) -> WeightNumbers:
        """The weight with each output channel multiplied by its entry of ``scale``, in its own shape."""
        shape = [size if role in "go" else 1 for size, role in zip(self.split, self.roles, strict=True)]
        return (weight.astype(np.float64).reshape(self.split) * scale.reshape(shape)).reshape(weight.shape)


def weight_axes(operator: Operator, node: ir.Node, index: int, shape: Shape) -> WeightAxes:
    """How ``node`` reads a weight of this shape as its input ``index``; of other operands nothing has to be known.

    Raises:
        Unexplained: the form of the operator is declined, or the weight does not fit its signature.
    """
    # Other operands may be unknown: roles follow from the signature, sizes from the weight alone.
    shapes = tuple(shape if k == index else None for k in range(len(node.inputs)))
    signature = Signature.parse(operator.text(Call(node, shapes)))
    own, _ = expand(signature, [None if s is None else len(s) for s in shapes], ())
    named = NamedAxes(extents=dict(zip(own[index], shape, strict=True)))
    solve_sizes(named, *operator.given(node))
    made = {name for side in signature.outputs for item in side for name in item.names}
    others = [side for k, side in enumerate(signature.operands) if k in operator.factors and k != index]
    read = {name for side in others for item in side for name in item.names}
    roles = {(True, False): "o", (True, True): "g", (False, True): "i", (False, False): "t"}
    names = [name for group in own[index] for name in group]
    letters = [roles[_base(n, made), _base(n, read)] for n in names]
    return WeightAxes(tuple(named.sizes.get(n, 1) for n in names), "".join(letters))


def _base(name: str, names: set[str]) -> bool:
    """Is a name, or the star that it is of, among ``names``?"""
    return name in names or name.rstrip("0123456789") in names
