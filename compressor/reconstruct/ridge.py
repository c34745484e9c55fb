"""Ridge regression in closed form, centred on the weights that are there (arXiv 2106.07905; OBS, 2403.18955)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compressor.reconstruct.form import Matrix, as_float64

BLOCK = 128
"""Rows of one step of a triangular solution."""
LEAST_RIDGE = 1e-12
"""Ridge of a covariance that is taken apart without being inverted, as a share of the mean variance: rounding."""
WORST = 10.0
"""Largest damping that is tried, as a share of the mean variance."""


def ridge(weights: Matrix, inputs: Matrix, products: Matrix, damping: float) -> Matrix | None:
    """``W' = (T + mu W) (C + mu I)^-1`` with ``mu = damping * mean(diag C)``, for each group.

    The same as what Optimal Brain Surgeon does with the removed weights, at the same damping. Where the matrix is
    not positive definite, ``mu`` grows tenfold.

    Args:
        weights: float64[groups, out, unknowns], the surviving weights.
        inputs: float64[groups, unknowns, unknowns], covariance C of the inputs.
        products: float64[groups, out, unknowns], covariance T of targets and inputs.
        damping: ridge as a share of the mean variance.

    Returns:
        The new weights, or None where no damping up to ``WORST`` helps.
    """
    # Solved for the change, not for the weight: where the data says nothing it is zero, and the weights stay.
    rest = products - weights @ inputs
    mean = np.trace(inputs, axis1=1, axis2=2) / inputs.shape[-1]
    # With NaNs or infinities no damping helps.
    if not np.isfinite(rest).all() or not np.isfinite(mean).all():
        return None
    # A group whose inputs are constant has nothing to scale the ridge by; any positive number will do.
    mean[mean <= 0] = 1.0
    factor = _damped_factor(inputs, mean, damping)
    if factor is None:
        return None
    return np.asarray(weights + _solved(factor, rest.transpose(0, 2, 1)).transpose(0, 2, 1))


def ridge_of_rows(weights: Matrix, x: Matrix, y: Matrix, damping: float) -> Matrix | None:
    """:func:`ridge` from centred rows, for more unknowns than rows: the matrix to solve is rows by rows.

    ``X (X'X + mu I)^-1 = (XX' + mu I)^-1 X`` (the kernel form of ridge regression); the same result.

    Args:
        weights: float64[groups, out, unknowns].
        x: float64[groups, rows, unknowns], centred inputs.
        y: float64[groups, rows, out], centred targets.
        damping: as for :func:`ridge`.
    """
    # The trace of X'X over the unknowns, as :func:`ridge` has it, so that both dampings mean the same.
    mean = np.square(x).sum(axis=(1, 2)) / x.shape[2]
    if not np.isfinite(mean).all() or not np.isfinite(y).all():
        return None
    mean[mean <= 0] = 1.0
    rest = y - x @ weights.transpose(0, 2, 1)
    # Rows by rows: with fewer rows than unknowns it is smaller and regular.
    factor = _damped_factor(x @ x.transpose(0, 2, 1), mean, damping)
    return None if factor is None else np.asarray(weights + _solved(factor, rest).transpose(0, 2, 1) @ x)


def ridge_of_either(weights: Matrix, x: Matrix, y: Matrix, damping: float) -> Matrix | None:
    """:func:`ridge` from centred rows, over rows or over unknowns, whichever are fewer; as :func:`ridge_of_rows`."""
    if x.shape[1] < x.shape[2]:
        return ridge_of_rows(weights, x, y, damping)
    return ridge(weights, x.transpose(0, 2, 1) @ x, y.transpose(0, 2, 1) @ x, damping)


def covariance_factor(covariance: Matrix) -> Matrix:
    """F with ``F'F = C`` for a covariance C, both float64[n, n]."""
    return np.asarray(lifted_cholesky(covariance, LEAST_RIDGE).T)


def factor_of_rows(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """F with ``F'F`` the mean of ``x x'`` over centred rows x: the rows themselves, where they are fewer than n.

    Args:
        rows: float[rows, n].

    Returns:
        float[rows, n], in the type of the rows, or float64[n, n].
    """
    if len(rows) <= rows.shape[1]:
        return np.asarray(rows / rows.dtype.type(len(rows) ** 0.5))
    wide = as_float64(rows)
    return covariance_factor(wide.T @ wide / len(wide))


def lifted_cholesky(matrix: Matrix, share: float) -> Matrix:
    """L with ``L L' = A + mu I``, for a covariance A, float64[n, n], whose rounding may have left it indefinite.

    Args:
        matrix: symmetric to rounding.
        share: mu as a share of the mean of the diagonal; tenfold for as long as that is not positive definite.
    """
    mean = float(np.trace(matrix)) / len(matrix)
    even = (matrix + matrix.T) / 2
    while True:
        try:
            # Nothing that varies leaves nothing to take a share of; any number will do then.
            return np.asarray(np.linalg.cholesky(even + share * (mean if mean > 0 else 1.0) * np.eye(len(even))))
        except np.linalg.LinAlgError:
            if share > WORST:
                raise
            share *= 10


def upper_solution(upper: Matrix, right: Matrix) -> Matrix:
    """``R^-1 B`` for R, float64[n, n], upper triangular, and B, float64[n, columns]."""
    return np.asarray(_backward(upper[None], right[None])[0])


def _damped_factor(matrices: Matrix, mean: npt.NDArray[np.float64], damping: float) -> Matrix | None:
    """Cholesky factors of ``matrices + damping * mean * I``, with more of it where it takes more; None: none helps."""
    while damping <= WORST:
        damped = matrices.copy()
        # A view of the diagonals, so that adding to it changes the matrices in place.
        diagonal = np.einsum("gkk->gk", damped)
        diagonal += damping * mean[:, None]
        try:
            return as_float64(np.linalg.cholesky(damped))
        except np.linalg.LinAlgError:
            # A damping of 0 would never grow by factors of ten.
            damping = max(10 * damping, 1e-8)
    return None


def _solved(factor: Matrix, right: Matrix) -> Matrix:
    """``(L L')^-1 B`` by blocks: numpy has no triangular solution of its own.

    ``factor`` is float64[groups, n, n], lower triangular; ``right`` and the result are float64[groups, n, columns].
    """
    found = right.copy()
    size = factor.shape[-1]
    # Blocks keep the work in matrix products; numpy's general solver on the whole would be cubic once more.
    for low in range(0, size, BLOCK):
        high = min(low + BLOCK, size)
        found[:, low:high] -= factor[:, low:high, :low] @ found[:, :low]
        found[:, low:high] = np.linalg.solve(factor[:, low:high, low:high], found[:, low:high])
    return _backward(factor.transpose(0, 2, 1), found)


def _backward(upper: Matrix, right: Matrix) -> Matrix:
    """``R^-1 B`` by blocks, for float64[groups, n, n], upper triangular."""
    found = right.copy()
    size = upper.shape[-1]
    for low in reversed(range(0, size, BLOCK)):
        high = min(low + BLOCK, size)
        found[:, low:high] -= upper[:, low:high, high:] @ found[:, high:]
        found[:, low:high] = np.linalg.solve(upper[:, low:high, low:high], found[:, low:high])
    return found
