"""Weights that share a few values: the nearest weight that takes no more than K, and what is left to train of it.

A tensor, or each of its outputs, has a codebook of K values, and every weight is one of them. The nearest such weight
is k-means in one dimension (Lloyd 1982; for networks arXiv:1510.00149): codes are places, in order, and a value is the
mean of the weights that have it, weighted by curvature where that is known. Lloyd's steps run on a histogram, so that a
projection costs about three passes over the weight, however many steps it takes; nothing is kept from one projection
to the next, so that a resumed run makes the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.unification.layout import Blocking
from compressor.unification.moves import as_array_of, on_host

Codes = npt.NDArray[np.uint8]
_BINS, _COARSE, _STEPS, _FEW = 2048, 32, 100, 1024
"""Bins of the histogram, and of the one that tells the density; steps of Lloyd's at most; weights that are looked at
first for whether they are on the set."""


@dataclass(frozen=True)
class Codebook:
    """Each column of a layout's blocks has at most ``values`` different values.

    Attributes:
        layout: one block for each codebook: the whole weight (of each group), or each output.
        values: K, from 2 to ``compressor.config.blocks.MOST_VALUES``.
        curvature: positive importance of each weight in the distance Σ h (w - z)², of the weight's shape, in numpy;
            None: all one.
    """

    layout: Blocking
    values: int
    curvature: Any = None

    def project(self, weight: Any) -> Any:
        """The nearest weight as Lloyd's steps find it; one that is on the set stays as it is, to the last bit."""
        return self.impose(weight, self.kinds(weight))

    def kinds(self, weight: Any) -> Codes:
        """The code of each weight of the blocks, uint8[n, B]; codes of a column count its values from the smallest."""
        columns = on_host(self.layout.blocks(weight)).T
        matters = [None] * len(columns) if self._h is None else list(self._h.T)
        return np.stack([self._codes(*pair) for pair in zip(columns, matters, strict=True)], axis=1)

    def impose(self, weight: Any, kinds: Codes) -> Any:
        """The nearest weight with these codes."""
        blocks = self.layout.blocks(weight)
        found = means(on_host(blocks), kinds, self.values, self._h)
        return self.layout.weight(as_array_of(decoded(found, kinds), blocks))

    def ties(self) -> npt.NDArray[np.int64] | None:
        """The outputs whose filters may only be scaled together: all of a codebook; None where each has its own."""
        groups, outputs, _, _ = self.layout.view.canonical
        # A table for each output leaves every filter a scale of its own.
        return np.zeros(groups * outputs, np.int64) if self.layout.spans[0] > 1 else None

    @cached_property
    def _h(self) -> Any:
        return None if self.curvature is None else self.layout.blocks(self.curvature)

    def _codes(self, column: npt.NDArray[Any], h: Any) -> Codes:
        # A look at the first weights tells most tensors that are not on the set, and saves sorting all.
        few = np.unique(column[:_FEW])
        distinct = np.unique(column) if len(few) <= self.values else few
        if len(distinct) <= self.values:
            return np.searchsorted(distinct, column).astype(np.uint8)
        places = lloyd(column, self.values, h)
        # The nearest place changes halfway between two of them.
        return np.searchsorted((places[1:] + places[:-1]) / 2, column).astype(np.uint8)


class SharedValues:
    """Weights with given codes: one number for each value of a codebook, a linear subspace.

    Weights and gradients alike are projected onto it: ``v <- mean of v over the weights of the same code``.
    """

    def __init__(self, layout: Blocking, codes: Codes, values: int) -> None:
        self._layout, self._codes, self._values = layout, codes, values

    def project(self, weight: Any) -> Any:
        """The nearest weight in the subspace; one that is in it stays as it is, to the last bit."""
        blocks = self._layout.blocks(weight)
        found = means(on_host(blocks), self._codes, self._values)
        return self._layout.weight(as_array_of(decoded(found, self._codes), blocks))


def lloyd(weights: npt.NDArray[Any], count: int, h: Any = None) -> npt.NDArray[np.float64]:
    """``count`` places in rising order that are near to all ``weights``, by Lloyd's steps on a histogram.

    The first places are quantiles of the cube root of the density, which is what the best places of many values are
    spread by (Panter and Dite 1951).

    Args:
        weights: [n], finite, not all equal.
        count: of places.
        h: importance of each weight, [n].
    """
    low, high = float(weights.min()), float(weights.max())
    # The largest weight would fall into a bin behind the last one.
    bins = np.minimum(((weights - low) * (_BINS / (high - low))).astype(np.int64), _BINS - 1)
    mass = np.bincount(bins, None if h is None else np.asarray(h, np.float64), _BINS)
    middles = low + (np.arange(_BINS) + 0.5) * ((high - low) / _BINS)
    # In coarse bins, as fine ones of few weights say little about the density.
    spread = np.cumsum(np.repeat(np.cbrt(mass.reshape(_COARSE, -1).sum(axis=1)), _BINS // _COARSE))
    places = np.interp((np.arange(count) + 0.5) / count * spread[-1], spread, middles)
    total, first = np.concatenate([[0.0], np.cumsum(mass)]), np.concatenate([[0.0], np.cumsum(mass * middles)])
    for _ in range(_STEPS):
        # Where the histogram is cut: all bins between two cuts belong to one place.
        cuts = np.concatenate([[0], np.searchsorted(middles, (places[1:] + places[:-1]) / 2), [_BINS]])
        held, sums = np.diff(total[cuts]), np.diff(first[cuts])
        # A place that has lost all its weights stays where it is.
        better = np.where(held > 0, sums / np.where(held > 0, held, 1.0), places)
        if np.array_equal(better, places):
            break
        places = better
    return np.asarray(places)


def means(blocks: npt.NDArray[Any], codes: Codes, count: int, h: Any = None) -> npt.NDArray[Any]:
    """The mean of the weights of each code, [count, B], in the type of the weights; 0 for codes that nothing has.

    Weights that are equal already keep their value to the last bit.
    """
    columns = blocks.shape[1]
    flat = (codes.astype(np.int64) + count * np.arange(columns)).ravel()
    weights, size = blocks.ravel(), count * columns
    importance = None if h is None else np.asarray(h, np.float64).ravel()
    some = np.zeros(size, blocks.dtype)
    some[flat] = weights  # one weight of each code, which the others are measured from
    # Equal weights differ by exactly zero, so that their mean keeps every bit.
    apart = weights - some[flat]
    held = np.bincount(flat, importance, size)
    sums = np.bincount(flat, apart if importance is None else apart * importance, size)
    found = some + (sums / np.where(held > 0, held, 1)).astype(blocks.dtype)
    return np.ascontiguousarray(found.reshape(columns, count).T)


def decoded(values: npt.NDArray[Any], codes: Codes) -> npt.NDArray[Any]:
    """The value of each code: [n, B] of values [K, B]."""
    return np.take_along_axis(values, codes.astype(np.int64), axis=0)
