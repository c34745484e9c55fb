"""Images and volumes that stand in for photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.data.synthetic.fractal import Field, fractal_noise
from compressor.data.synthetic.leaves import dead_leaves

LEAVES_SHARE = (0.2, 1.0)
"""Least and largest share of dead leaves in an image; noise makes up the rest."""
EXPONENT = 1.2
"""Amplitudes of the noise fall with this power of the frequency."""
NOISE_CONTRAST = 0.5
"""Deviation of the noise around 0.5, before it is blended and clipped."""
CHROMA = 0.3
"""Weight of what channels of the noise have to themselves; brightness has the rest of their variance."""
EXPOSURE = (0.25, 0.1)
"""Deviations of the logarithm of an image's contrast, and of its brightness."""
SUPERSAMPLED = 1 << 16
"""Pixels up to which leaves are painted at twice the size and averaged: hard edges are too hard on few pixels."""


def natural_image(rng: np.random.Generator, channels: int, size: Sequence[int]) -> Field:
    """One image float32[channels, \\*size] in 0..1: dead leaves blended with 1/f noise, mostly of brightness.

    Leaves give edges and areas, the noise energy in all directions at once. On networks trained on photographs the
    blend keeps more accuracy than either alone, and more where shares, contrast and brightness differ from image to
    image (docs/recovery.md).

    Args:
        rng: source of all randomness.
        channels: any number.
        size: height and width, or depth, height and width.
    """
    share = np.float32(rng.uniform(*LEAVES_SHARE))
    image = share * _leaves(rng, channels, size)
    # An image of one channel has brightness alone.
    own = int(channels > 1) * channels
    fields = fractal_noise(rng, 1 + own, size, EXPONENT)
    noise = fields[:1]
    if own:
        # The shares are of variances, hence the root.
        noise = np.sqrt(1 - CHROMA**2) * noise + CHROMA * fields[1:]
    image += (1 - share) * (0.5 + NOISE_CONTRAST * noise)
    contrast, brightness = np.exp(EXPOSURE[0] * rng.standard_normal()), EXPOSURE[1] * rng.standard_normal()
    image = (np.clip(image, 0, 1) - 0.5) * np.float32(contrast) + np.float32(0.5 + brightness)
    return np.asarray(np.clip(image, 0, 1), np.float32)


def _leaves(rng: np.random.Generator, channels: int, size: Sequence[int]) -> Field:
    """Dead leaves with soft edges where the image is small."""
    # Twice the size along each axis multiplies pixels by two to the number of axes.
    if np.prod(size, dtype=np.int64) << len(size) > SUPERSAMPLED:
        return dead_leaves(rng, channels, size)
    parts = [n for side in size for n in (side, 2)]
    fine = dead_leaves(rng, channels, [2 * side for side in size]).reshape(channels, *parts)
    return np.asarray(fine.mean(axis=tuple(range(2, 2 + 2 * len(size), 2))), np.float32)
