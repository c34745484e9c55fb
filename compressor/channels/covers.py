"""Covers: units of several patterns that together stand equally often in every row of every constraint.

A *pattern* is how often a unit stands in each row. Several constraints may ask something of the same units (the groups
of one convolution cut what a shuffle or a Concat made of the groups of another), so a pattern is over the rows of all
of them. Numbers of units of each pattern that are level solve a homogeneous linear system, and the solutions that no
others lie within are its extreme rays. From a unit of one pattern on, non-negative least squares finds such a ray:
patterns that it uses are linearly independent (Lawson, Hanson, *Solving Least Squares Problems*, chapter 23).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

SEARCH_PATTERNS = 256
"""Patterns of which covers are searched; of more, only the one that takes a unit of each is looked at."""
LARGEST_PART = 64
"""Units of the pattern that a search starts from, at most, in one cover."""
NO_REST = 1e-8
"""Least squares of small whole numbers, within which a number is zero."""


def covers(patterns: Counts, rows: Sequence[int], available: Counts) -> Iterator[tuple[Counts, int]]:
    """Finds covers among units of some patterns, until none is left.

    Args:
        patterns: int64[patterns, rows], how often a unit of each pattern stands in each row.
        rows: of each constraint, in the order in which they lie in ``patterns``.
        available: int64[patterns], units of each.

    Yields:
        Units of each pattern that go together, int64[patterns], and how often they are there.
    """
    search = _Search(patterns, rows, available)
    while (found := search.smallest()) is not None:
        yield found, search.take(found)


class _Search:
    """Looks for one cover after the other among the units that are left; see :func:`covers`."""

    def __init__(self, patterns: Counts, rows: Sequence[int], available: Counts) -> None:
        self._available = available.copy()
        bounds = [0, *np.cumsum(rows).tolist()]
        self._constraints = [patterns[:, low:high] for low, high in pairwise(bounds)]
        self._widest = max(rows)
        # Zero where all rows of a constraint have the same count; times the number of rows, to stay whole.
        uneven = [c * c.shape[1] - c.sum(axis=1, keepdims=True) for c in self._constraints]
        self._uneven = np.concatenate(uneven, axis=1)
        # For least squares, where a unit counts the same in few rows as in many.
        scaled = [own / own.shape[1] for own in uneven]
        self._directions = np.concatenate(scaled, axis=1).T
        self._known: dict[int, Counts] = {}

    def take(self, cover: Counts) -> int:
        """Takes a cover away as often as it is there; how often that is."""
        used = cover > 0
        times = int((self._available[used] // cover[used]).min())
        self._available -= cover * times
        return times

    def smallest(self) -> Counts | None:
        """The cover of the fewest units; one of as many as the widest constraint has rows is taken as it is found."""
        open_ = self._open()
        each = np.isin(np.arange(len(self._available)), open_).astype(np.int64)
        level = len(open_) > 0 and not (each @ self._uneven).any()
        # The usual case: every pattern is a row of its own.
        if level and len(open_) <= self._widest:
            return each
        best = None
        # Patterns of many units first: what stands in their covers often settles the others.
        for start in sorted(open_.tolist(), key=lambda p: -self._available[p]) if len(open_) <= SEARCH_PATTERNS else ():
            found = self._cover(start, open_)
            if found is not None and (best is None or found.sum() < best.sum()):
                best = found
            if best is not None and best.sum() <= self._widest:
                break
        if best is not None or level:
            return each if best is None else best
        # All that is left may be level where no part of it was found to be.
        rest = np.where(each > 0, self._available, 0)
        return None if not rest.any() or (rest @ self._uneven).any() else rest // np.gcd.reduce(rest)

    def _open(self) -> Counts:
        """Patterns of which units are left, without those in a constraint that has an empty row."""
        open_ = self._available > 0
        while True:
            stuck = np.zeros(len(open_), np.bool_)
            for counts in self._constraints:
                if not counts[open_].any(axis=0).all():
                    stuck |= open_ & counts.any(axis=1)
            if not stuck.any():
                return np.flatnonzero(open_)
            open_ &= ~stuck

    def _cover(self, start: int, open_: Counts) -> Counts | None:
        """A cover with units of pattern ``start``, of no more units than are left; None where none was found."""
        known = self._known.get(start)
        if known is not None and (known <= self._available).all():
            return known
        others = open_[open_ != start]
        while (found := self._ray(start, others)) is not None:
            scarce = found > self._available
            if not scarce.any():
                self._known |= dict.fromkeys(np.flatnonzero(found).tolist(), found)
                return found
            if scarce[start]:
                return None
            others = others[~scarce[others]]  # without what it takes too much of, there may be another
        return None

    def _ray(self, start: int, others: Counts) -> Counts | None:
        """Units of ``others`` that make those of ``start`` level, in smallest whole numbers."""
        parts = _least_squares(self._directions[:, others], -self._directions[:, start], self._available[others])
        if parts is None:
            return None
        for count in range(1, LARGEST_PART + 1):
            found = np.zeros(len(self._available), np.int64)
            found[start], found[others] = count, np.rint(parts * count)
            if not (found @ self._uneven).any():
                return found
        return None


def _least_squares(
    columns: npt.NDArray[np.float64], target: npt.NDArray[np.float64], available: Counts
) -> npt.NDArray[np.float64] | None:
    """Non-negative factors of ``columns`` that add up to ``target``, float64[columns]; None where there are none.

    Of columns that lead equally far, one of which more are available is taken.
    """
    factors, used = np.zeros(columns.shape[1]), np.zeros(columns.shape[1], np.bool_)
    # Each round takes up one column; it is rare that one is dropped again.
    for _ in range(3 * len(factors)):
        rest = target - columns @ factors
        if np.abs(rest).max() < NO_REST:
            return factors
        # Rounded, so that ties are ties on every machine.
        gain = np.where(used, 0.0, np.round(columns.T @ rest, 6))
        best = np.flatnonzero((gain == gain.max()) & (gain > 0)) if len(gain) else np.zeros(0, np.int64)
        if not len(best):
            return None
        used[best[np.argmax(available[best])]] = True
        while True:
            wanted = np.zeros(len(factors))
            wanted[used] = np.linalg.lstsq(columns[:, used], target, rcond=None)[0]
            below = used & (wanted <= NO_REST)
            if not below.any():
                factors = wanted
                break
            step = (factors[below] / np.maximum(factors[below] - wanted[below], NO_REST)).min()
            factors = factors + step * (wanted - factors)
            used &= factors > NO_REST
            factors[~used] = 0.0
    return None
