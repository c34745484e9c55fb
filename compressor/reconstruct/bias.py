"""Bias correction: each channel gets back the mean that it has in the dense net, and if asked its variance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compressor.reconstruct.fit import Affine
from compressor.reconstruct.form import Matrix
from compressor.reconstruct.moments import Moments
from compressor.reconstruct.options import ReconstructOptions


class BiasCorrection:
    """Means of the outputs are matched by the bias (arXiv 1906.04721, section 4.2, for pruning instead of rounding)."""

    binding = False
    # Means are compared as the nets run.
    follows_errors = True
    regresses = False

    def __init__(self, matrix: Matrix, layers: int, options: ReconstructOptions) -> None:
        self._matrix = matrix
        self._spread = options.match_spread
        self._moments = [Moments(second=False) for _ in range(layers)]

    def add(self, layer: int, x: Matrix, y: Matrix) -> None:
        """Rows of one layer."""
        # Outputs of the weights as they are, against the dense ones: only first and second moments are needed.
        self._moments[layer].add(x @ self._matrix.transpose(0, 2, 1), y)

    def proposals(self) -> Iterator[Affine]:
        """The surviving weights with new biases."""
        matrix = self._matrix
        means = [m.means for m in self._moments]
        if self._spread:
            # Layers that share a weight share its factor, so their variances are averaged by rows.
            have, want = (sum(m.variances[k] * m.count for m in self._moments) for k in (0, 1))
            # A channel that is constant now cannot be scaled to vary; it keeps its weights.
            factor = np.sqrt(np.divide(want, have, out=np.ones_like(matrix[:, :, 0]), where=np.asarray(have) > 0))
            matrix = matrix * factor[:, :, None]
            # The factor moves the mean as well, and the bias has to make up for the moved one.
            means = [(x * factor, y) for x, y in means]
        yield Affine(matrix, tuple(y - x for x, y in means))
