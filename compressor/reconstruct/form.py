"""A linear operator as a matrix: which numbers of its input meet which numbers of its weight.

A form turns the operator into ``y = W x + b`` over rows: ``W`` is float64[groups, out, unknowns], a row of the input
is float64[groups, unknowns], a row of the output float64[groups, out].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from compressor.core.arrays import Array

Matrix = npt.NDArray[np.float64]
Pick = npt.NDArray[np.int64]
Shape = tuple[int, ...]
VARYING = "its bias varies from row to row"


class Unrepairable(Exception):  # noqa: N818 - control flow: the layer is left alone, the reason is for the user
    """A layer has no form here, or its weight cannot be written back."""


class OperandForm(Protocol):
    """How one node reads its operands."""

    def matrix(self, weight: Array) -> Matrix:
        """The weight as the node holds it -> [groups, out, unknowns]."""
        ...

    def weight(self, matrix: Matrix) -> Matrix:
        """Turns a matrix back into the operator's weight: the inverse of :meth:`matrix`."""
        ...

    def count(self, output: Shape) -> int:
        """Rows in an output of this shape."""
        ...

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Groups, outputs and contracted positions of the matrix of a weight, without reading it."""
        ...

    def rows(self, data: Array, output: Shape, pick: Pick) -> Matrix:
        """Rows ``pick`` of the input that leads to an output of this shape: [groups, rows, unknowns]."""
        ...

    def targets(self, output: Array, pick: Pick) -> Matrix:
        """Rows ``pick`` of the output: [groups, rows, out]."""
        ...

    def spread(self, bias: Matrix, rank: int) -> Matrix:
        """A bias [groups, out] as an array of ``rank`` axes that broadcasts to the output."""
        ...

    def gather(self, bias: Array, rank: int) -> Matrix:
        """The inverse of :meth:`spread`, for any array that broadcasts to the same.

        Raises:
            Unrepairable: it varies from row to row.
        """
        ...


def as_float64(array: Array) -> Matrix:
    """The array in float64, in which systems of equations are solved."""
    return np.asarray(array, dtype=np.float64)


def inverse_permutation(order: Sequence[int]) -> list[int]:
    """The permutation that undoes ``order``."""
    return [int(k) for k in np.argsort(order)]
