"""Intervals of shares that were counted on samples."""

from math import ceil, sqrt
from statistics import NormalDist

LEVEL = 0.95
"""Confidence of intervals."""


def wilson(hits: float, count: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a share (Wilson 1927), which is honest near 0 and 1 and for few samples."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, scale = hits / count, 1 + z * z / count
    middle = share + z * z / (2 * count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    # Rounding may leave the range of a share by its last bit.
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def needed(share: float, difference: float, level: float = LEVEL) -> int:
    """Samples on which a share is known to within ``difference``."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    # A share of exactly 0 or 1 has no variance by this formula, and would ask for no samples.
    return ceil(z * z * max(share * (1 - share), 1e-4) / max(difference, 1e-9) ** 2)
