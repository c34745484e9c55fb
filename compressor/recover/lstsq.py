"""Least-squares reconstruction of a layer: its inputs, and the dense net's outputs (arXiv 2106.07905, 2403.18955)."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.recover.fit import Affine
from compressor.recover.form import Matrix
from compressor.recover.moments import Moments
from compressor.recover.options import Options
from compressor.recover.ridge import ridge


class LeastSquares:
    """Weights and bias with the smallest squared error, damped towards the surviving weights.

    Layers that share a weight share their sums: each is centred on its own means and gets its own bias.
    """

    def __init__(self, matrix: Matrix, layers: int, options: Options) -> None:
        self._matrix = matrix
        self._dampings = options.dampings
        self._moments = [Moments(second=True) for _ in range(layers)]

    def add(self, layer: int, x: Matrix, y: Matrix) -> None:
        """Rows of one layer."""
        self._moments[layer].add(x, y)

    def proposals(self) -> Iterator[Affine]:
        """One for each damping."""
        parts = [m.products() for m in self._moments]
        inner, outer = parts[0]
        for more, others in parts[1:]:
            inner, outer = inner + more, outer + others
        for damping in self._dampings:
            found = ridge(self._matrix, inner, outer, damping)
            if found is not None:
                means = [m.means for m in self._moments]
                yield Affine(found, tuple(y - (found @ x[:, :, None])[:, :, 0] for x, y in means))
