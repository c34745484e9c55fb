"""Parts of one output that are in units of their own, such as boxes in pixels beside scores from 0 to 1.

A norm over such an output is that of the pixels, and scores could all be wrong without being seen in it. So how far two
outputs are apart is asked of each part by itself, and the farthest counts, as it does of several outputs. What training
lowers and what gradients are of takes the same parts: each counts by its own variance, or size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from compressor.core.arrays import Array, Floats
from compressor.core.compare import is_real, relative, squares

TOLERANCE = 1e-3
"""How far from one a sum of probabilities, or the length of an embedding, may be; float16 resolves no better."""
UNITS = 1e3
"""Mean squares that differ by more than this factor are of numbers in other units."""


@dataclass(frozen=True)
class OutputUnits:
    """How an output falls into parts along an axis.

    Attributes:
        axis: along which they lie.
        starts: of each part but the first; empty where all of the output is in one unit.
    """

    axis: int = 0
    starts: tuple[int, ...] = ()

    @staticmethod
    def of(values: Array) -> OutputUnits:
        """The units of an output, read off what the original gives for some samples.

        Rows along an axis are of two sizes where, in every sample, the mean square of each of the larger ones is more
        than ``UNITS`` times that of each of the smaller ones; a part is a run of rows of one size. Channels may lie on
        axis 1 or on the last one: where sizes are farther apart is the one. Outputs of two axes (scores, embeddings)
        and probabilities are in one unit.
        """
        if values.ndim < 3 or not values.size or not is_real(values):
            return OutputUnits()
        axes = (1, values.ndim - 1)
        if any(are_probabilities(values, axis) for axis in axes):
            return OutputUnits()
        axis, (_, starts) = max(((axis, _runs(_sizes(values, axis))) for axis in axes), key=lambda found: found[1][0])
        return OutputUnits(axis, starts)

    def split(self, values: Array) -> list[Array]:
        """The parts; all of them in one where there is no such axis."""
        if not self.starts or values.ndim <= self.axis:
            return [values]
        return cast("list[Array]", np.split(values, self.starts, self.axis))

    def scales(self, values: Array) -> tuple[float, ...]:
        """What squared differences are divided by at each position of the axis, so that each part counts alike in their
        mean, however many rows it has. Empty where all is in one unit.

        Each row counts by its own variance in ``values``, as sides of boxes vary less than their places do; one that
        hardly varies by a share of the largest in its part, so that it is not all that matters.
        """
        parts = self.split(values)
        if len(parts) < 2:
            return ()
        rows = sum(part.shape[self.axis] for part in parts)
        return tuple(float(size) * len(parts) / rows for part in parts for size in self._of_rows(part))

    def _of_rows(self, part: Array) -> Floats:
        """Variances of the rows of a part, times their number."""
        wide = np.moveaxis(part, self.axis, 0).astype(np.float64).reshape(part.shape[self.axis], -1)
        each = wide.var(axis=1)
        # Of a part that never varies, the square of its size.
        least = each.max() / UNITS or variance(part)
        return np.asarray(np.maximum(each, least) * len(each))

    def squares(self, one: Array, two: Array) -> Floats:
        """‖two - one‖² and ‖one‖² of each part, float64[parts, 2]; see :func:`compressor.core.compare.squares`."""
        # Of other shapes there are no parts to hold against each other.
        alike = one.shape == two.shape
        pairs = zip(self.split(one), self.split(two), strict=True) if alike else [(one, two)] * (1 + len(self.starts))
        return np.asarray([squares(a, b) for a, b in pairs])

    def squares_by_sample(self, values: Floats, samples: int) -> Floats:
        """‖values‖² of each part and sample, float64[parts, samples]; what is no finite number is the caller's."""
        return np.stack([np.square(part.reshape(samples, -1)).sum(axis=1) for part in self.split(values)])


def are_probabilities(values: Array, axis: int) -> bool:
    """Is no entry negative, and is every sum along the axis one?"""
    if not values.size or values.min() < 0:
        return False
    return bool(np.abs(values.astype(np.float64, copy=False).sum(axis) - 1).max() < TOLERANCE)


def variance(values: Array) -> float:
    """Of all entries; of a constant the square of its size, so that it can be divided by."""
    wide = values.astype(np.float64)
    found = float(wide.var())
    return found if found > 0 else float(np.square(wide).mean()) or 1.0


def farthest(sums: Floats) -> float:
    """The relative distance of the part that moved most, of sums as :meth:`OutputUnits.squares` gives them."""
    return max(relative(float(moved), float(whole)) for moved, whole in sums)


def _sizes(values: Array, axis: int) -> Floats:
    """Mean square of each row along ``axis``, by sample: float64[samples, rows]; none is zero."""
    wide = np.moveaxis(values, axis, 1).astype(np.float64)
    power = np.square(np.where(np.isfinite(wide), wide, 0.0)).reshape(*wide.shape[:2], -1).mean(axis=2)
    # A row of zeros has no size that could tell its unit, and counts as the smallest beside it.
    least = np.where(power > 0, power, np.inf).min(axis=1, keepdims=True)
    return np.asarray(np.maximum(power, np.where(np.isfinite(least), least, 1.0)), np.float64)


def _runs(sizes: Floats) -> tuple[float, tuple[int, ...]]:
    """How far apart two sizes are, at most, and where a run of rows of one size follows on one of another.

    Args:
        sizes: float64[samples, rows].
    """
    if sizes.shape[1] < 2:
        return 1.0, ()
    order = np.log(sizes).mean(axis=0).argsort()
    rising = sizes[:, order]
    largest = np.maximum.accumulate(rising, axis=1)[:, :-1]
    smallest = np.minimum.accumulate(rising[:, ::-1], axis=1)[:, -2::-1]
    # In every sample: a class that few show is small in most of them, and in the unit of the others all the same.
    ratios = (smallest / largest).min(axis=0)
    level = np.empty(len(order), np.int64)
    level[order] = np.cumsum([0, *(ratios > UNITS)])
    return float(ratios.max()), tuple((np.flatnonzero(np.diff(level)) + 1).tolist())
