"""What channels were ranked by, counted for the report."""

from __future__ import annotations

import numpy as np

from compressor.channels.channel_mask import ChannelMask
from compressor.pruning.budgets.select import Scored
from compressor.results import ScoreHistogram

BINS = 24
WIDE_RATIO = 30.0
"""From this ratio of the largest score to the smallest on, a linear scale would show one full bin and nothing else."""


def histogram(scored: Scored, cut: ChannelMask) -> ScoreHistogram | None:
    """Scores of the units that stay and of those that go; None where fewer than two of them are numbers.

    Units that had to stay have an infinite score, and are not counted.
    """
    known = np.isfinite(scored.scores)
    scores, stays = scored.scores[known], cut.keeps_units(scored.units[known])
    if len(scores) < 2:
        return None
    low, high = float(scores.min()), float(scores.max())
    # A score of zero has no place on a logarithmic scale.
    logarithmic = low > 0 and high > WIDE_RATIO * low
    places = np.log(scores) if logarithmic else scores
    # Halved, so that the range of the largest numbers is one too.
    first, span = places.min() / 2, places.max() / 2 - places.min() / 2
    share = (places / 2 - first) / span if span > 0 else np.full(places.shape, 0.5)
    bins = np.minimum((share * BINS).astype(np.int64), BINS - 1)
    kept, removed = (np.bincount(bins[which], minlength=BINS).tolist() for which in (stays, ~stays))
    return ScoreHistogram(
        ranked_by=scored.ranked_by, low=low, high=high, logarithmic=logarithmic, kept=kept, removed=removed
    )
