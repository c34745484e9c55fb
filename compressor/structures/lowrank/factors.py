"""Two factors of a layer's matrix, the best for the inputs that the layer reads and what its outputs are worth.

A layer is ``y = W x`` over rows, W float64[groups, out, unknowns], a row of x one number for each input channel and tap
(:mod:`compressor.reconstruct.form`). With C the covariance of x and G = S² what a change of y is worth, the matrix of
rank r that loses least, ``tr(G (W - W_r) C (W - W_r)ᵀ)``, is the truncated singular value decomposition in these
metrics (Eckart and Young 1936; Zhang et al., arXiv 1505.06798, section 3.1, for responses of a layer):

    S W C Wᵀ S = U Λ Uᵀ        W_r = (S⁻¹ U_r) (U_rᵀ S W)

Side ``outputs`` keeps r mixtures of outputs: the kernel with r filters, then a pointwise layer. Side ``inputs`` keeps r
mixtures of input channels: a pointwise layer, then the kernel on r channels (Kim et al., arXiv 1511.06530, on one
side). Its first factor comes from the same decomposition with the taps unfolded to the outputs and C averaged over
taps; the second is the regression on what the first gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.reconstruct.form import Matrix, as_float64
from compressor.reconstruct.ridge import lifted_cholesky, ridge_of_either, upper_solution
from compressor.structures.layer.geometry import ThinnedSide
from compressor.structures.layer.judged import Weighting

METRIC_RIDGE = 1e-6
"""Of metrics that are inverted, as a share of their mean: directions that nothing excites."""


@dataclass(frozen=True)
class Factors:
    """A matrix as a product.

    Attributes:
        side: which side is thinned.
        first: float64[groups, rank, unknowns], or [groups, rank, channels] where inputs are thinned.
        second: float64[groups, out, rank], or [groups, out, rank * taps] where inputs are thinned.
    """

    side: ThinnedSide
    first: Matrix
    second: Matrix

    @property
    def rank(self) -> int:
        """The rank of the product, the same in each group."""
        return int(self.first.shape[1])

    def product(self) -> Matrix:
        """The matrix that both factors make: float64[groups, out, unknowns]."""
        if self.side == "outputs":
            return self.second @ self.first
        groups, out, _ = self.second.shape
        taps = self.second.reshape(groups, out, self.rank, -1)
        return np.asarray(np.einsum("gork,gri->goik", taps, self.first, optimize=True)).reshape(groups, out, -1)


class Truncation:
    """Factors of one matrix at any rank, from one decomposition.

    Args:
        matrix: float64[out, unknowns].
        metrics: what it is judged by.
        channels: input channels; the unknowns are channels times taps.
        side: which side is thinned.
    """

    def __init__(self, matrix: Matrix, metrics: Weighting, channels: int, side: ThinnedSide) -> None:
        self._matrix, self._side = matrix, side
        self._rows = as_float64(metrics.inputs)
        self._channels, self._taps = channels, matrix.shape[1] // max(channels, 1)
        self._root = _root(metrics.outputs)
        self._left = self._root @ matrix
        if side == "outputs":
            self._vectors = _strongest(self._left, self._rows)
        else:
            taps = self._by_tap()
            weighed = self._left.reshape(-1, channels, self._taps).transpose(1, 0, 2).reshape(channels, -1)
            # One pointwise layer serves all taps, so it sees the mean of their covariances.
            self._root = _root(taps.T @ taps / self._taps)
            unfolded = self._root @ weighed
            self._vectors = _sorted_vectors(unfolded @ unfolded.T)

    def at(self, rank: int) -> tuple[Matrix, Matrix]:
        """The two factors: [rank, unknowns] and [out, rank], or [rank, channels] and [out, rank * taps]."""
        chosen = self._vectors[:, :rank]
        back = upper_solution(self._root, chosen)
        if self._side == "outputs":
            return chosen.T @ self._left, back
        return back.T, self._regressed(back.T)

    def dropped(self, rows: npt.NDArray[np.float32]) -> Matrix:
        """float64[out + 1]: mean over centred ``rows``, float32[rows, unknowns], of what each rank loses of them.

        Of the side ``outputs`` only.
        """
        seen = rows @ (self._vectors.T @ self._left).T.astype(np.float32)
        parts = np.square(seen, dtype=np.float64).sum(axis=0) / max(len(rows), 1)
        return np.concatenate([np.cumsum(parts[::-1])[::-1], [0.0]])

    def product(self, first: Matrix, second: Matrix) -> Matrix:
        """What two factors of :meth:`at` come to: float64[out, unknowns]."""
        return np.asarray(Factors(self._side, first[None], second[None]).product()[0])

    def _by_tap(self) -> Matrix:
        """F with every tap as a row of its own: float64[rows * taps, channels]."""
        parts = self._rows.reshape(-1, self._channels, self._taps).transpose(0, 2, 1)
        return np.asarray(parts.reshape(-1, self._channels))

    def _regressed(self, first: Matrix) -> Matrix:
        """The second factor that loses least, given the first: W C Zᵀ (Z C Zᵀ)⁻¹ with Z = first, at every tap."""
        seen = (self._by_tap() @ first.T).reshape(-1, self._taps, len(first))
        seen = seen.transpose(0, 2, 1).reshape(1, len(self._rows), -1)  # F Zᵀ
        wanted = (self._rows @ self._matrix.T)[None]
        # Directions that nothing excites would make it singular.
        found = ridge_of_either(np.zeros((1, len(self._matrix), seen.shape[2])), seen, wanted, METRIC_RIDGE)
        assert found is not None, "rows that are not finite are refused where they are read"
        return np.asarray(found[0])


def factorised(matrix: Matrix, metrics: list[Weighting], channels: int, side: ThinnedSide, rank: int) -> Factors:
    """All groups of a matrix, float64[groups, out, unknowns], at one rank."""
    found = [Truncation(m, s, channels, side).at(rank) for m, s in zip(matrix, metrics, strict=True)]
    return Factors(side, np.stack([first for first, _ in found]), np.stack([second for _, second in found]))


def rounded(factors: Factors, dtype: np.dtype[np.generic]) -> Factors:
    """Factors of equal norms, rank by rank, in the numbers that ``dtype`` holds.

    What one factor is multiplied by and the other divided by changes nothing, and equal norms waste no range.
    """
    groups, rank, _ = factors.first.shape
    seconds = factors.second.reshape(groups, -1, rank, factors.second.shape[2] // rank)
    one = np.sqrt(np.square(factors.first).sum(axis=2))
    two = np.sqrt(np.square(seconds).sum(axis=(1, 3)))
    # A rank that is zero in one factor stays as it is.
    scale = np.sqrt(np.divide(two, one, out=np.ones_like(one), where=(one > 0) & (two > 0)))
    first = (factors.first * scale[:, :, None]).astype(dtype)
    second = (seconds / scale[:, None, :, None]).astype(dtype).reshape(factors.second.shape)
    return Factors(factors.side, first.astype(np.float64), second.astype(np.float64))


def _root(metric: Matrix) -> Matrix:
    """R with RᵀR = metric, upper triangular.

    Any such R does in the place of the symmetric one: with z = R W x it is the same length that is looked at, and what
    is kept of z is brought back by the inverse of the same R. It takes a fraction of the time of eigenvalues.
    """
    return np.asarray(lifted_cholesky(metric, METRIC_RIDGE).T)


def _strongest(left: Matrix, rows: Matrix) -> Matrix:
    """The directions of z = left x with the most energy, the strongest first, as orthonormal columns.

    Found on the smaller side: with more outputs than unknowns z lies in as many directions as there are unknowns.
    """
    if len(left) <= left.shape[1]:
        seen = rows @ left.T
        return _sorted_vectors(seen.T @ seen)
    wide = left @ _root(rows.T @ rows).T
    # These columns are orthogonal already, but for what rounding does to the weakest.
    return np.asarray(np.linalg.qr(wide @ _sorted_vectors(wide.T @ wide))[0])


def _sorted_vectors(seen: Matrix) -> Matrix:
    """Eigenvectors of a covariance, the strongest first."""
    # Symmetric to the last bit, as eigh reads one half only.
    return np.asarray(np.linalg.eigh((seen + seen.T) / 2)[1][:, ::-1])
