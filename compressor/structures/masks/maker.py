"""What makes masks: from how much every weight matters, several masks that keep less and less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from compressor.structures.masks.pieces import WeightMask

WeightEnergy = npt.NDArray[np.float64]
"""float64[out, channels, *kernel]: squared weight times the variance of what it reads."""


ChannelOrder = npt.NDArray[np.int64]
"""Which channel stands at each place."""


class Maker(Protocol):
    """Makes masks for one convolution."""

    def masks(self, energy: WeightEnergy, seed: int) -> Iterator[tuple[str, WeightMask]]:
        """Masks and what they are, in words; none where the structure does not suit the layer.

        Args:
            energy: of every weight.
            seed: of what is drawn.
        """
        ...


@runtime_checkable
class Ordering(Protocol):
    """A maker whose masks have a pattern along the channels, which may come to stand in another order."""

    def order(self, energy: WeightEnergy, seed: int) -> ChannelOrder:
        """The order of channels in which its masks keep most; arguments as of :meth:`Maker.masks`."""
        ...


def balanced(gain: npt.NDArray[np.float64], capacity: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each item to one class, so many to each, with about the largest sum of gains: greedy, then pairs are swapped.

    Args:
        gain: float64[items, classes].
        capacity: int64[classes], items of each class; together as many as there are items.

    Returns:
        int64[items], the class of each.
    """
    items, classes = gain.shape
    left = capacity.copy()
    class_of = np.full(items, -1, np.int64)
    second = np.partition(gain, -2, axis=1)[:, -2] if classes > 1 else np.zeros(items)
    for item in np.argsort(second - gain.max(axis=1), kind="stable"):  # those with most to lose choose first
        best = np.where(left > 0, gain[item], -np.inf).argmax()
        class_of[item] = best
        left[best] -= 1
    # A bound on the swaps, each of which raises the sum.
    for _ in range(items):
        # The best pair of two classes is the item of each that gains most by going to the other.
        moved = gain - gain[np.arange(items), class_of][:, None]
        champion = np.zeros((classes, classes), np.int64)
        for k in range(classes):
            own = np.flatnonzero(class_of == k)
            champion[k] = own[moved[own].argmax(axis=0)] if len(own) else -1
        raised = moved[champion, np.arange(classes)]
        raised = np.where((champion < 0) | (champion.T < 0), 0.0, raised + raised.T)
        one, two = np.unravel_index(int(raised.argmax()), raised.shape)
        # Less is rounding, and would swap the same pair for ever.
        if raised[one, two] <= 1e-12 * (1.0 + abs(float(gain.max()))):
            break
        a, b = champion[one, two], champion[two, one]
        class_of[a], class_of[b] = class_of[b], class_of[a]
    return class_of


def even(items: int, classes: int) -> npt.NDArray[np.int64]:
    """Sizes of classes that differ by one at most."""
    return np.asarray([items // classes + (k < items % classes) for k in range(classes)], np.int64)
