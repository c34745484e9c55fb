"""What compression costs where inputs shift: means with their intervals, excess error, prune potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compressor.core.arrays import Floats
from compressor.core.intervals import wilson
from compressor.evaluate.statistics import DRAWN_AT_ONCE, DRAWS
from compressor.results.robustness import Estimate, PotentialRow

SHARE, DIFFERENCE, EXCESS = (0.0, 1.0), (-1.0, 1.0), (-2.0, 2.0)
"""Between what the numbers of samples lie: shares of hits, how two of them differ, how two differences do."""


def estimates(
    vectors: Sequence[Floats], level: float, seed: int, bounds: tuple[float, float] | None = None
) -> list[Estimate]:
    """The mean of each vector with its interval.

    Hits and misses have that of a share (:func:`wilson`), other numbers a percentile interval of the bootstrap. The
    samples are drawn, the same ones for all vectors: what is a difference within a sample stays paired, and noise
    that was drawn several times for a sample counts once.

    Where all samples agree a bootstrap has no width. Numbers with ``bounds`` then have the interval of a share, too:
    of samples that may be at either bound though none was seen. Of numbers without, one sample tells no interval: NaN.

    Args:
        vectors: float64[n], one number a sample.
        level: confidence, in (0, 1).
        seed: of the resampling.
        bounds: between what the numbers lie; None where nothing is known.
    """
    values = np.stack(vectors)
    count, rng = values.shape[1], np.random.default_rng(seed)
    means = []
    tails = [(1 - level) / 2, (1 + level) / 2]
    with np.errstate(invalid="ignore"):  # infinities make NaN where they are not drawn
        # Counts of how often a sample is drawn stand for the draws, so that means are matrix products.
        for _ in range(DRAWS // DRAWN_AT_ONCE):
            weights = rng.multinomial(count, np.full(count, 1 / count), DRAWN_AT_ONCE)
            means.append(values @ weights.T / count)
        low, high = np.quantile(np.concatenate(means, axis=1), tails, axis=1)
    ends = [_share_interval(row, level, bounds) or found for row, *found in zip(values, low, high, strict=True)]
    return [
        Estimate(value=float(mean), low=float(a), high=float(b))
        for mean, (a, b) in zip(values.mean(axis=1), ends, strict=True)
    ]


def _share_interval(values: Floats, level: float, bounds: tuple[float, float] | None) -> Sequence[float] | None:
    """The ends of an interval where samples agree or are hits and misses; None where they differ by degrees."""
    count = len(values)
    if bounds is None:
        return (np.nan, np.nan) if count == 1 else None
    if bounds == SHARE and np.isin(values, SHARE).all():
        return wilson(float(values.sum()), count, level)
    if np.ptp(values) != 0:
        return None
    unseen, (least, most), mean = wilson(0, count, level)[1], bounds, float(values[0])
    return mean + unseen * (least - mean), mean + unseen * (most - mean)


def extra_errors(original: Floats, compressed: Floats) -> Floats:
    """How much more often the compressed model is wrong than the original on the same inputs, by sample."""
    return original - compressed


def excess_error(shifted: Floats, clean: Floats) -> Floats:
    """The difference in excess error, by sample (arXiv 2103.03014).

    With the excess error e = err(shifted) - err(clean) of one model, it is e of the compressed model less e of the
    original: what shift costs the one and not the other. Written with what each loses against the original:
    ``shifted`` and ``clean`` are :func:`extra_errors` on shifted and on clean inputs.
    """
    return shifted - clean


def potential(
    shift: str, level: float | None, losses: Mapping[str, Estimate], saved: Mapping[str, float], margin: float
) -> PotentialRow:
    """The prune potential (arXiv 2103.03014) among the models given.

    Args:
        shift, level: the inputs that accuracy was measured on.
        losses: accuracy lost against the original, by model.
        saved: the share that compression saves, by model.
        margin: accuracy that may be lost.

    Returns:
        The largest share saved by a model whose loss is within the margin; the same where the whole interval is, and
        where it reaches into the margin. 0 where only the original is.
    """

    def largest(bound: str) -> str | None:
        within = [name for name, loss in losses.items() if getattr(loss, bound) <= margin]
        return max(within, key=lambda name: saved[name], default=None)

    # The high end of a loss gives the low end of what can be saved, and the other way round.
    names = {bound: largest(bound) for bound in ("value", "high", "low")}
    shares = {bound: max(0.0, saved[name]) if name else 0.0 for bound, name in names.items()}
    return PotentialRow(
        shift=shift,
        level=level,
        value=shares["value"],
        low=shares["high"],
        high=shares["low"],
        model=names["value"],
    )
