"""A mask over a convolution's weight as smaller convolutions: which filters read which channels in which window.

Filters with the same mask are a class. Within a class, channels whose taps lie in the same box are a piece: a
convolution of these filters over these channels with the box as its kernel. The pieces of a class add up, and the
classes stand side by side. That holds for every mask; it is worth writing where pieces are few and small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

WeightMask = npt.NDArray[np.bool_]
"""bool[out, channels, *kernel]: which weights are kept."""
Box = tuple[tuple[int, int], ...]
"""First tap and the one after the last, for each spatial axis."""
ChannelNumbers = tuple[int, ...]


@dataclass(frozen=True)
class SmallConv:
    """One of the smaller convolutions.

    Attributes:
        channels: that it reads.
        box: taps that it uses.
    """

    channels: ChannelNumbers
    box: Box

    @property
    def weights(self) -> int:
        """Weights of one filter."""
        return len(self.channels) * prod(stop - start for start, stop in self.box)


@dataclass(frozen=True)
class FilterClass:
    """Filters with the same mask.

    Attributes:
        filters: their positions.
        pieces: what they read, at least one piece.
    """

    filters: ChannelNumbers
    pieces: tuple[SmallConv, ...]


def classes_of(mask: WeightMask) -> list[FilterClass]:
    """The classes of a mask, in the order of their first filters.

    A filter that keeps nothing reads one weight, which is zero, so that it has an output.
    """
    # In the order of their first filters, so that a mask in one order needs no Gather behind it.
    return [FilterClass(filters, _pieces(mask[filters[0]])) for filters in alike(mask)]


def alike(mask: WeightMask) -> list[ChannelNumbers]:
    """Entries along the first axis that are the same, in the order of the first of each."""
    found: dict[bytes, list[int]] = {}
    # As bytes, which are compared at once; sorting rows would compare number by number.
    for place, row in enumerate(np.packbits(mask.reshape(len(mask), -1), axis=1)):
        found.setdefault(row.tobytes(), []).append(place)
    return [tuple(places) for places in found.values()]


def _pieces(kept: WeightMask) -> tuple[SmallConv, ...]:
    """Of one filter's mask, bool[channels, *kernel]."""
    by_box: dict[Box, list[int]] = {}
    for channels in alike(kept):
        taps = kept[channels[0]]
        if taps.any():
            by_box.setdefault(_box(taps), []).extend(channels)
    if not by_box:
        by_box[((0, 1),) * (kept.ndim - 1)] = [0]
    return tuple(SmallConv(tuple(sorted(channels)), box) for box, channels in by_box.items())


def _box(taps: WeightMask) -> Box:
    places = np.argwhere(taps)
    return tuple((int(a), int(b) + 1) for a, b in zip(places.min(axis=0), places.max(axis=0), strict=True))


def weights_left(classes: Sequence[FilterClass]) -> int:
    """Weights of all pieces: what is multiplied at every position."""
    return sum(len(one.filters) * piece.weights for one in classes for piece in one.pieces)


def consecutive(channels: ChannelNumbers) -> bool:
    """Do they lie in one run?"""
    return channels == tuple(range(channels[0], channels[0] + len(channels)))


def one_grouped(classes: Sequence[FilterClass]) -> bool:
    """Can one grouped convolution do it: as many filters and channels in every class, and one box?"""
    if len(classes) < 2 or any(len(one.pieces) > 1 for one in classes):
        return False
    forms = {(len(one.filters), len(one.pieces[0].channels), one.pieces[0].box) for one in classes}
    return len(forms) == 1
