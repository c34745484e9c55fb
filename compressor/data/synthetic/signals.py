"""Waveforms and spectrograms: coloured noise, tones with harmonics, and events."""

from __future__ import annotations

import numpy as np

from compressor.data.synthetic.fractal import Field, fractal_noise

EVENTS = 6
"""Sounds in a sample, at most."""
HARMONICS = 8
"""Partials of a tone, at most; each is weaker than the one below."""
FLOOR = 0.1
"""Amplitude of the noise, where the loudest sound has about 1."""


def waveform(rng: np.random.Generator, channels: int, length: int) -> Field:
    """A sound float32[channels, length] within -1..1: 1/f noise, and tones with harmonics that start and fade.

    Channels hear the same sounds at levels of their own, and noise of their own.
    """
    time = np.arange(length, dtype=np.float32)
    sound = np.zeros(length, np.float32)
    for _ in range(int(rng.integers(1, EVENTS + 1))):
        pitch = np.exp(rng.uniform(np.log(0.002), np.log(0.1)))  # cycles a sample
        glide = 1 + 0.1 * rng.standard_normal() * time / max(length, 1)
        partials = np.arange(1, int(rng.integers(1, HARMONICS + 1)) + 1)
        # Partials above half of the rate of samples would come out at other pitches.
        partials = partials[partials * pitch < 0.5]
        waves = [np.sin(2 * np.pi * (k * pitch * glide * time + rng.random())) / k for k in partials]
        sound += _envelope(rng, time) * np.sum(waves, axis=0).astype(np.float32)
    levels = rng.uniform(0.5, 1, (channels, 1)).astype(np.float32)
    heard = levels * sound + FLOOR * fractal_noise(rng, channels, (length,), 0.5)
    loudness = rng.uniform(0.1, 0.9)
    # Silence has nothing to be scaled by.
    return np.asarray(loudness * heard / max(float(np.abs(heard).max()), 1e-6), np.float32)


def _envelope(rng: np.random.Generator, time: Field) -> Field:
    """A quick rise at a random moment, and a slower decay; float32[length] in 0..1."""
    length = max(len(time), 1)
    start, rise, fall = rng.uniform(-0.2, 0.9) * length, rng.uniform(0.002, 0.05), rng.uniform(0.05, 0.5)
    since = np.maximum(time - start, 0)
    return np.asarray((1 - np.exp(-since / (rise * length + 1))) * np.exp(-since / (fall * length)), np.float32)


def spectrogram(rng: np.random.Generator, bands: int, frames: int) -> Field:
    """Logarithmic energies float32[bands, frames] of mean 0 and deviation 1.

    1/f noise that falls towards high bands, tones with harmonics that start and fade, and clicks over all bands.
    """
    energy = fractal_noise(rng, 1, (bands, frames), 0.8)[0] - np.linspace(0, 2, bands, dtype=np.float32)[:, None]
    time = np.arange(frames, dtype=np.float32)
    rows = np.arange(bands, dtype=np.float32)[:, None]
    for _ in range(int(rng.integers(1, EVENTS + 1))):
        low, gap, wave = rng.uniform(0, bands / 2), rng.uniform(2, max(bands / 6, 3)), rng.uniform(0, bands / 20)
        bend = wave * np.sin(2 * np.pi * (time / max(frames, 1) * rng.uniform(0.5, 4) + rng.random()))
        place = (rows - low - bend) / gap
        # A high power of the cosine: narrow ridges at the partials, weaker upwards.
        ridge = np.cos(np.pi * place) ** 8 * np.exp(-np.maximum(place, 0) / 3) * (place > -0.5)
        energy += rng.uniform(1, 4) * ridge * _envelope(rng, time)
    for _ in range(int(rng.integers(0, 3))):
        energy += rng.uniform(0.5, 2) * _envelope(rng, time)
    deviation = float(energy.std())
    return np.asarray((energy - energy.mean()) / (deviation or 1), np.float32)
