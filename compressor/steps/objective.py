"""What a budget is spent on: multiply-accumulates, or the time of a run."""

from __future__ import annotations

from compressor.config import PruneSettings
from compressor.pruning.analysis import Analysis
from compressor.pruning.by_loss import uniform_share
from compressor.pruning.select import ranked
from compressor.steps.losses import scored


def by_time(settings: PruneSettings, found: Analysis, size: int) -> PruneSettings:
    """The settings with a latency for the target, where ``--objective latency`` asks for that.

    A run is to take the share of its time that a ratio, or a target of multiply-accumulates, leaves of these. Where
    runs wait for memory, time falls more slowly than they do, and channels go where time is instead.

    Args:
        settings: of the run.
        found: the analysed model.
        size: bytes of its file.

    Raises:
        NothingToPrune: no group can lose a channel.
    """
    if settings.objective == "macs":
        return settings
    share = settings.target_macs
    if share is None:
        share = uniform_share(found.coupling, ranked(found.coupling, scored(settings), size), settings)
    return settings.model_copy(update={"target_latency": f"{share:.6f}x", "ratio": None, "target_macs": None})
