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
    """Samples on which no end of the interval of a share (:func:`wilson`) is further from it than ``difference``."""
    z, wide = NormalDist().inv_cdf((1 + level) / 2), max(difference, 1e-9)
    # An end has the variance of a share that lies there, which is not 0 where the share itself is 0 or 1.
    ends = (end for end in (share - wide, share + wide) if 0 < end < 1)
    return max(1, ceil(z * z * max((end * (1 - end) for end in ends), default=0.0) / wide**2))
