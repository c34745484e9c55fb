"""One step of pruning: what to remove, removing it, and the proof; and whether several steps are one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.groups import group
from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.core.clock import Clock
from compressor.core.scratch import scratch
from compressor.errors import NothingToPrune, PlanError, ProofFailed, RuleFault
from compressor.pruning import canary, proof, surgery
from compressor.pruning.analysis import Analysis, analyse, audit
from compressor.pruning.apply import apply_cut, cut_of
from compressor.pruning.budget import Origin
from compressor.pruning.by_loss import choose_by_loss
from compressor.pruning.evidence import Evidence, NotProved, demand_proof, with_comparisons
from compressor.pruning.exact import demand_exact
from compressor.pruning.lossless import lossless_plan
from compressor.pruning.nonfinite import in_activations
from compressor.pruning.piecewise import runnable
from compressor.pruning.preparation import Original, prove_preparation
from compressor.pruning.proof import MaskedReference
from compressor.pruning.routes import prove_routes
from compressor.pruning.second_size import at_second_size
from compressor.pruning.select import Choice, Ranking, by_weights, choose_by_scores, ranking_of
from compressor.pruning.signature import demand_declared
from compressor.pruning.standard import all_finite
from compressor.runtime.stored import Runnable
from compressor.steps import account
from compressor.steps.prune.losses import Losses, follows_losses, scored
from compressor.steps.prune.structure import LayerOptions, Selected, structure_of
from compressor.steps.prune.written_file import WrittenFile
from compressor.steps.run_samples import RunSamples
from compressor.steps.score import measure_depth, measure_for_criterion

if TYPE_CHECKING:
    from compressor.latency import LatencyTarget


def replayed_choice(plan: PruningPlan, found: Analysis) -> Choice:
    """What a plan removes, as the choice of groups and units that a ranking would have made."""
    return Choice(plan, group(found.coupling), None)


@contextmanager
def reasons_given(found: Analysis) -> Iterator[None]:
    """Gives the reasons along where nothing can be pruned."""
    try:
        yield
    except NothingToPrune as nothing:
        nothing.frozen = tuple(account.frozen_rows(found))
        raise


def replays(plan: PruningPlan, source: ir.Model, small: ir.Model, settings: PruneSettings) -> bool:
    """Does the plan of several steps lead from the original to weights of the same shapes in one?

    Not where a step could only remove what an earlier one had set free.
    """
    # Without distrusted rules, since a replay by a user begins without them too.
    found = analyse(source, settings)
    coupling = found.coupling
    try:
        cut = cut_of(plan, found)
        left = {name: cut.after(value) for name, value in coupling.graph.initializers.items()}
        apply_cut(found, cut)
    # A plan that cannot be applied in one is no reason to fail the run; there is merely no plan to write.
    except (PlanError, RuleFault):
        return False
    made = {name: tuple(value.shape) for name, value in small.graph.initializers.items() if value.shape is not None}
    return all(left.get(name) == shape for name, shape in made.items() if name in left)


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
        found = list(self.losses.warnings) if self.losses is not None else []
        if self.layers is not None:
            found += [*account.left_alone(self.layers.refused, "--structure"), *self.layers.notes]
        return found


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


def ranked(found: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means) -> Ranking:
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
    measured = measure_for_criterion(found, by, data)
    measure_depth(found, by, data)
    ranking = ranking_of(found.coupling, by, size, origin, measured)
    if means.file is None or settings.target_size is None:
        return ranking
    return replace(ranking, origin=replace(ranking.origin, rest=means.file.rest(found)))


def chosen_changes(
    found: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means
) -> Selected:
    """What a step does: channels that go, and layers that become something cheaper; arguments as of :func:`chosen`."""
    if means.layers is None:
        return Selected(chosen(found, settings, origin, size, means), {})
    curves, channels = None, structure_of(settings).channels
    try:
        ranking = ranked(found, settings, origin, size, means)
    # Layers may still change where no channel can go.
    except NothingToPrune:
        if channels:
            raise
        ranking = None
    if channels and ranking is not None and means.losses is not None:
        # The layers' own options are measured next, on the same samples.
        also = [layer.view for layer in means.layers.candidates(found)]
        curves = means.losses.curves(found, ranking.scores, also=also)
    return means.layers.selected(found, ranking, curves, size)


def chosen(found: Analysis, settings: PruneSettings, origin: Origin | None, size: int, means: Means) -> Choice:
    """What a step removes: what cannot matter, what a latency needs, or what a ratio or another target asks for.

    Args:
        found: the model as it is before the step.
        settings: of the step.
        origin: costs of the model before the first step; None in the first.
        size: bytes of the file.
        means: what to measure on, and a latency.
    """
    if settings.lossless:
        # Zeros that meet infinities make NaNs, so these units are not without effect.
        spoilt = in_activations(found, settings.seed, settings.provider)
        return Choice(*lossless_plan(found.coupling, settings, spoilt), origin)
    ranking = ranked(found, settings, origin, size, means)
    curves, share = None, None
    if means.losses is not None:
        curves = means.losses.curves(found, ranking.scores)
        # Counted once, in the first step, and kept for the later ones.
        share = means.losses.share(found, ranking, settings)
    if means.aim is not None:
        return means.aim.choose(found, settings, ranking, curves)

    def choose(ranking: Ranking) -> Choice:
        if curves is not None:
            return choose_by_loss(found, settings, ranking, curves, share)
        return choose_by_scores(found.coupling, settings, ranking)

    return choose(ranking) if means.file is None else means.file.choose(found, settings, ranking, choose)


def prove_prepared(source: Original, found: Analysis, settings: PruneSettings, clock: Clock) -> list[NotProved]:
    """Proves that preparing the model changed no output; what of that could not be proved."""
    if settings.verify != "full":
        return []
    with clock.phase("prove"):
        numbers = not settings.lossless  # which says so itself, and that there is nothing to prune
        return prove_preparation(source, found.model, found.shapes, settings, numbers=numbers)


def cut_and_prove(
    found: Analysis, choice: Choice, cut: ChannelMask, settings: PruneSettings, clock: Clock
) -> tuple[ir.Model, list[Evidence]]:
    """The model without what was chosen, and the proof that removal equals masking.

    Args:
        found: what is cut.
        choice: what goes.
        cut: the same, for every value.
        settings: how it is proved.
        clock: receives the time of each phase.

    Raises:
        ProofFailed: it does not.
        RuleFault: a rule is to blame; see :func:`compressor.pruning.analysis.without_faulty_rules`.
    """
    # Layers change and no channel goes, so there is no cut to prove; the layers are proved later.
    if not choice.plan.removals and structure_of(settings).layers:
        return found.model.clone(), []
    if not settings.proves:
        with clock.phase("cut"):
            small = apply_cut(found, cut)
            # Without a proof this is what is left to notice a rule that does not fit.
            audit(found, small, settings)
            return small, []
    with scratch() as place:
        case = _Case(found, choice, cut, settings, place)
        with clock.phase("prove"):
            # The reference is written before anything is cut; arrays that it shares with the cut model are read-only.
            masked = case.masked()
        with clock.phase("cut"):
            small = apply_cut(found, cut)
        with clock.phase("prove"):
            try:
                return small, [case.prove(masked, small)]
            # Where a rule no longer fits the smaller graph, audit names its node, and the run starts over without that
            # rule.
            except ProofFailed:
                audit(found, small, settings)
                raise


@dataclass(frozen=True)
class _Case:
    """A step that is proved; fields as the arguments of :func:`cut_and_prove`, and where files are put."""

    found: Analysis
    choice: Choice
    cut: ChannelMask
    settings: PruneSettings
    folder: Path

    def masked(self, *, thorough: bool = False) -> MaskedReference:
        """The graph in which what goes does not count; where nothing that counts may go, the prepared one."""
        if self.settings.lossless:
            model, masks = self.found.model.clone(), None
        else:
            model, masks = surgery.mask(self.found.model, self.cut, thorough=thorough)
        return MaskedReference(model, self._stored(model), masks)

    def prove(self, masked: MaskedReference, small: ir.Model) -> Evidence:
        """Compares; where the reference is no number, as zero times infinity is none, with one that masks more."""
        found = self._stored(small)
        evidence, asked = proof.prove(masked, found, self.found.shapes, self.settings)
        # A kernel of zeros does not silence a channel of infinities; then values are masked as well.
        if not all_finite(asked.runs) and masked.masks is not None:
            masked = self.masked(thorough=True)
            evidence, asked = proof.prove(masked, found, self.found.shapes, self.settings)
        demand_proof(evidence)
        if evidence.runs is not None:
            demand_declared(small, evidence.runs, self.found.coupling.policy.free)
        routed = prove_routes(
            (masked.model, small),
            asked.runs.feeds,
            proof.tolerance_of(self.settings),
            self.folder,
            self.settings.provider,
        )
        evidence = with_comparisons(evidence, routed.shown)
        # The reference ran at one size: its masks may fit no other, while the file takes it.
        if masked.masks is not None and any(item.reason in proof.ONE_SIZE_ALONE for item in evidence.not_proved):
            evidence = self._at_second_size(evidence, found)
        evidence.not_proved += [*evidence.silent, *routed.missing]
        if self.settings.verify == "full":
            demand_exact(self.cut, small)
            case = canary.Case(
                cut=self.cut,
                small=small,
                reference=masked.model,
                asked=asked,
                folder=self.folder,
                provider=self.settings.provider,
                routes=routed.standards,
                masked=masked.masks is not None,
            )
            evidence.take(case.try_wrong_cuts(self.choice.groups))
        return evidence

    def _at_second_size(self, evidence: Evidence, small: Runnable) -> Evidence:
        """The evidence with a comparison at the second size, where a reference of that size can be made."""
        more = at_second_size(self.found, self.choice.plan, small, self.settings, self.folder)
        if more is None:
            return evidence
        both = with_comparisons(evidence, [more])
        sizes = [item for item in evidence.not_proved if item.reason not in proof.ONE_SIZE_ALONE]
        return replace(both, inputs=[*evidence.inputs, *more.inputs], not_proved=sizes)

    def _stored(self, model: ir.Model) -> Runnable:
        return runnable(model, self.folder, self.settings.provider)
