"""What one step of pruning removes: chosen by what was measured, or by a plan that is replayed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.groups import group
from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.errors import NothingToPrune
from compressor.pruning.analysis import Analysis
from compressor.pruning.budget import Origin
from compressor.pruning.by_loss import choose_by_loss
from compressor.pruning.lossless import lossless_plan
from compressor.pruning.nonfinite import in_activations
from compressor.pruning.select import Choice, Ranking, by_weights, choose_by_scores, ranking_of
from compressor.steps import account
from compressor.steps.prune.layer_options import LayerOptions, Selected, structure_of
from compressor.steps.prune.losses import Losses, follows_losses, scored
from compressor.steps.prune.written_file import WrittenFile
from compressor.steps.run_samples import RunSamples
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
    except NothingToPrune as nothing:
        nothing.frozen = tuple(account.frozen_rows(analysis))
        raise


@dataclass(frozen=True)
class Means:
    """What choices are made with.

    Attributes:
        samples: where a criterion may measure; None where nothing is read.
        losses: what measures loss curves, where groups lose by them.
        aim: the latency that is asked for, if one is.
        layers: options of single layers; None where channels alone go.
        file: that will be written, for a budget of bytes; None: as large as the given one.
    """

    samples: RunSamples | None
    losses: Losses | None
    aim: LatencyTarget | None
    layers: LayerOptions | None = None
    file: WrittenFile | None = None

    @property
    def notes(self) -> list[str]:
        """What the report has to say about how things were chosen."""
        warnings = list(self.losses.warnings) if self.losses is not None else []
        if self.layers is not None:
            warnings += [*account.left_alone(self.layers.refused, "--structure"), *self.layers.notes]
        return warnings


def means_of(
    source: ir.Model,
    settings: PruneSettings,
    samples: RunSamples | None,
    clock: Clock,
    file: WrittenFile | None = None,
) -> Means:
    """What the choices of a run are made with; see :class:`Means`."""
    losses = None
    if samples is not None and follows_losses(settings, samples=True):
        losses = Losses(settings, samples.train, clock, telling=samples.telling)
    layers = LayerOptions(settings, losses, clock) if structure_of(settings).layers else None
    return Means(samples, losses, _latency_target(source, settings, clock), layers, file)


def _latency_target(source: ir.Model, settings: PruneSettings, clock: Clock) -> LatencyTarget | None:
    if settings.target_latency is None:
        return None
    from compressor.latency import LatencyTarget

    return LatencyTarget(source, settings, clock)


def ranked(analysis: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means) -> Ranking:
    """All groups, their units scored by what was measured of them; arguments as of :func:`chosen`.

    Raises:
        NothingToPrune: no group may lose a channel.
        CompressorError: as :func:`compressor.steps.score.measure_for_criterion`.
    """
    by = settings if means.losses is None else scored(settings)
    # Where no channel goes, groups only tell what a ratio would take, and that is a matter of their widths.
    by = by if structure_of(settings).channels else by_weights(by)
    # Before balancing, which merges units: measurements are joined with them.
    data = means.samples.train if means.samples is not None else None
    measured = measure_for_criterion(analysis, by, data)
    measure_depth(analysis, by, data)
    ranking = ranking_of(analysis.coupling, by, size, origin, measured)
    if means.file is None or settings.target_size is None:
        return ranking
    return replace(ranking, origin=replace(ranking.origin, rest=means.file.rest(analysis)))


def chosen_changes(
    analysis: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means
) -> Selected:
    """What a step does: channels that go, and layers that become something cheaper; arguments as of :func:`chosen`."""
    if means.layers is None:
        return Selected(chosen(analysis, settings, origin, size, means), {})
    curves, channels = None, structure_of(settings).channels
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
        curves = means.losses.curves(analysis, ranking.scores, also=also)
    return means.layers.selected(analysis, ranking, curves, size)


def chosen(analysis: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means) -> Choice:
    """What a step removes: what cannot matter, what a latency needs, or what a ratio or another target asks for.

    Args:
        analysis: the model as it is before the step.
        settings: of the step.
        origin: costs of the model before the first step; None in the first.
        size: bytes of the file.
        means: what to measure on, and a latency.
    """
    if settings.lossless:
        # Zeros that meet infinities make NaNs, so these units are not without effect.
        spoilt = in_activations(analysis, settings.seed, settings.provider)
        return Choice(*lossless_plan(analysis.coupling, settings, spoilt), origin)
    ranking = ranked(analysis, settings, origin, size, means)
    curves, share = None, None
    if means.losses is not None:
        curves = means.losses.curves(analysis, ranking.scores)
        # Counted once, in the first step, and kept for the later ones.
        share = means.losses.share(analysis, ranking, settings)
    if means.aim is not None:
        return means.aim.choose(analysis, settings, ranking, curves)

    def choose(ranking: Ranking) -> Choice:
        if curves is not None:
            return choose_by_loss(analysis, settings, ranking, curves, share)
        return choose_by_scores(analysis.coupling, settings, ranking)

    return choose(ranking) if means.file is None else means.file.choose(analysis, settings, ranking, choose)
