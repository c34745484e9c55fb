"""A latency as a target: widths chosen by measured operator times, then measured end to end and corrected."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.latency.cache import LatencyCache
from compressor.latency.candidates import Candidates, fingerprint
from compressor.latency.search import SLACK, Aim, MeasuredWidths, WidthSearch
from compressor.latency.table import Table
from compressor.latency.timing import RuntimeTimer, Timer
from compressor.pruning.allocate import scores_by_loss
from compressor.pruning.analysis import Analysis
from compressor.pruning.budget import Removed, line_up
from compressor.pruning.by_loss import choose_by_loss, chunks_of, scored_by_loss
from compressor.pruning.curves import Curves, lines_of
from compressor.pruning.parts import operator_chains
from compressor.pruning.schedule import kept
from compressor.pruning.select import Choice, Ranking, choose_by_scores
from compressor.pruning.widths import Levels, WidthLine, Widths, lines, units_at
from compressor.results import Report
from compressor.results.detail import LatencyResult
from compressor.results.sensitivity import SensitivityReport


class LatencyTarget:
    """The latency that a run aims at, and what came of it.

    Args:
        source: the original, against which everything is measured.
        settings: ``target_latency``, and where and how it counts.
        clock: is told how it goes.
        timer: makes what measures models against ``source``.

    Raises:
        UsageError: the model fixes another batch size than the one asked for.
    """

    def __init__(
        self,
        source: ir.Model,
        settings: PruneSettings,
        clock: Clock,
        timer: Callable[[ir.Model, PruneSettings], Timer] = RuntimeTimer,
    ) -> None:
        self._source, self._settings, self._clock = source, settings, clock
        # Without a number that somebody asked for, coming near is all that is wanted.
        self._aim = Aim(settings.target_latency or "", exact=settings.objective == "macs")
        self._timer = timer(source, settings)
        self._result: LatencyResult | None = None
        self._warnings = list(self._timer.warnings)

    def choose(self, analysis: Analysis, settings: PruneSettings, ranking: Ranking, curves: Curves | None) -> Choice:
        """Which units go, so that a run takes as long as asked, within 3 %, or as little less as widths allow.

        The steps before the last one aim at the same share of the multiply-accumulates instead: time falls more
        slowly than they do, so that something is left to the last step.

        Args:
            analysis: the analysed model.
            settings: of this step.
            ranking: its groups.
            curves: what each of them loses; None: by scores.

        Raises:
            TargetOutOfReach: the model is too slow even with everything gone that may go.
            NothingToPrune: the original is fast enough, or has no channel that can go.
            ProviderUnavailable: the provider is missing, did not start, or took no node.
        """
        # A table for every step would multiply the time of measuring, for widths that the next step changes again.
        if settings.steps > 1:
            by_macs = self._by_macs(settings)
            if curves is not None:
                return choose_by_loss(analysis, by_macs, ranking, curves)
            return choose_by_scores(analysis.coupling, by_macs, ranking)
        candidates = Candidates(analysis, ranking.groups, settings)
        removed = self._search(candidates, _lines(ranking, settings, curves))
        scored = ranking.by_criterion() if curves is None else scored_by_loss(curves)
        return Choice(candidates.plan(removed), ranking.groups, ranking.origin, scored)

    def added_to(self, report: Report) -> Report:
        """``report`` with the latency that was reached."""
        return report.model_copy(update={"latency": self._result}).warned(self._warnings)

    def _by_macs(self, settings: PruneSettings) -> PruneSettings:
        """The settings of a step before the last, with multiply-accumulates for the target."""
        if self._result is None:
            # Against itself: all that is wanted is the time of the original.
            self._result = self._timer.against(self._source)
        share = min(1.0, self._aim.share(self._result))
        share = kept(self._settings, settings.steps, share)
        return settings.model_copy(update={"target_latency": None, "target_macs": share})

    def _search(self, candidates: Candidates, of_groups: list[WidthLine]) -> Removed:
        """The units that go: a table that is filled first, then widths chosen, measured and corrected."""
        parts = operator_chains(candidates.analysis.coupling, [line.group for line in of_groups])
        cache = LatencyCache(self._settings.latency_cache, {**self._timer.made_for(), "graph": fingerprint(parts)})
        table = cache.read()
        # The table is still empty or partial here; it is read only when widths are predicted, after it was filled.
        widths = Widths(of_groups, parts, table.share)

        def model(levels: Levels) -> ir.Model:
            return candidates.model(units_at(of_groups, levels))

        def measure(levels: Levels) -> LatencyResult:
            self._clock.tell(f"latency: model {len(search.trials) + 1}")
            return self._timer.against(model(levels))

        search = WidthSearch(self._aim, widths, measure)
        search.demand_reachable()
        self._fill(table, cache, widths, model)
        trial = search.run()
        self._take(trial, corrections=len(search.trials) - 2)
        return units_at(of_groups, trial.levels)

    def _fill(self, table: Table, cache: LatencyCache, widths: Widths, model: Callable[[Levels], ir.Model]) -> None:
        """Times operators at sample widths, but for those that the table holds; keeps it after each."""
        samples, failed = widths.samples(self._settings.seed), list[str]()
        for number, levels in enumerate(samples, 1):
            gone = widths.gone(levels)
            if not table.holds(widths.parts, gone):
                self._clock.tell(f"latency table: {number} of {len(samples)}")
                table.learn(widths.parts, gone, self._timer.operators(model(levels)))
                # After each sample, so that an interrupted run keeps what it measured.
                failed = cache.write(table)
        self._warnings += failed

    def _take(self, trial: MeasuredWidths, corrections: int) -> None:
        wanted = self._aim.milliseconds(trial.latency)
        predicted = None if trial.predicted is None else trial.predicted * trial.latency.before_ms
        self._result = trial.latency.model_copy(
            update={"target_ms": wanted, "predicted_ms": predicted, "corrections": max(0, corrections)}
        )
        fastest, slowest = trial.latency.before_ms / trial.latency.high, trial.latency.before_ms / trial.latency.low
        if trial.hits and self._aim.exact and fastest > wanted:
            self._warnings.append(
                f"a run takes {trial.latency.after_ms:.3g} ms, {trial.reached - 1:.1%} more than the target of "
                f"{wanted:.3g} ms; up to {SLACK:.0%} counts as met, so aim lower where that is too much"
            )
        elif not trial.hits and trial.reached < 1:
            self._warnings.append(
                f"a run takes {trial.latency.after_ms:.3g} ms, {1 - trial.reached:.0%} less than the target of "
                f"{wanted:.3g} ms: no width between was found; lower --round-to for finer steps"
            )
        elif not trial.hits:
            self._warnings.append(
                f"a run takes {trial.latency.after_ms:.3g} ms, {trial.reached - 1:.0%} more than the {wanted:.3g} ms "
                "that would be its share: time does not fall as far as multiply-accumulates do; raise --max-ratio"
            )
        if trial.vague:
            self._warnings.append(
                f"the machine was noisy: the latency lies between {fastest:.3g} and {slowest:.3g} ms; stop what else "
                "runs, or measure again with onnx-compress bench"
            )


def _lines(ranking: Ranking, settings: PruneSettings, curves: Curves | None) -> list[WidthLine]:
    """The widths of every group, with losses that were measured if any were."""
    scores, origin = ranking.scores, ranking.origin
    if curves is not None:
        return lines_of(curves, scores, chunks_of(scores, settings, origin))
    if settings.sensitivity is not None:
        scores, settings = scores_by_loss(scores, settings, origin, SensitivityReport.load(settings.sensitivity))
    return lines(line_up(scores, settings, origin), list(scores), settings)
