"""Images and volumes that stand in for photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.data.synthetic.fractal import Field, fractal_noise
from compressor.data.synthetic.leaves import dead_leaves

LEAVES_SHARE = 0.6
"""Share of dead leaves; noise makes up the rest."""
EXPONENT = 1.2
"""Amplitudes of the noise fall with this power of the frequency."""
CONTRAST = 0.5
"""Deviation of the noise around 0.5, before it is blended and clipped."""
CHROMA = 0.3
"""Weight of what channels of the noise have to themselves; brightness has the rest of their variance."""


def natural_image(rng: np.random.Generator, channels: int, size: Sequence[int]) -> Field:
    """One image float32[channels, \\*size] in 0..1: dead leaves blended with 1/f noise, mostly of brightness.

    Leaves give edges and areas, the noise energy in all directions at once. On networks trained on photographs the
    blend keeps more accuracy than either alone.

    Args:
        rng: source of all randomness.
        channels: any number.
        size: height and width, or depth, height and width.
    """
    image = dead_leaves(rng, channels, size)
    own = int(channels > 1) * channels
    fields = fractal_noise(rng, 1 + own, size, EXPONENT)
    noise = fields[:1]
    if own:
        noise = np.sqrt(1 - CHROMA**2) * noise + CHROMA * fields[1:]
    image *= LEAVES_SHARE
    image += (1 - LEAVES_SHARE) * (0.5 + CONTRAST * noise)
    return np.clip(image, 0, 1, out=image)
