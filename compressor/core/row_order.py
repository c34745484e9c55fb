"""Rows of an array in another order, and some others among them: what a TopK gives where scores nearly tie."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from compressor.core.arrays import Array, Floats
from compressor.core.compare import is_real, unit

OFF, OFF_UNITS = 1e-3, 16
"""Share of a feature's largest magnitude by which a row has to be off before it is looked for elsewhere, and at least
so many units of the type's last place: less is rounding."""
MOST_ROWS = 512
"""Rows that are matched with each other, at most: the effort grows with the square."""


class OrderedRows(NamedTuple):
    """An array whose rows were put where another one has those that are nearest to them.

    Attributes:
        array: of the shape of both.
        moved: rows that changed their place.
        furthest: by how many places, at most.
        strangers: rows of ``array`` that are still off, as bool, of the shape of both without the last axis.
    """

    array: Array
    moved: int
    furthest: int
    strangers: Array

    def without_strangers(self, expected: Array) -> Array:
        """The array with the rows of ``expected`` in place of strangers, so that these differ in nothing."""
        return np.where(self.strangers[..., None], expected, self.array)


def in_order_of(expected: Array, found: Array) -> OrderedRows | None:
    """The rows of ``found`` in the order of ``expected``; rows that are off are moved, and only among each other.

    Args:
        expected: numbers of any shape. Rows are along the last axis but one, with a feature at each place of the last;
            they stay within their place on all axes before.
        found: of the same shape.

    Returns:
        None for what has no such rows: other shapes, a single axis, or no real numbers.
    """
    if expected.shape != found.shape or expected.ndim < 2 or not is_real(expected) or not expected.size:
        return None
    shape = (-1, *expected.shape[-2:])
    one, two = (np.nan_to_num(a.reshape(shape).astype(np.float64)) for a in (expected, found))
    scale = np.abs(one).max(axis=(0, 1))
    one, two = (a / np.where(scale > 0, scale, 1.0) for a in (one, two))
    limit = max(OFF, OFF_UNITS * unit(expected))
    order = np.tile(np.arange(one.shape[1]), (len(one), 1))
    for places, a, b in zip(order, one, two, strict=True):
        off = np.flatnonzero(_gaps(a, b) > limit)
        if 1 < len(off) <= MOST_ROWS:
            places[off] = off[_nearest(a[off], b[off])]
    index = order[:, :, None]
    strangers = _gaps(one, np.take_along_axis(two, index, axis=1)) > limit
    distance = np.abs(order - np.arange(order.shape[1]))
    array = np.take_along_axis(found.reshape(shape), index, axis=1).reshape(found.shape)
    return OrderedRows(array, int((distance > 0).sum()), int(distance.max()), strangers.reshape(found.shape[:-1]))


def _gaps(one: Floats, two: Floats) -> Floats:
    gaps: Floats = np.abs(one - two).max(axis=-1)
    return gaps


def _nearest(expected: Floats, found: Floats) -> Array:
    """For each row the number of the nearest one of ``found``, each once: the nearest pair first."""
    gaps = _gaps(expected[:, None], found[None])
    place = np.full(len(gaps), -1)
    free = np.ones(len(gaps), np.bool_)
    for flat in np.argsort(gaps, axis=None, kind="stable"):
        row, other = divmod(int(flat), len(gaps))
        if place[row] < 0 and free[other]:
            place[row], free[other] = other, False
    return place
