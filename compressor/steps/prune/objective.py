"""What a budget is spent on: multiply-accumulates, or the time of a run."""

from __future__ import annotations

from compressor.channels.coupling import Coupling
from compressor.config import PruneSettings
from compressor.operators.table import RULES
from compressor.pruning.budgets.select import by_weights, ranking_of
from compressor.pruning.by_loss import uniform_share
from compressor.pruning.cut.analysis import Analysis
from compressor.results import Report

DEARER = 2.0
"""How many times fewer multiply-accumulates than asked for may be left before that is reported."""
DEAR = (
    "runs were to take {share:.2f} of their time, and only {macs:.2f} of the multiply-accumulates are left for that: "
    "this model spends its time on something else; leave --objective latency out to keep more"
)


def macs_lag_time(report: Report) -> list[str]:
    """A note where a share of the time took far more channels than the same share of multiply-accumulates would."""
    target = str(report.done.get("target_latency"))
    if report.output is None or report.done.get("objective") != "latency" or not target.endswith("x"):
        return []
    share, macs = float(target[:-1]), report.output.macs / max(report.input.macs, 1)
    return [DEAR.format(share=share, macs=macs)] if macs * DEARER < share else []


def with_latency_target(settings: PruneSettings, analysis: Analysis, size: int) -> PruneSettings:
    """The settings with a latency for the target, where ``--objective latency`` asks for that.

    A run is to take the share of its time that a ratio, or a target of multiply-accumulates, leaves of these. Where
    runs wait for memory, time falls more slowly than they do, and channels go where time is instead.

    Args:
        settings: of the run.
        analysis: the analysed model.
        size: bytes of its file.

    Raises:
        NothingToPrune: no group can lose a channel.
    """
    if settings.objective == "macs":
        return settings
    share = settings.target_macs
    if share is None:
        # On a coupling of its own, as a ranking pairs units for good, here by weights: no sample is read yet, and a
        # share of every group takes its width alone.
        first = analysis.coupling
        coupling = Coupling(analysis.model.graph, analysis.shapes, RULES, first.policy, first.distrusted).run()
        share = uniform_share(coupling, ranking_of(coupling, by_weights(settings), size), settings)
    return settings.model_copy(update={"target_latency": f"{share:.6f}x", "ratio": None, "target_macs": None})
