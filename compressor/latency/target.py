"""A latency as a target: widths chosen by measured operator times, then measured end to end and corrected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compressor.config import PruneSettings
from compressor.config.target import LATENCY_SLACK
from compressor.core.clock import Clock
from compressor.core.formatting import percentage
from compressor.latency.cache import LatencyCache
from compressor.latency.candidates import Candidates, fingerprint
from compressor.latency.search import Aim, MeasuredWidths, WidthSearch
from compressor.latency.table import Table
from compressor.latency.timing import RuntimeTimer, Timer
from compressor.pruning.budgets.allocate import scores_by_loss
from compressor.pruning.budgets.budget import Removed, line_up
from compressor.pruning.budgets.curves import Curves, lines_of
from compressor.pruning.budgets.parts import operator_chains
from compressor.pruning.budgets.schedule import kept
from compressor.pruning.budgets.select import Choice, Ranking, choose_by_scores
from compressor.pruning.budgets.widths import Levels, WidthLine, Widths, lines, units_at
from compressor.pruning.by_loss import choose_by_loss, chunks_of, scored_by_loss
from compressor.pruning.cut.analysis import Analysis
from compressor.results.detail import LatencyResult
from compressor.results.sensitivity import SensitivityReport


@dataclass(frozen=True)
class TimedChoice:
    """Which units go, and what was measured on the way.

    Attributes:
        choice: the units.
        latency: of the model without them; before the last step, of the original.
        notes: what the report has to say of it.
    """

    choice: Choice
    latency: LatencyResult
    notes: tuple[str, ...]


class LatencyTarget:
    """The latency that a run aims at.

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
        self._aim = Aim(
            settings.target_latency or "",
            settings.objective == "macs",
            next(iter(settings.bounds), ""),
        )
        self._timer = timer(source, settings)
        # Measured once for all steps before the last.
        self._original: LatencyResult | None = None

    def choose(
        self, analysis: Analysis, settings: PruneSettings, ranking: Ranking, curves: Curves | None
    ) -> TimedChoice:
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
            if self._original is None:
                # Against itself: all that is wanted is the time of the original.
                self._original = self._timer.against(self._source)
            by_macs = self._by_macs(settings, self._original)
            choice = (
                choose_by_scores(analysis.coupling, by_macs, ranking)
                if curves is None
                else choose_by_loss(analysis, by_macs, ranking, curves)
            )
            return TimedChoice(choice, self._original, tuple(self._timer.warnings))
        candidates = Candidates(analysis, ranking.groups, settings)
        removed, latency, notes = self._search(candidates, _lines(ranking, settings, curves))
        scored = ranking.by_criterion() if curves is None else scored_by_loss(curves)
        choice = Choice(candidates.plan(removed), ranking.groups, ranking.origin, scored)
        return TimedChoice(choice, latency, (*self._timer.warnings, *notes))

    def _by_macs(self, settings: PruneSettings, original: LatencyResult) -> PruneSettings:
        """The settings of a step before the last, with multiply-accumulates for the target."""
        share = min(1.0, self._aim.share(original))
        share = kept(self._settings, settings.steps, share)
        return settings.model_copy(update={"target_latency": None, "target_macs": share})

    def _search(
        self, candidates: Candidates, of_groups: list[WidthLine]
    ) -> tuple[Removed, LatencyResult, Sequence[str]]:
        """The units that go, what comes of them, and what is to be said of it: a table that is filled first, then
        widths chosen, measured and corrected."""
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
        failed = self._fill(table, cache, widths, model)
        trial = search.run()
        result = self._result(trial, corrections=len(search.trials) - 2)
        return units_at(of_groups, trial.levels), result, [*failed, *self._remarks(trial)]

    def _fill(
        self, table: Table, cache: LatencyCache, widths: Widths, model: Callable[[Levels], ir.Model]
    ) -> list[str]:
        """Times operators at sample widths, but for those that the table holds; keeps it after each.

        Returns:
            Why it could not be kept, if so.
        """
        samples, failed = widths.samples(self._settings.seed), list[str]()
        for number, levels in enumerate(samples, 1):
            gone = widths.gone(levels)
            if not table.holds(widths.parts, gone):
                self._clock.tell(f"latency table: {number} of {len(samples)}")
                table.learn(widths.parts, gone, self._timer.operators(model(levels)))
                # After each sample, so that an interrupted run keeps what it measured.
                failed = cache.write(table)
        return failed

    def _result(self, trial: MeasuredWidths, corrections: int) -> LatencyResult:
        predicted = None if trial.predicted is None else trial.predicted * trial.latency.before_ms
        wanted = self._aim.milliseconds(trial.latency)
        return trial.latency.model_copy(
            update={"target_ms": wanted, "predicted_ms": predicted, "corrections": max(0, corrections)}
        )

    def _remarks(self, trial: MeasuredWidths) -> list[str]:
        """What is to be said where the aim was missed, or where the machine was noisy."""
        wanted, told = self._aim.milliseconds(trial.latency), []
        fastest, slowest = trial.latency.before_ms / trial.latency.high, trial.latency.before_ms / trial.latency.low
        if trial.hits and self._aim.exact and fastest > wanted:
            told.append(
                f"a run takes {trial.latency.after_ms:.3g} ms, {percentage(trial.reached - 1)} more than the target of "
                f"{wanted:.3g} ms; up to {LATENCY_SLACK:.0%} counts as met, so aim lower where that is too much"
            )
        elif not trial.hits and trial.reached < 1:
            told.append(
                f"a run takes {trial.latency.after_ms:.3g} ms, {1 - trial.reached:.0%} less than the target of "
                f"{wanted:.3g} ms: no width between was found; lower --round-to for finer steps"
            )
        elif not trial.hits:
            told.append(
                f"a run takes {trial.latency.after_ms:.3g} ms, {trial.reached - 1:.0%} more than the {wanted:.3g} ms "
                "that would be its share: time does not fall as far as multiply-accumulates do; raise --max-ratio"
            )
        if trial.vague:
            told.append(
                f"the machine was noisy: the latency lies between {fastest:.3g} and {slowest:.3g} ms; stop what else "
                "runs, or measure again with onnx-compress bench"
            )
        return told


def _lines(ranking: Ranking, settings: PruneSettings, curves: Curves | None) -> list[WidthLine]:
    """The widths of every group, with losses that were measured if any were."""
    scores, origin = ranking.scores, ranking.origin
    if curves is not None:
        return lines_of(curves, scores, chunks_of(scores, settings, origin))
    if settings.sensitivity is not None:
        scores, settings = scores_by_loss(scores, settings, origin, SensitivityReport.load(settings.sensitivity))
    return lines(line_up(scores, settings, origin), list(scores), settings)
