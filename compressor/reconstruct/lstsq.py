"""Least-squares reconstruction of a layer: its inputs, and the dense net's outputs (arXiv 2106.07905, 2403.18955)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compressor.reconstruct.fit import Affine
from compressor.reconstruct.form import Matrix
from compressor.reconstruct.moments import Moments
from compressor.reconstruct.options import ReconstructOptions
from compressor.reconstruct.ridge import covariance_factor, ridge, ridge_of_rows


class LeastSquares:
    """Weights and bias with the smallest squared error, damped towards the surviving weights.

    Layers that share a weight share their sums: each is centred on its own means and gets its own bias. Where rows are
    fewer than unknowns, or these more than ``wide``, whose covariances would not fit into memory, the rows themselves
    are kept, and the system is one of rows.
    """

    binding = False
    follows_errors = False
    regresses = True

    def __init__(self, matrix: Matrix, layers: int, options: ReconstructOptions) -> None:
        self._matrix = matrix
        self._dampings = options.dampings
        self._wide = matrix.shape[2] > options.wide
        # Covariances of wide layers would be unknowns squared; there only means are summed.
        self._moments = [Moments(second=True, whole=self._wide) for _ in range(layers)]

    def add(self, layer: int, x: Matrix, y: Matrix) -> None:
        """Rows of one layer."""
        self._moments[layer].add(x, y)

    @property
    def _by_row(self) -> bool:
        """Is the system one of rows? They wait in the moments then, as none of these has had enough to sum them up."""
        return self._wide or bool(sum(m.count for m in self._moments) < self._matrix.shape[2])

    def proposals(self) -> Iterator[Affine]:
        """Proposed weights, one for each damping that is tried."""
        means = self.means
        for found in self._by_rows() if self._by_row else self._by_sums():
            if found is not None:
                yield Affine.with_means(found, means)

    @property
    def means(self) -> list[tuple[Matrix, Matrix]]:
        """Of inputs [groups, unknowns] and outputs [groups, out], for each layer."""
        return [m.means for m in self._moments]

    def covariances(self) -> Matrix:
        """float64[groups, unknowns, unknowns] of the inputs, of all layers together."""
        if not self._by_row:
            parts = [m.products()[0] for m in self._moments]
            return np.asarray(sum(parts) / max(sum(m.count for m in self._moments), 1))
        x, _ = self._centred()
        return np.asarray(x.transpose(0, 2, 1) @ x / max(x.shape[1], 1))

    def factors(self) -> list[Matrix]:
        """F, float64[rows, unknowns], for each group: FᵀF is the covariance, and no F has more rows than needed."""
        if not self._by_row:
            return [covariance_factor(covariance) for covariance in self.covariances()]
        x, _ = self._centred()
        return list(x / max(x.shape[1], 1) ** 0.5)

    def _by_sums(self) -> Iterator[Matrix | None]:
        parts = [m.products() for m in self._moments]
        inner, outer = parts[0]
        for more, others in parts[1:]:
            inner, outer = inner + more, outer + others
        for damping in self._dampings:
            yield ridge(self._matrix, inner, outer, damping)

    def _centred(self) -> tuple[Matrix, Matrix]:
        """All rows, each layer's about its own means, as each has a bias of its own."""
        x, y = (np.concatenate(part, axis=1) for part in zip(*(m.rows for m in self._moments), strict=True))
        return x, y

    def _by_rows(self) -> Iterator[Matrix | None]:
        x, y = self._centred()
        for damping in self._dampings:
            yield ridge_of_rows(self._matrix, x, y, damping)
