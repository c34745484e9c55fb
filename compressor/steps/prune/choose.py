"""What one step of pruning removes: chosen by what was measured, or by a plan that is replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.groups import group
from compressor.channels.plan import PruningPlan, plan_of
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.errors import NothingToPrune, NotPossible, TargetOutOfReach
from compressor.pruning.budgets.budget import Origin, demand_reachable, goal_of
from compressor.pruning.budgets.cost import CostModel
from compressor.pruning.budgets.schedule import kept, part_of
from compressor.pruning.budgets.select import Choice, Ranking, by_weights, choose_by_scores, ranking_of
from compressor.pruning.by_loss import choose_by_loss
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.lossless import lossless_plan
from compressor.pruning.nonfinite import in_activations
from compressor.steps import report_rows
from compressor.steps.prune.layer_options import LayerOptions, Selected, structure_of
from compressor.steps.prune.losses import Losses, RunCurves, follows_losses, with_measured_scores
from compressor.steps.prune.written_file import WrittenFile
from compressor.steps.run_samples import RunSamples, sized
from compressor.steps.score import measure_depth, measure_for_criterion

if TYPE_CHECKING:
    from compressor.latency import LatencyTarget


def replayed_choice(plan: PruningPlan, analysis: Analysis) -> Choice:
    """What a plan removes, as the choice of groups and units that a ranking would have made."""
    return Choice(plan, group(analysis.coupling), None)


@contextmanager
def reasons_given(analysis: Analysis) -> Iterator[None]:
    """Gives the reasons along where nothing can be pruned."""
    try:
        yield
    except NotPossible as refusal:
        refusal.frozen = tuple(report_rows.frozen_rows(analysis))
        raise


@dataclass(frozen=True)
class Means:
    """What choices are made with.

    Attributes:
        settings: of the run.
        samples: where a criterion may measure; None where nothing is read.
        losses: what measures loss curves, where groups lose by them.
        aim: the latency that is asked for, if one is.
        layers: options of single layers; None where channels alone go.
        file: that will be written, for a budget of bytes; None: as large as the given one.
        params: parameters of the original as its file has them; None: as many as it has once prepared.
    """

    settings: PruneSettings
    samples: RunSamples | None
    losses: Losses | None
    aim: LatencyTarget | None
    layers: LayerOptions | None = None
    file: WrittenFile | None = None
    params: int | None = None

    def at_present(self, origin: Origin, analysis: Analysis) -> Origin:
        """What amounts are shares of, as files have it: the original's parameters, and the bytes that are no weights in
        the file of this model."""
        # Preparing a model folds parameters into others, and gives each reader its own copy of what several share.
        origin = origin if self.params is None else replace(origin, params=self.params)
        if self.file is None or self.settings.target_size is None:
            return origin
        return replace(origin, rest=self.file.rest(analysis))


def means_of(
    source: ir.Model,
    settings: PruneSettings,
    samples: RunSamples | None,
    clock: Clock,
    file: WrittenFile | None = None,
    params: int | None = None,
) -> Means:
    """What the choices of a run are made with; see :class:`Means`."""
    losses = None
    if samples is not None and follows_losses(settings, samples=True):
        losses = Losses(settings, samples.train, clock, telling=samples.telling)
    layers = LayerOptions(settings, losses, clock) if structure_of(settings).layers else None
    return Means(
        settings,
        samples,
        losses,
        _latency_target(source, settings, samples, clock),
        layers,
        file,
        params,
    )


def _latency_target(
    source: ir.Model, settings: PruneSettings, samples: RunSamples | None, clock: Clock
) -> LatencyTarget | None:
    if settings.target_latency is None:
        return None
    from compressor.latency import LatencyTarget

    return LatencyTarget(source, sized(source, settings, samples), clock)


def ranked(analysis: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means) -> Ranking:
    """All groups, their units scored by what was measured of them; arguments as of :func:`chosen`.

    Raises:
        NothingToPrune: no group may lose a channel.
        CompressorError: as :func:`compressor.steps.score.measure_for_criterion`.
    """
    by = settings if means.losses is None else with_measured_scores(settings)
    # Where no channel goes, groups only tell what a ratio would take, and that is a matter of their widths.
    by = by if structure_of(settings).channels else by_weights(by)
    # Before balancing, which merges units: measurements are joined with them.
    data = means.samples.train if means.samples is not None else None
    measured = measure_for_criterion(analysis, by, data)
    measure_depth(analysis, by, data)
    ranking = ranking_of(analysis.coupling, by, size, origin, measured)
    return replace(ranking, origin=means.at_present(ranking.origin, analysis))


def chosen_changes(
    analysis: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means
) -> Selected:
    """What a step does: channels that go, and layers that become something cheaper; arguments as of :func:`chosen`."""
    if means.layers is None:
        return chosen(analysis, settings, origin, size, means)
    measured, channels = RunCurves(None), structure_of(settings).channels
    try:
        ranking = ranked(analysis, settings, origin, size, means)
    # Layers may still change where no channel can go.
    except NothingToPrune:
        if channels:
            raise
        ranking = None
    if channels and ranking is not None and means.losses is not None:
        # The layers' own options are measured next, on the same samples.
        also = [layer.view for layer in means.layers.candidates(analysis)]
        measured = means.losses.curves(analysis, ranking.scores, also=also)
    return means.layers.selected(analysis, ranking, measured, size)


def chosen(analysis: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means) -> Selected:
    """What a step removes: what cannot matter, what a latency needs, or what a ratio or another target asks for.

    Whether a target can be met does not depend on the number of steps: each chooses what meets it, and takes of that
    what the schedule asks for.

    Args:
        analysis: the model as it is before the step.
        settings: of the step.
        origin: costs of the model before the first step; None in the first.
        size: bytes of the file.
        means: what to measure on, and a latency.

    Raises:
        NothingToPrune: nothing may go.
        TargetOutOfReach: the target cannot be met.
    """
    if settings.steps == 1 or not settings.aims:
        return _chosen(analysis, settings, origin, size, means)
    selected = _chosen(analysis, means.settings.end, origin, size, means)
    whole = selected.choice
    assert whole.origin is not None, "a target is a share of something"
    goal = goal_of(CostModel(analysis.coupling), means.settings.end, whole.origin)
    removed = part_of(whole.removed, goal, kept(means.settings, settings.steps, goal.share))
    plan = plan_of(analysis.coupling, whole.groups, removed, whole.plan.policy)
    enough = {group.name: len(group.units) - len(whole.removed.get(group.name, ())) for group in whole.groups}
    origin = replace(whole.origin, enough=enough)
    return replace(selected, choice=replace(whole, plan=plan, origin=origin, removed=removed))


def demand_met(analysis: Analysis, origin: Origin, means: Means) -> None:
    """Refuses a target that earlier steps did not meet, where nothing is left to go.

    Raises:
        TargetOutOfReach: more is left than the target.
    """
    if means.settings.end.aims:
        goal = goal_of(CostModel(analysis.coupling), means.settings.end, means.at_present(origin, analysis))
        demand_reachable([], goal)


def _chosen(analysis: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means) -> Selected:
    """What meets the settings in one step; arguments as of :func:`chosen`."""
    if settings.lossless:
        # Zeros that meet infinities make NaNs, so these units are not without effect.
        spoilt = in_activations(analysis, settings.seed, settings.provider)
        return Selected(Choice(*lossless_plan(analysis.coupling, settings, spoilt), origin))
    ranking = ranked(analysis, settings, origin, size, means)
    measured, share = RunCurves(None), None
    if means.losses is not None:
        measured = means.losses.curves(analysis, ranking.scores)
        # Counted once, in the first step, and kept for the later ones.
        share = means.losses.share(analysis, ranking, settings)
    curves = measured.curves
    if means.aim is not None:
        timed = means.aim.choose(analysis, settings, ranking, curves)
        notes = (*timed.notes, *measured.notes)
        return Selected(timed.choice, {}, notes, timed.latency, by_losses=curves is not None)

    def by_what_was_measured(ranking: Ranking) -> Choice:
        if curves is not None:
            return choose_by_loss(analysis, settings, ranking, curves, share)
        return choose_by_scores(analysis.coupling, settings, ranking)

    def within_file(choose: Callable[[Ranking], Choice]) -> Choice:
        return choose(ranking) if means.file is None else means.file.choose(analysis, settings, ranking, choose)

    try:
        choice = within_file(by_what_was_measured)
    except TargetOutOfReach as missed:
        # Coarse widths are met or not by chance, and other scores lead to others.
        try:
            choice = within_file(lambda ranking: ranking.as_before(analysis.coupling, settings))
        except TargetOutOfReach:
            raise missed from None
    return Selected(choice, {}, measured.notes, by_losses=curves is not None)
