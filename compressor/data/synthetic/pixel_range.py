"""The values that a network expects in the place of pixels, and the usual candidates for them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compressor.core.arrays import Array
from compressor.data.synthetic.fractal import Field

GROUND, MARKS = 0.6, 1.0
"""What is black and what is white in dark images: pixels of scenes below the first are the ground."""


@dataclass(frozen=True)
class PixelRange:
    """How pixels between black (0) and white (1) become what the network takes: ``(pixel - mean) / std``.

    Attributes:
        name: for reports.
        mean: one number, or one a channel.
        std: the same.
        dark: images are light marks on a dark ground, as scans of writing and of bodies are, instead of scenes.
    """

    name: str
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    dark: bool = False

    def applied(self, pixels: Array, axis: int | None) -> Array:
        """``pixels`` of 0..1 in this range, float32 of the same shape.

        Args:
            pixels: of one image or many.
            axis: that holds the channels; None where there is no such axis. Where there are not as many numbers as
                channels, their mean stands for all.
        """
        mean, std = (_by_channel(numbers, pixels, axis) for numbers in (self.mean, self.std))
        image = np.asarray(pixels, np.float32)
        if self.dark:
            image = np.clip((image - GROUND) / (MARKS - GROUND), 0, 1)
        return np.asarray((image - mean) / std, np.float32)

    def of_channels(self, channels: int) -> PixelRange:
        """The same for images of ``channels`` channels: their mean for all where there are other numbers than these."""
        mean, std = (_fitting(numbers, channels) for numbers in (self.mean, self.std))
        return replace(self, mean=mean, std=std)

    @property
    def limits(self) -> str:
        """Black and white in words: ``0 to 255``."""
        low = min((0 - m) / s for m, s in zip(*_pairs(self), strict=True))
        high = max((1 - m) / s for m, s in zip(*_pairs(self), strict=True))
        return f"{low:.4g} to {high:.4g}"


def _pairs(given: PixelRange) -> tuple[tuple[float, ...], tuple[float, ...]]:
    count = max(len(given.mean), len(given.std))
    return tuple(given.mean * count)[:count], tuple(given.std * count)[:count]


def _fitting(numbers: tuple[float, ...], channels: int) -> tuple[float, ...]:
    # A range for colours on an image of another number of channels is taken by its mean.
    return numbers if len(numbers) == channels else (sum(numbers) / len(numbers),)


def _by_channel(numbers: tuple[float, ...], pixels: Array, axis: int | None) -> Field:
    channels = 1 if axis is None else pixels.shape[axis]
    row = np.asarray(_fitting(numbers, channels), np.float32)
    return row if axis is None else row.reshape([-1 if a == axis % pixels.ndim else 1 for a in range(pixels.ndim)])


UNIT = PixelRange("[0, 1]")
SIGNED = PixelRange("[-1, 1]", (0.5,), (0.5,))
BYTES = PixelRange("[0, 255]", (0.0,), (1 / 255,))
IMAGENET = PixelRange("mean and deviation of ImageNet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CENTRED = PixelRange("[-0.5, 0.5]", (0.5,), (1.0,))
USUAL_RANGES = (UNIT, SIGNED, BYTES, IMAGENET, CENTRED)
"""What networks are usually trained with; a range is read by trying these."""
DARK_CANDIDATES = tuple(replace(found, name=f"{found.name}, light on dark", dark=True) for found in USUAL_RANGES)
"""The same for images of one channel, of which many are light marks on a dark ground."""


@dataclass(frozen=True)
class RangeChoice:
    """The range that synthetic pixels get, and why.

    Attributes:
        ranges: the range; two where they cannot be told apart, each for half of the samples.
        source: ``given`` by the user, ``type`` where bytes leave no choice, ``behaviour`` where it was read from the
            network, ``default`` where nothing could be read.
        runner_up: the next best range, where it was read from the network.
        margin: by how much the score of the best one is above that of the next, in nats; None where none was read.
        scores: of every candidate, best first.
        normalised_inside: inputs that the graph itself shifts and scales by constants before anything else.
    """

    ranges: tuple[PixelRange, ...] = (UNIT,)
    source: str = "default"
    runner_up: PixelRange | None = None
    margin: float | None = None
    scores: tuple[tuple[str, float], ...] = ()
    normalised_inside: tuple[str, ...] = ()

    def of(self, index: int) -> PixelRange:
        """The range of the sample at ``index``."""
        return self.ranges[index % len(self.ranges)]


def given_range(
    mean: tuple[float, ...], std: tuple[float, ...], limits: tuple[float, float] | None
) -> RangeChoice | None:
    """The range that the user stated; None where nothing was.

    Args:
        mean: subtracted from pixels of ``limits``, one number or one a channel; nothing where empty.
        std: what they are divided by after that; nothing where empty.
        limits: black and white before that; 0 and 1 where None.
    """
    if not mean and not std and limits is None:
        return None
    low, high = limits or (0.0, 1.0)
    count = max(len(mean), len(std), 1)
    means, stds = (mean or (0.0,)) * count, (std or (1.0,)) * count
    width = high - low
    # Given for pixels from ``low`` to ``high``, and here for pixels from 0 to 1.
    ours = [((m - low) / width, s / width) for m, s, _ in zip(means, stds, range(count), strict=False)]
    return RangeChoice((PixelRange("given", tuple(m for m, _ in ours), tuple(s for _, s in ours)),), "given")
