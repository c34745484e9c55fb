"""Removing channels one after another, the weights of what stays adjusted: what a group loses at every width.

Let W be the matrix of a layer that reads the group, C the covariance of its inputs, and let a change of its outputs by
d cost dᵀ G d, with G = Fᵀ F. In the square root of that metric, W̃ = F W, the least that can be lost by removing the
columns of a unit j, all others free to adjust, and the adjustment are (Optimal Brain Surgeon, Hassibi and Stork 1993,
for a block of columns; Kurtic et al., arXiv 2203.07259, eq. 6)

    cost(j) = tr(W̃_j (A_jj)⁻¹ W̃_jᵀ)        W̃ ← W̃ - W̃_j (A_jj)⁻¹ A_j:        A = (C + μ I)⁻¹

and A of what is left follows by a Schur complement, A ← A - A_:j (A_jj)⁻¹ A_j:, so that one inverse serves the whole
way down. The damping μ is what :mod:`compressor.reconstruct.ridge` uses, so the adjusted weights are those that
least squares will find for inputs of the dense net.

A unit costs the sum over all layers that read it. The covariance that weights were adjusted to flatters them: a layer
of 2,048 inputs and 256 rows seems free to cut. So losses are taken on other rows (:mod:`compressor.allocation.judge`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from compressor.channels.labels import UnitArray
from compressor.reconstruct.form import Matrix
from compressor.reconstruct.options import RIDGE

RowArray = npt.NDArray[np.floating]
REMOVAL_STEPS = 32
"""Steps in which a group goes, at most: a step removes several units at once where there are more."""


class Reader:
    """A matrix whose columns go one after another.

    Args:
        weight: float64[out, unknowns].
        metric: float64[rank, out], F.
        rows: float32[rows, unknowns] of the inputs, centred. What is removed is computed in their type: damping bounds
            the condition, and the order of units needs few digits.
        units: int64[unknowns], the unit of each column.
    """

    def __init__(self, weight: Matrix, metric: Matrix, rows: RowArray, units: UnitArray) -> None:
        self._units = units
        self._left = np.arange(len(units))
        self._first = self._weight = weight.astype(rows.dtype)
        self._metric = metric.astype(rows.dtype)
        self._inverse = damped_inverse(rows)

    def costs(self, units: UnitArray) -> Matrix:
        """float64[units]: the least that the outputs lose without each of them."""
        # A unit without a column here loses nothing here.
        found = np.zeros(len(units))
        weighed = self._metric @ self._weight
        # Blocks of equal size are solved in one call; one call a unit would take most of the time.
        for places, columns in self._columns(units):
            own = weighed[:, columns].transpose(1, 0, 2)
            inner = self._inverse[columns[:, :, None], columns[:, None, :]]
            solved = np.linalg.solve(inner, own.transpose(0, 2, 1))
            found[places] = np.einsum("nro,nor->n", own, solved)
        return found

    def _columns(self, units: UnitArray) -> Iterator[tuple[UnitArray, UnitArray]]:
        """Places of units with as many columns each, and those columns, [places, columns each]; none for others."""
        # Columns are sorted by unit once, so that the columns of each are a slice.
        labels = self._units[self._left]
        order = np.argsort(labels, kind="stable")
        starts = np.searchsorted(labels[order], units)
        counts = np.searchsorted(labels[order], units, side="right") - starts
        for count in np.unique(counts[counts > 0]):
            places = np.flatnonzero(counts == count)
            yield places, order[starts[places][:, None] + np.arange(count)]

    def remove(self, units: UnitArray) -> None:
        """Takes the columns of ``units`` away and adjusts what is left."""
        gone = np.isin(self._units[self._left], units)
        if not gone.any():
            return
        stay = ~gone
        # A Schur complement instead of a new inverse: cubic in what goes, not in what stays.
        solved = np.linalg.solve(self._inverse[np.ix_(gone, gone)], self._inverse[gone])
        self._weight = (self._weight - self._weight[:, gone] @ solved)[:, stay]
        kept = np.flatnonzero(stay)
        # Taken along one axis after the other, which is twice as fast as both at once.
        inner = self._inverse.take(kept, 0).take(kept, 1)
        inner -= self._inverse[np.ix_(stay, gone)] @ solved[:, stay]
        self._inverse = inner
        self._left = self._left[stay]

    @property
    def change(self) -> RowArray:
        """[out, unknowns]: what was added to the weight so far."""
        found = -self._first
        # What is gone has become zero, so its change is minus the weight.
        found[:, self._left] += self._weight
        return found


def damped_inverse(rows: RowArray) -> RowArray:
    """The damped inverse ``(C + μ I)⁻¹`` of the covariance of inputs, μ a share of its mean diagonal.

    Args:
        rows: float[rows, unknowns], centred.

    Returns:
        [unknowns, unknowns], of the type of ``rows``.
    """
    count, size = rows.shape
    mean = float(np.square(rows, dtype=np.float64).sum()) / max(count * size, 1)
    # Inputs that are all zero leave nothing to scale by; any positive number makes the matrix regular.
    damping = RIDGE * mean if mean > 0 else 1.0
    if count >= size:
        damped = np.asarray(rows.T @ rows, np.float64) / count + damping * np.eye(size)
        return np.linalg.inv(damped).astype(rows.dtype)
    # Fewer rows than unknowns: by the identity of Woodbury a system of the rows is solved, in a fraction of the time.
    gram = np.asarray(rows @ rows.T, np.float64) / count + damping * np.eye(count)
    inner = np.linalg.inv(gram).astype(rows.dtype) @ rows
    found = rows.T @ (inner / -(count * damping))
    found[np.diag_indices(size)] += 1 / damping
    return np.asarray(found, rows.dtype)


def way_down(
    readers: Sequence[Reader],
    units: UnitArray,
    last: int,
    look: Callable[[int], None],
    order: UnitArray | None = None,
) -> UnitArray:
    """Removes units, the cheapest first, until ``last`` are left.

    Args:
        readers: all that read the units.
        units: int64[n], those that may go.
        last: how many have to stay.
        look: called after every step with the number of units that are gone.
        order: the order in which they go; None: the cheapest first, as the ones before it left things.

    Returns:
        The units that went, in that order.
    """
    step = max(1, len(units) // REMOVAL_STEPS)
    left = units
    gone: list[UnitArray] = []
    while len(left) > last:
        count = min(step, len(left) - last)
        if order is None:
            costs = np.sum([reader.costs(left) for reader in readers], axis=0)
            # By number where costs tie, so that equal runs give equal plans.
            chosen = left[np.lexsort((left, costs))[:count]]
        else:
            done = len(units) - len(left)
            chosen = order[done : done + count]
        for reader in readers:
            reader.remove(chosen)
        left = left[~np.isin(left, chosen)]
        gone.append(chosen)
        look(len(units) - len(left))
    return np.concatenate(gone) if gone else units[:0]
