"""What a recovery method is: it sees rows of one weight's layers and proposes new weights and biases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from compressor.core.arrays import Array
from compressor.reconstruct.form import Matrix, as_float64
from compressor.reconstruct.options import ReconstructOptions


@dataclass(frozen=True)
class Affine:
    """A weight and the biases of the layers that use it.

    Attributes:
        matrix: float64[groups, out, unknowns].
        biases: float64[groups, out], one for each layer.
    """

    matrix: Matrix
    biases: tuple[Matrix, ...]

    @staticmethod
    def with_means(matrix: Matrix, means: Sequence[tuple[Matrix, Matrix]]) -> Affine:
        """With the biases that make outputs agree in the mean, which are the best for any weight.

        Args:
            matrix: the weight.
            means: of the inputs [groups, unknowns] and outputs [groups, out] of each layer.
        """
        return Affine(matrix, tuple(y - (matrix @ x[:, :, None])[:, :, 0] for x, y in means))


class Fit(Protocol):
    """Takes rows in, gives proposals out."""

    def add(self, layer: int, x: Matrix, y: Matrix) -> None:
        """Rows of one layer: inputs [groups, rows, unknowns], and dense outputs [groups, rows, out]."""
        ...

    def proposals(self) -> Iterator[Affine]:
        """What could replace the surviving weights; the held-out rows decide."""
        ...

    @property
    def binding(self) -> bool:
        """Does one of the proposals have to be taken, as the weights that are there are not allowed to stay?"""
        ...


class MakeFit(Protocol):
    """Begins the fit of one weight; the class of a fit does."""

    def __call__(self, matrix: Matrix, layers: int, options: ReconstructOptions, /) -> Fit:
        """A fit that has seen no rows yet.

        Args:
            matrix: the weight as the cut left it, float64[groups, out, unknowns].
            layers: how many layers use it; rows come with the number of theirs, from 0.
            options: of the recovery.
        """
        ...


class RecoveryMethod(MakeFit, Protocol):
    """What stands in :data:`compressor.config.choices.RECOVERIES`: most simply the class of a fit."""

    @property
    def follows_errors(self) -> bool:
        """Is every layer behind the cut repaired, and sees what the nets compute as they run, also where the options
        say that layers see dense inputs?"""
        ...

    @property
    def regresses(self) -> bool:
        """Are weights fitted to outputs? Factors and masks that layers become are then fitted too, and else taken from
        the weights that are there."""
        ...


class Holdout:
    """Rows that no fit sees, kept as they are: errors come without the cancellation of moments."""

    def __init__(self, layers: int) -> None:
        self._rows: list[list[tuple[Array, Matrix]]] = [[] for _ in range(layers)]

    def add(self, layer: int, x: Matrix, y: Matrix) -> None:
        """Takes rows of one layer, as :meth:`Fit.add` does."""
        # Inputs are most of the memory; outputs stay in float64, as errors are small differences of them.
        self._rows[layer].append((x.astype(np.float32), y))

    def error(self, found: Affine) -> float:
        """Root of the squared error over the squared spread of the dense outputs about their means."""
        gap = spread = 0.0
        for rows, bias in zip(self._rows, found.biases, strict=True):
            if not rows:
                continue
            mean = np.concatenate([y for _, y in rows], axis=1).mean(axis=1, keepdims=True)
            for x, y in rows:
                made = as_float64(x) @ found.matrix.transpose(0, 2, 1) + bias[:, None]
                gap += float(np.square(y - made).sum())
                spread += float(np.square(y - mean).sum())
        # A proposal that overflows must lose against any other, and NaN compares as false.
        if not np.isfinite(gap):
            return float("inf")
        # Constant outputs have no spread to take a share of.
        return float(np.sqrt(gap / spread)) if spread else float(np.sqrt(gap))
