"""A layer's kernels in a basis of their own: which one it starts from, and how matrices read in it (arXiv 2203.07808).

With t taps every kernel is ``h[o, i] = Σ_n λ[o, i, n] f_n``; the layer shares the t basis kernels f_n. Both starts are
orthonormal, so that nothing changes: the unit kernels, by which coefficients are the weights that are there, and the
right singular vectors of the [out * channels, t] matrix, by which the fewest coefficients hold the most energy (Eckart
and Young 1936).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from compressor.reconstruct.form import Matrix


@dataclass(frozen=True, eq=False)
class KernelSpace:
    """Coordinates of kernels.

    Attributes:
        basis: float64[t, t], a basis kernel a row; orthonormal.
    """

    basis: Matrix

    @property
    def taps(self) -> int:
        """Taps of a kernel."""
        return len(self.basis)

    def coordinates(self, rows: Matrix) -> Matrix:
        """Kernels to coefficients, or what a layer reads to what its coefficients multiply: [..., channels * t]."""
        return self._turned(rows, self.basis.T)

    def kernels(self, coefficients: Matrix) -> Matrix:
        """Coefficients back to kernels, [..., channels * t]."""
        return self._turned(coefficients, self.basis)

    def covariance(self, inputs: Matrix) -> Matrix:
        """float64[unknowns, unknowns], that of what a layer reads, as its coefficients see it."""
        return self.coordinates(self.coordinates(inputs).T)

    def _turned(self, rows: Matrix, by: Matrix) -> Matrix:
        return np.asarray(rows.reshape(-1, self.taps) @ by).reshape(rows.shape)


def identity(matrix: Matrix, taps: int) -> KernelSpace:  # noqa: ARG001 - as every start is made
    """The space of kernels with one tap each, in which coefficients are the weights themselves."""
    return KernelSpace(np.eye(taps))


def principal(matrix: Matrix, taps: int) -> KernelSpace:
    """The right singular vectors of all kernels of ``matrix``, float64[..., channels * taps], the strongest first."""
    kernels = matrix.reshape(-1, taps)
    # Of the small product, as there are far more kernels than taps.
    _, vectors = np.linalg.eigh(kernels.T @ kernels)
    return KernelSpace(np.ascontiguousarray(vectors[:, ::-1].T))


STARTS: Mapping[str, Callable[[Matrix, int], KernelSpace]] = MappingProxyType({"pca": principal, "identity": identity})
"""Name of the setting -> the basis that a layer starts from."""
