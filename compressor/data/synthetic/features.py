"""Rows of numbers that hang together: correlated features, and boxes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from compressor.data.synthetic.fractal import Field, fractal_noise

HIDDEN_CAUSES = 16
"""Hidden causes that features share."""
SHARED_VARIANCE = 0.7
"""Share of a feature's variance that comes from them."""


def features(rng: np.random.Generator, shape: tuple[int, ...], seed: int) -> Field:
    """Normal numbers float32[\\*shape] of unit deviation; the last axis holds features, one before it steps of time.

    Features are mixed from a few factors, the same ones for every sample of ``seed``; factors drift over time.
    """
    mixing = _mixing(shape[-1], seed)
    if len(shape) == 1:
        hidden = rng.standard_normal(mixing.shape[1], dtype=np.float32)
    else:
        steps = shape[-2]
        drift = fractal_noise(rng, mixing.shape[1], (steps,), 0.5) if steps > 1 else np.zeros((mixing.shape[1], steps))
        level = rng.standard_normal((mixing.shape[1], 1))
        # Divided by the root of two, as two independent parts of deviation one are added.
        hidden = ((drift + level) / np.sqrt(2 if steps > 1 else 1)).T.astype(np.float32)
    own = rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(np.sqrt(SHARED_VARIANCE) * (hidden @ mixing.T) + np.sqrt(1 - SHARED_VARIANCE) * own, np.float32)


@lru_cache(maxsize=8)
def _mixing(count: int, seed: int) -> Field:
    """float32[count, factors] with rows of norm 1."""
    # By seed and width, so that inputs of one width share their causes.
    drawn = np.random.default_rng([seed, count]).standard_normal((count, min(HIDDEN_CAUSES, max(count, 1))))
    rows: Field = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    # Cached and shared by all callers.
    rows.setflags(write=False)
    return rows


def boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> Field:
    """Corners (left, top, right, bottom) float32[..., 4] of boxes within the unit square."""
    ends = np.sort(rng.random((*shape[:-1], 2, 2)), axis=-2)  # [..., first or second corner, x or y]
    return np.asarray(ends.reshape(shape), np.float32)
