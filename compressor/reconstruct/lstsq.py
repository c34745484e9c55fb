"""Least-squares reconstruction of a layer: its inputs, and the dense net's outputs (arXiv 2106.07905, 2403.18955)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compressor.reconstruct.fit import Affine
from compressor.reconstruct.form import Matrix
from compressor.reconstruct.moments import Moments
from compressor.reconstruct.options import ReconstructOptions
from compressor.reconstruct.ridge import ridge, ridge_of_rows


class LeastSquares:
    """Weights and bias with the smallest squared error, damped towards the surviving weights.

    Layers that share a weight share their sums: each is centred on its own means and gets its own bias. With more
    unknowns than ``wide``, whose covariances would not fit into memory, the rows themselves are kept.
    """

    binding = False

    def __init__(self, matrix: Matrix, layers: int, options: ReconstructOptions) -> None:
        self._matrix = matrix
        self._dampings = options.dampings
        self._wide = matrix.shape[2] > options.wide
        # Covariances of wide layers would be unknowns squared; there only means are summed.
        self._moments = [Moments(second=not self._wide) for _ in range(layers)]
        self._rows: list[list[tuple[Matrix, Matrix]]] = [[] for _ in range(layers)]

    def add(self, layer: int, x: Matrix, y: Matrix) -> None:
        """Rows of one layer."""
        self._moments[layer].add(x, y)
        if self._wide:
            self._rows[layer].append((x, y))

    def proposals(self) -> Iterator[Affine]:
        """Proposed weights, one for each damping that is tried."""
        means = self.means
        for found in self._by_rows(means) if self._wide else self._by_sums():
            if found is not None:
                # The bias that makes the means agree is the best one for any weight, so it need not be solved for.
                yield Affine(found, tuple(y - (found @ x[:, :, None])[:, :, 0] for x, y in means))

    @property
    def means(self) -> list[tuple[Matrix, Matrix]]:
        """Of inputs [groups, unknowns] and outputs [groups, out], for each layer."""
        return [m.means for m in self._moments]

    def covariances(self) -> Matrix:
        """float64[groups, unknowns, unknowns] of the inputs, of all layers together."""
        if not self._wide:
            parts = [m.products()[0] for m in self._moments]
            return np.asarray(sum(parts) / max(sum(m.count for m in self._moments), 1))
        # Each layer about its own means, as each has a bias of its own.
        x, _ = self._centred(self.means)
        return np.asarray(x.transpose(0, 2, 1) @ x / max(x.shape[1], 1))

    def _by_sums(self) -> Iterator[Matrix | None]:
        parts = [m.products() for m in self._moments]
        inner, outer = parts[0]
        for more, others in parts[1:]:
            inner, outer = inner + more, outer + others
        for damping in self._dampings:
            yield ridge(self._matrix, inner, outer, damping)

    def _centred(self, means: list[tuple[Matrix, Matrix]]) -> tuple[Matrix, Matrix]:
        """All rows, each layer's about its own means."""
        pairs = zip(self._rows, means, strict=True)
        parts = [(x - mx[:, None], y - my[:, None]) for rows, (mx, my) in pairs for x, y in rows]
        x, y = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return x, y

    def _by_rows(self, means: list[tuple[Matrix, Matrix]]) -> Iterator[Matrix | None]:
        x, y = self._centred(means)
        for damping in self._dampings:
            yield ridge_of_rows(self._matrix, x, y, damping)
