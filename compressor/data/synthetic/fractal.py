"""Noise whose amplitude falls with frequency, as that of photographs and of sounds does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]


def fractal_noise(rng: np.random.Generator, count: int, size: Sequence[int], exponent: float) -> Field:
    """``count`` independent fields float32[count, \\*size] of mean 0 and deviation 1, periodic at their borders.

    Amplitudes are drawn in the frequency domain and scaled by ``f ** -exponent``, f in cycles a pixel: white noise
    at 0, photographs near 1 (Field, *Relations between the statistics of natural images*, JOSA A 4, 1987).

    Args:
        rng: source of all randomness.
        count: fields.
        size: numbers along each axis of a field, at least one axis.
        exponent: how fast amplitudes fall.
    """
    weight = _amplitudes(tuple(size), exponent)
    drawn = rng.standard_normal((2, count, *weight.shape), dtype=np.float32)
    spectrum = (drawn[0] + 1j * drawn[1]) * weight
    axes = tuple(range(1, 1 + len(size)))
    field = np.fft.irfftn(spectrum, s=tuple(size), axes=axes).astype(np.float32, copy=False)
    field -= field.mean(axis=axes, keepdims=True)
    deviation = field.std(axis=axes, keepdims=True)
    # A field of one pixel has no deviation.
    unit: Field = np.divide(field, deviation, out=np.zeros_like(field), where=deviation > 0)
    return unit


@lru_cache(maxsize=8)
def _amplitudes(size: tuple[int, ...], exponent: float) -> Field:
    """Amplitude of each frequency that ``irfftn`` reads; 0 of the constant."""
    steps = [np.fft.fftfreq(n) for n in size[:-1]] + [np.fft.rfftfreq(size[-1])]
    square = np.zeros(tuple(len(s) for s in steps))
    for axis, step in enumerate(steps):
        square += np.square(step).reshape([-1 if a == axis else 1 for a in range(len(steps))])
    # The constant gets no amplitude: infinity to a negative power is zero.
    square.flat[0] = np.inf
    weight = (square ** (-exponent / 2)).astype(np.float32)
    # Cached and shared by all callers.
    weight.setflags(write=False)
    return weight
