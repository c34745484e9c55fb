"""What a series of noisy timings says: a speed-up with an interval that holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from compressor.core.arrays import Floats

DRAWS = 1000
"""Resamples of the bootstrap."""
DRAWN_AT_ONCE = 50
"""Resamples that are held in memory together."""
WORK = 1 << 25
"""Timings resampled in all; long series are drawn less often."""


@dataclass(frozen=True)
class SpeedUp:
    """How many times as fast B is as A.

    Attributes:
        value: median of A over median of B; above 1, B is faster.
        low, high: interval of that ratio.
        level: its confidence.
        block: pairs that were resampled together, because noise comes in stretches; the longest of all rounds.
    """

    value: float
    low: float
    high: float
    level: float
    block: int


def speed_up(a: Sequence[Floats], b: Sequence[Floats], level: float, seed: int = 0) -> SpeedUp:
    """The ratio of medians with a bootstrap interval, from pairs that were measured in turns.

    Pairs are resampled as pairs, in two ways. Blocks of neighbours within every round (circular block bootstrap,
    Politis and Romano 1992): what A and B suffered together, and what one pair inherits from the one before, stays
    together. And whole rounds: every round loads the models anew, and a session is faster or slower for as long as
    it lives; rounds are few, so their standard error is multiplied by Student's quantile instead of the normal one.
    The wider interval counts. It is symmetric in the logarithm: swapping A and B turns it into its reciprocal.

    Args:
        a: seconds of A, float64[pairs], for every round.
        b: seconds of B in the same pairs.
        level: confidence, in (0, 1).
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    sizes = [len(x) for x in a]
    # The longest of the series, so that neither one's own noise nor that of their ratio is torn apart.
    blocks = [max(block_length(np.log(s)) for s in (x, y, x / y)) for x, y in zip(a, b, strict=True)]
    pairs = np.stack([np.concatenate(list(a)), np.concatenate(list(b))])
    half = NormalDist().inv_cdf((1 + level) / 2) * _by_blocks(pairs, sizes, blocks, rng)
    # From one round nothing can be told of how rounds differ.
    if len(sizes) > 1:
        # A bootstrap of n values has (n - 1) / n of their variance, which counts where n is five.
        unbiased = float(np.sqrt(len(sizes) / (len(sizes) - 1)))
        error = unbiased * _by_rounds(pairs, sizes, rng)
        half = max(half, student_quantile(level, len(sizes) - 1) * error)
    # The centre is what was measured; resampling gives the width of the interval alone.
    centre = float(_log_ratio(pairs))
    low, value, high = (float(np.exp(centre + step)) for step in (-half, 0.0, half))
    return SpeedUp(value, low, high, level, max(blocks))


def block_length(series: Floats) -> int:
    """Neighbours to resample together: Politis and White (2004), as corrected by Patton, Politis and White (2009).

    Their rule for the circular block bootstrap of a mean; between 1, for independent values, and a third of the
    series.
    """
    n = len(series)
    centred = series - series.mean()
    power = float(centred @ centred)
    # So few values say nothing of their correlation.
    if n < 8 or power <= 0:
        return 1
    window = max(5, int(np.ceil(np.sqrt(np.log10(n)))))
    longest = min(n // 2, int(np.ceil(np.sqrt(n))) + window)
    covariance = np.asarray([centred[: n - k] @ centred[k:] / n for k in range(longest + 1)])
    # The rule of the paper for where correlations are no more than noise: several in a row below this bound.
    small = np.abs(covariance) < 2 * np.sqrt(np.log10(n) / n) * covariance[0]
    quiet = (k for k in range(1, longest + 1) if small[k : k + window].all())
    bandwidth = min(2 * max(1, next(quiet, longest) - 1), longest)
    lags = np.arange(-bandwidth, bandwidth + 1)
    taper = np.clip(2 * (1 - np.abs(lags) / bandwidth), 0.0, 1.0)
    weighted = taper * covariance[np.abs(lags)]
    slope, level = float(weighted @ np.abs(lags)), float(weighted.sum())
    # The estimated spectrum at zero may come out negative, where series alternate; then blocks do not help.
    if level <= 0:
        return 1
    length = (1.5 * slope**2 / level**2 * n) ** (1 / 3)
    return int(np.clip(np.ceil(length), 1, max(1, n // 3)))


def student_quantile(level: float, freedom: int) -> float:
    """The t with P(|T| <= t) = ``level`` for Student's T with ``freedom`` degrees of freedom.

    With T = √freedom · tan u the density of u is proportional to cos(u)^(freedom - 1), which is summed up.
    """
    u = np.linspace(0.0, np.pi / 2, 200_001)
    density = np.cos(u) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(np.sqrt(freedom) * np.tan(np.interp(level, below / below[-1], u)))


def relative_iqr(seconds: Floats) -> float:
    """Interquartile range as a share of the median."""
    # Quartiles and not the standard deviation, which one interruption of the process decides.
    low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    return float((high - low) / middle)


def _log_ratio(pairs: Floats) -> Floats:
    """Of float64[2, ..., pairs], over the last axis."""
    a, b = np.median(pairs, axis=-1)
    return np.asarray(np.log(a / b))


def _by_blocks(pairs: Floats, sizes: Sequence[int], blocks: Sequence[int], rng: np.random.Generator) -> float:
    """Standard deviation of the logarithm of the ratio, with every round put together from blocks of its own.

    A block that reaches the end goes on at the start.
    """
    offsets = np.cumsum([0, *sizes[:-1]])
    found = []
    for _ in range(_draws(pairs) // DRAWN_AT_ONCE):
        parts = []
        for offset, size, block in zip(offsets, sizes, blocks, strict=True):
            starts = rng.integers(0, size, (DRAWN_AT_ONCE, -(-size // block), 1))
            parts.append(offset + (starts + np.arange(block)).reshape(DRAWN_AT_ONCE, -1)[:, :size] % size)
        found.append(_log_ratio(pairs[:, np.concatenate(parts, axis=1)]))
    return float(np.std(found))


def _by_rounds(pairs: Floats, sizes: Sequence[int], rng: np.random.Generator) -> float:
    """The same with as many rounds as there are, drawn with replacement."""
    rounds = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    drawn = np.sort(rng.integers(0, len(rounds), (_draws(pairs), len(rounds))), axis=1)
    # Few rounds can be drawn in few ways.
    ways, times = np.unique(drawn, axis=0, return_counts=True)
    found = [_log_ratio(pairs[:, np.concatenate([rounds[index] for index in way])]) for way in ways]
    return float(np.std(np.repeat(found, times)))


def _draws(pairs: Floats) -> int:
    # A standard deviation needs some hundred draws; more are only taken where they are cheap.
    return max(100, min(DRAWS, WORK // int(pairs.shape[1])))
