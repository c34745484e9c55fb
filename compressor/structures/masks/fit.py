"""What is kept under a mask, fitted by ridge regression: every output has unknowns of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compressor.reconstruct.fit import Affine
from compressor.reconstruct.form import Matrix
from compressor.reconstruct.lstsq import LeastSquares
from compressor.reconstruct.options import ReconstructOptions
from compressor.structures.masks.pieces import WeightMask, alike

DIRECT = 16
"""Masks of one layer that are solved one by one, at most."""
SOLVER_STEPS, CLOSE = 100, 1e-4
"""Steps of conjugate gradients, at most, and the share of the first residual at which they end."""


def masked_ridge(
    weights: Matrix, inputs: Matrix, kept: WeightMask, damping: float, steps: int = SOLVER_STEPS
) -> Matrix:
    """Weights under a mask whose outputs are nearest to those of ``weights``, damped towards them.

    For every output o with its kept unknowns S the solution of ``(C_SS + μI) w_S = (C_S: + μI_S:) W_o``, μ a share of
    the mean variance. Outputs with the same mask share a factorisation. Where there are many masks, all are solved
    together by conjugate gradients with the diagonal as preconditioner (Hestenes and Stiefel 1952).

    Args:
        weights: float64[out, unknowns], without the mask.
        inputs: float64[unknowns, unknowns], covariance C of the inputs.
        kept: bool[out, unknowns].
        damping: ridge as a share of the mean variance.
        steps: of conjugate gradients, at most.
    """
    mean = float(np.trace(inputs)) / max(len(inputs), 1)
    # Inputs that never vary leave nothing to take a share of; any ridge will do then.
    damped = inputs + (damping * mean if mean > 0 else 1.0) * np.eye(len(inputs))
    classes = alike(kept)
    if len(classes) > DIRECT:
        return _by_gradients(weights, damped, kept, steps)
    found = np.zeros(weights.shape)
    for rows in map(np.asarray, classes):
        mask = kept[rows[0]]
        # A filter that keeps nothing has no unknowns.
        if mask.any():
            right = damped[mask] @ weights[rows].T
            found[np.ix_(rows, np.flatnonzero(mask))] = np.linalg.solve(damped[np.ix_(mask, mask)], right).T
    return found


def _by_gradients(weights: Matrix, damped: Matrix, kept: WeightMask, steps: int) -> Matrix:
    """The same for every output by itself; ``damped`` is C + μI."""
    diagonal = np.diag(damped)
    found = np.where(kept, weights, 0.0)
    residual = np.where(kept, (weights - found) @ damped, 0.0)
    scaled = residual / diagonal
    direction = scaled
    energy = (residual * scaled).sum(axis=1)
    limit = CLOSE**2 * energy
    for _ in range(steps):
        if (energy <= limit).all():
            break
        moved = np.where(kept, direction @ damped, 0.0)
        # Outputs that are done stand still: their direction may have no length left to divide by.
        length = np.divide(energy, (direction * moved).sum(axis=1), out=np.zeros_like(energy), where=energy > limit)
        found = found + length[:, None] * direction
        residual = residual - length[:, None] * moved
        scaled = residual / diagonal
        after = (residual * scaled).sum(axis=1)
        ratio = np.divide(after, energy, out=np.zeros_like(energy), where=energy > limit)
        direction = scaled + ratio[:, None] * direction
        energy = after
    return np.asarray(found)


class MaskedEntries:
    """What a mask keeps of one layer's entries: as a fit proposed them last, or as they are there.

    Args:
        mask: bool[out, ...], of the layer's weights or of its coefficients.
        regress: a fit looks for better ones; otherwise it proposes those that are there.
    """

    def __init__(self, mask: WeightMask, *, regress: bool) -> None:
        self.kept = mask.reshape(len(mask), -1)
        self._regress = regress
        self._fit: MaskedFit | None = None
        self._there: Matrix | None = None

    @property
    def found(self) -> Matrix | None:
        """float64[1, out, unknowns], zero under the mask; None before there are any."""
        return self._there if self._fit is None else self._fit.taken

    def fit(self, matrix: Matrix, options: ReconstructOptions) -> MaskedFit:
        """What proposes entries from now on, starting from ``matrix``."""
        self._fit = MaskedFit(self.kept, matrix, options, regress=self._regress)
        return self._fit

    def take(self, matrix: Matrix) -> None:
        """Those of ``matrix``, as there is nothing to fit them to."""
        self._there = np.where(self.kept, matrix, 0.0)


class MaskedFit(LeastSquares):
    """Proposes weights under a mask, with the bias that restores the mean of each output.

    Args:
        kept: bool[out, unknowns].
        matrix: float64[1, out, unknowns], the weight.
        options: of least squares.
        regress: fit them; otherwise those that are there, zero where they are masked.
    """

    binding = True

    def __init__(self, kept: WeightMask, matrix: Matrix, options: ReconstructOptions, *, regress: bool) -> None:
        super().__init__(matrix, 1, options)
        self._kept, self._regress = kept, regress
        self._damping = options.dampings[0]
        self.taken: Matrix | None = None

    def proposals(self) -> Iterator[Affine]:
        """One: least squares without the mask first, then the nearest under it."""
        found = next(super().proposals(), None) if self._regress else None
        matrix = np.where(self._kept, self._matrix[0], 0.0)
        if found is not None:
            matrix = masked_ridge(found.matrix[0], self.covariances()[0], self._kept, self._damping)
        self.taken = matrix[None]
        yield Affine.with_means(self.taken, self.means)
