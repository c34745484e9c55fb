"""Corruptions of images at five severities, after Hendrycks and Dietterich (2019, arXiv 1903.12261).

Parameters are those of their CIFAR-10-C for images of up to 64 pixels on the shorter side, and of ImageNet-C for
larger ones. Pixels run from 0 to 1 and are not rounded to 8 bits, except by JPEG.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt

from compressor.config.choices import CORRUPTIONS
from compressor.core.extras import require
from compressor.errors import UsageError

Images = npt.NDArray[np.float32]
Generators = Sequence[np.random.Generator]

SEVERITIES = (1, 2, 3, 4, 5)
SMALL_IMAGE = 64
"""Longest shorter side, in pixels, of images that get the parameters of CIFAR-10-C."""
_REACH = 4.0
"""Standard deviations at which the kernel of a blur ends, as in scikit-image."""


@dataclass(frozen=True)
class Corruption:
    """One kind of damage.

    Attributes:
        small, large: the numbers that ``apply`` takes at severities 1 to 5, for small and for large images.
        apply: images float32[n, c, h, w] from 0 to 1, such a number, one generator an image -> the same shape.
        channels: numbers of channels it is defined for; empty for any.
        library: what it needs besides numpy, by the name it is imported by.
    """

    small: tuple[float, ...]
    large: tuple[float, ...]
    apply: Callable[[Images, float, Generators], Images]
    channels: tuple[int, ...] = ()
    library: str = ""


def corrupt(images: Images, corruption: Corruption, severity: int, generators: Generators) -> Images:
    """Images float32[n, c, h, w] from 0 to 1 at a severity of 1 to 5; the same for generators in the same state."""
    strengths = corruption.small if min(images.shape[2:]) <= SMALL_IMAGE else corruption.large
    return np.clip(corruption.apply(images, strengths[severity - 1], generators), 0, 1).astype(np.float32)


def obstacle(name: str, channels: int) -> str:
    """Why images of so many channels cannot be corrupted in this way; empty where they can."""
    found = CORRUPTIONS[name]
    if found.channels and channels not in found.channels:
        takes = " or ".join(map(str, found.channels))
        return f"it takes images of {takes} channels, and these have {channels}"
    try:
        if found.library:
            require("it", found.library)
    except UsageError as error:
        return str(error)
    return ""


def _gaussian_noise(images: Images, deviation: float, generators: Generators) -> Images:
    # Each image has a generator of its own, so that its noise does not depend on the batch it is in.
    drawn = [rng.standard_normal(image.shape, np.float32) for rng, image in zip(generators, images, strict=True)]
    return np.asarray(images + np.float32(deviation) * np.stack(drawn), np.float32)


def _impulse_noise(images: Images, amount: float, generators: Generators) -> Images:
    """Each number becomes 0 or 1 with the probability ``amount``, each of the two in half of the cases."""
    drawn = np.stack([rng.random(image.shape, np.float32) for rng, image in zip(generators, images, strict=True)])
    # The lower half of what is hit becomes one, the upper half zero.
    return np.where(drawn < amount, (drawn < amount / 2).astype(np.float32), images)


def _blur(images: Images, deviation: float, _: Generators) -> Images:
    """A Gaussian along height, then along width; pixels at the border are repeated."""
    reach = int(_REACH * deviation + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in (2, 3):
        # One axis after the other, which is the same as a kernel of both and takes fewer products.
        padded = np.pad(images, [(reach, reach) if k == axis else (0, 0) for k in range(4)], mode="edge")
        length = images.shape[axis]
        images = np.zeros_like(images)
        for place, weight in enumerate(kernel):
            images += weight * padded.take(range(place, place + length), axis)
    return images


def _contrast(images: Images, factor: float, _: Generators) -> Images:
    means = images.mean(axis=(2, 3), keepdims=True)
    return np.asarray((images - means) * factor + means, np.float32)


def _brightness(images: Images, step: float, _: Generators) -> Images:
    """The value of HSV, which is the largest channel, rises by ``step``; hue and saturation stay."""
    value = images.max(axis=1, keepdims=True)
    brighter = np.minimum(value + step, 1)
    scaled = images * (brighter / np.where(value > 0, value, 1))
    # Black has no hue; it becomes grey.
    return np.asarray(np.where(value > 0, scaled, brighter), np.float32)


def _jpeg(images: Images, quality: float, _: Generators) -> Images:
    from PIL import Image  # noqa: PLC0415 - an extra

    found = []
    for image in np.rint(images * 255).astype(np.uint8):
        shown = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        with BytesIO() as file:
            # In memory, through the same coder as files.
            shown.save(file, "JPEG", quality=int(quality))
            decoded = np.asarray(Image.open(file), np.float32) / 255
        found.append(decoded[None] if decoded.ndim == 2 else decoded.transpose(2, 0, 1))
    return np.stack(found)


GAUSSIAN_NOISE = Corruption((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38), _gaussian_noise)
IMPULSE_NOISE = Corruption((0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27), _impulse_noise)
BLUR = Corruption((0.4, 0.6, 0.7, 0.8, 1), (1, 2, 3, 4, 6), _blur)
CONTRAST = Corruption((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05), _contrast)
BRIGHTNESS = Corruption((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5), _brightness)
JPEG = Corruption((80, 65, 58, 50, 40), (25, 18, 15, 10, 7), _jpeg, (1, 3), "PIL")
