"""Dynamic structure: filters in groups, each of which reads the channels that matter to it (arXiv 2303.09736).

Filters are clustered by which input channels they draw on (balanced k-means on shares of energy; the paper learns the
groups). A group then drops channels, the weakest first, while they hold less than a share β of its energy; a group in
which every channel holds more keeps all. The ``even`` masks keep as many channels in each group, so that one grouped
convolution computes them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from compressor.core.compare import TINY
from compressor.structures.layer.geometry import maskable
from compressor.structures.masks.maker import WeightEnergy, balanced, even
from compressor.structures.masks.pieces import WeightMask
from compressor.structures.masks.structure import Structure

SHARES = (0.1, 0.2, 0.35, 0.5)
"""β: of a group's energy that is dropped."""
SHARES_KEPT = (0.75, 0.5, 0.375, 0.25)
"""Shares of the channels that even groups keep."""
COUNTS = (2, 4)
"""Numbers of groups."""
LEAST_FILTERS = 8
"""Filters and channels of a group, at least: smaller convolutions cost more time than they save."""
GROUPING_ROUNDS = 20
"""Rounds of balanced k-means, at most; with sizes that are fixed it may go in circles between equals."""


class Groups:
    """Masks of groups of filters."""

    def masks(self, energy: WeightEnergy, seed: int) -> Iterator[tuple[str, WeightMask]]:
        """For each number of groups, by falling energy."""
        profile = energy.reshape(*energy.shape[:2], -1).sum(axis=2)
        for count in COUNTS:
            if len(energy) < count * LEAST_FILTERS or energy.shape[1] < 2 * LEAST_FILTERS:
                continue
            of = _clustered(profile, count, seed)
            shares = np.stack([profile[of == k].sum(axis=0) for k in range(count)])
            shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), TINY)
            for keeps, words in [*_dropped(shares), *_even(shares)]:
                mask = np.broadcast_to(keeps[of].reshape(*profile.shape, *(1,) * (energy.ndim - 2)), energy.shape)
                yield f"{count} groups, {words}", mask.copy()


def _dropped(shares: npt.NDArray[np.float64]) -> Iterator[tuple[WeightMask, str]]:
    """By β: bool[groups, channels]."""
    order = np.argsort(shares, axis=1, kind="stable")
    below = np.cumsum(np.take_along_axis(shares, order, axis=1), axis=1)
    for beta in SHARES:
        keeps = np.ones(shares.shape, np.bool_)
        # Kept from the channel on that brings the dropped energy to the share.
        np.put_along_axis(keeps, order, below >= beta, axis=1)
        yield keeps, f"without {beta:g} of their energy"


def _even(shares: npt.NDArray[np.float64]) -> Iterator[tuple[WeightMask, str]]:
    channels = shares.shape[1]
    order = np.argsort(-shares, axis=1, kind="stable")
    for share in SHARES_KEPT:
        kept = round(share * channels)
        if kept >= LEAST_FILTERS:
            keeps = np.zeros(shares.shape, np.bool_)
            np.put_along_axis(keeps, order[:, :kept], True, axis=1)
            yield keeps, f"{kept} of {channels} channels each"


def _clustered(profile: npt.NDArray[np.float64], count: int, seed: int) -> npt.NDArray[np.int64]:
    """int64[out], the group of each filter, as many filters in each: k-means on shares of energy, kept even."""
    # Roots of shares: their distance is that of distributions (Hellinger), which few strong channels do not rule.
    rows = np.sqrt(profile / np.maximum(profile.sum(axis=1, keepdims=True), TINY))
    rng = np.random.default_rng(seed)
    # Filters as first centres; the permutation makes the choice one of the seed.
    centres = rows[rng.permutation(len(rows))[:count]]
    found = np.full(len(rows), -1, np.int64)
    for _ in range(GROUPING_ROUNDS):
        # The squared distance, but for what is the same for all centres.
        gain = 2 * rows @ centres.T - np.square(centres).sum(axis=1)
        new = balanced(gain, even(len(rows), count))
        if (new == found).all():
            break
        found = new
        centres = np.stack([rows[found == k].mean(axis=0) for k in range(count)])
    return found


GROUPS = Structure(masks=Groups, suits=maskable)
