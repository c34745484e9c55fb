"""How far a pruning run has come: what it begins with, what each step adds to that, and how it ends."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.config import PruneSettings
from compressor.pruning.budgets.budget import Origin
from compressor.pruning.budgets.select import Choice
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.cut.plan_history import PlanHistory
from compressor.pruning.fresh_weights import reinitialised
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.pruning.proofs.preparation import Original
from compressor.results import GroupRow
from compressor.results.detail import Curve, LatencyResult, RecoveryRow, UndoneRow
from compressor.steps.prune.recover import Recovered
from compressor.steps.prune.run import Analysed, PruningRun
from compressor.steps.prune.start import RunStart


@dataclass(frozen=True)
class StepResult:
    """What one step made.

    Attributes:
        analysis: the model that was cut.
        choice: what went from it.
        cut: the same, for every value.
        evidence: proofs of the cut and of what recovery left.
        recovered: the smaller model, and how it came about.
        rows: groups, with what they lost in earlier steps too.
        ticket: the smaller model at the weights that are rewound to; None without rewinding.
        last: no step comes after it.
        notes: what the report has to say of the choice.
        latency: that was measured for it; None where none is aimed at.
        by_losses: channels went by losses that were measured.
        curves: of all training in the step.
        warnings: what the report has to say of training and recovery.
    """

    analysis: Analysis
    choice: Choice
    cut: ChannelMask
    evidence: tuple[Evidence, ...]
    recovered: Recovered
    rows: tuple[GroupRow, ...]
    ticket: ir.Model | None
    last: bool
    notes: tuple[str, ...]
    latency: LatencyResult | None
    by_losses: bool
    curves: tuple[Curve, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Pruned:
    """A model after the steps that were taken, and what they left for the report.

    Attributes:
        analysed: before the first step the model that it chooses by; after a step the model that it cut.
        model: as the last step left it.
        sealed: a copy from when its last proof was through; later steps and files start from that.
        ticket: the model at the weights that are rewound to, cut as far as the run has come; None without rewinding.
        steps: how many were taken.
        history: what they cut.
        recovered: what the last one left; None before the first.
        origin: costs of the model before the first step; None before it.
        evidence: proofs of every step.
        rows: of the report, by group.
        layers: of the report, what was fitted.
        curves: of all training.
        undone: training that was thrown away.
        trained: training of some step was kept.
        notes: what the report has to say of the choices.
        latency: that was measured last; None where none is aimed at.
        by_losses: channels went by losses that were measured.
        warnings: what it has to say of training and recovery.
    """

    analysed: Analysed
    model: ir.Model
    sealed: ir.Model
    ticket: ir.Model | None = None
    steps: int = 0
    history: PlanHistory = field(default_factory=PlanHistory)
    recovered: Recovered | None = None
    origin: Origin | None = None
    evidence: tuple[Evidence, ...] = ()
    rows: tuple[GroupRow, ...] = ()
    layers: tuple[RecoveryRow, ...] = ()
    curves: tuple[Curve, ...] = ()
    undone: tuple[UndoneRow, ...] = ()
    trained: bool = False
    notes: tuple[str, ...] = ()
    latency: LatencyResult | None = None
    by_losses: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def free(self) -> Collection[str]:
        """Outputs whose channels may go, so that they are declared anew."""
        return self.analysed.analysis.coupling.policy.free

    @property
    def cut_once(self) -> ir.Model | None:
        """The model straight after the only cut; None after several, and where nothing was recovered."""
        return self.recovered.unrecovered if self.steps == 1 and self.recovered is not None else None

    def next_start(self, run: PruningRun) -> Analysed:
        """What the next step chooses by."""
        if not self.steps:
            return self.analysed
        # The model is another one since. Against its twin, so that an edit of either would show.
        return replace(run.analysed(self.sealed), read=Original(self.model, self.model))

    def after(self, step: StepResult) -> Pruned:
        """What there is after one more step."""
        model, origin = step.recovered.model, step.choice.origin
        history = self.history.with_cut(step.choice.plan, step.cut, last=step.last)
        return Pruned(
            analysed=Analysed(step.analysis, self.analysed.read),
            model=model,
            sealed=model.clone(),
            ticket=step.ticket,
            steps=self.steps + 1,
            history=history,
            recovered=step.recovered,
            origin=None if origin is None else replace(origin, names=origin.names.after(history.original)),
            evidence=(*self.evidence, *step.evidence),
            rows=step.rows,
            layers=(*self.layers, *step.recovered.layers),
            curves=(*self.curves, *step.curves),
            undone=(*self.undone, *step.recovered.undone),
            trained=self.trained or step.recovered.keeps_training,
            notes=(*self.notes, *step.notes),
            latency=step.latency or self.latency,
            by_losses=step.by_losses or self.by_losses,
            warnings=(*self.warnings, *step.warnings),
        )

    def still_proved(self, settings: PruneSettings) -> Evidence | None:
        """What was proved of the model as it is now: nothing, where its weights were fitted or trained since."""
        changed = self.recovered is not None and self.recovered.changed is not None
        rebuilt = settings.recover != "none" and (not changed or settings.uses_gradients)
        untouched = not rebuilt and not settings.refit_last
        return self.evidence[-1] if self.evidence and untouched else None


def begin(run: PruningRun, start: RunStart) -> Pruned:
    """A run before its first step, with the weights that channels are chosen by and those that they are cut from."""
    settings, first = run.settings, Analysed(start.analysis, start.read)
    # From here on the fresh model is what the proof starts from.
    if settings.reinitialise == "before":
        fresh = reinitialised(first.analysis.model, settings.seed)
        run.demand_only_weights(first.analysis, first.analysis.model, fresh)
        first = run.analysed(fresh)
    tickets = None if run.samples is None else run.trainer.tickets(first.analysis.model, run.samples)
    if tickets is None:
        return Pruned(first, start.source, start.source)
    kept, later = tickets.kept, tickets.chosen_by
    for trained in (kept, later):
        run.demand_only_weights(first.analysis, first.analysis.model, trained.model)
    curves, warnings = (*kept.curves, *later.curves), (*kept.warnings, *later.warnings)
    chosen_by = run.analysed(later.model)
    begun = Pruned(chosen_by, start.source, start.source, kept.model, curves=curves, warnings=warnings)
    return replace(begun, undone=(*kept.undone, *later.undone))


def finish(run: PruningRun, pruned: Pruned) -> Pruned:
    """A run after its last step: with the last layer fitted to labels where that is asked for, in place."""
    if not run.settings.refit_last or run.samples is None:
        return pruned
    from compressor.steps.prune.refit import refit_and_tell

    with run.clock.phase("refit"):
        said = refit_and_tell(pruned.model, run.samples.train)
    run.demand_only_weights(pruned.analysed.analysis, pruned.sealed, pruned.model)
    return replace(pruned, sealed=pruned.model.clone(), warnings=(*pruned.warnings, said))
