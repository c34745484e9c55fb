"""The operands of a node and the joint space in which they meet, by names of axes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

AxisNames = tuple[tuple[str, ...], ...]
"""For each axis of a value, the names that it is a row-major split of."""


@dataclass(frozen=True)
class Operand:
    """A value and the names of each of its axes; several names on one axis are a row-major split of it.

    An axis of size 1 that is broadcast spans nothing and has no names.
    """

    value: ir.Value
    axes: AxisNames

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all axes, in the order in which they lie in memory."""
        return tuple(name for group in self.axes for name in group)


@dataclass(frozen=True)
class Space:
    """The joint space of one node.

    Attributes:
        sizes: name -> size, for every name of size above 1.
        fixed: names whose extent or order matters to the operator (windows, softmax): nothing is removed there.
        rows: what becomes of an axis ``(g i)`` whose ``i`` is summed over, so that the output has ``g`` alone, as
            attention's scores have an axis of heads: rows go as a whole, and the output has their channels (True); or
            each row loses as many of its own, and the output has none (False).
        in_order: names along which the operator looks at what lies beside each position: positions may go and leave
            their place to nobody, and those of rows may not, as every row would leave others.
    """

    sizes: Mapping[str, int]
    fixed: Collection[str] = ()
    rows: bool = False
    in_order: Collection[str] = ()
