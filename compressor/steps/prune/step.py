"""One step of a pruning run: choose, train towards the choice where that is asked for, cut, prove, recover, prove."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.errors import NothingToPrune
from compressor.pruning.budgets.budget import unrounded
from compressor.pruning.budgets.select import Choice, policy_of
from compressor.pruning.cut.analysis import Analysis
from compressor.pruning.cut.apply import CutModel, cut_of
from compressor.pruning.proofs.outputs.evidence import Evidence, NotProved
from compressor.results.detail import Curve
from compressor.steps import report_rows
from compressor.steps.prune.choose import chosen, chosen_changes, demand_met, reasons_given, replayed_choice
from compressor.steps.prune.layer_options import Selected
from compressor.steps.prune.prove_cut import cut_and_prove, prove_prepared
from compressor.steps.prune.prove_recovered import prove_recovered
from compressor.steps.prune.pruned import Pruned, StepResult
from compressor.steps.prune.run import Analysed, PruningRun
from compressor.steps.prune.sparsify import choice_after, train_towards
from compressor.steps.prune.trainer import TrainedTowards


@dataclass(frozen=True)
class _Prepared:
    """An analysed model of which it is proved that preparing it changed no output, but for ``not_proved``."""

    analysis: Analysis
    not_proved: list[NotProved]


@dataclass(frozen=True)
class _Target:
    """What a step takes from the ``prepared`` model; with what the report has to say of it and of training for it."""

    prepared: _Prepared
    selected: Selected
    notes: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    warnings: tuple[str, ...] = ()


def step(run: PruningRun, settings: PruneSettings, pruned: Pruned) -> StepResult:
    """Takes a step.

    Args:
        run: what it is done with.
        settings: of the step.
        pruned: how far the run has come.

    Raises:
        CompressorError: nothing can go, a proof fails, or recovery does.
    """
    # Before anything is measured on the prepared graph, which could be wrong.
    prepared = _prepared(run, pruned.next_start(run))
    selected = _selected(run, settings, prepared.analysis, pruned)
    target = _target(run, settings, _Target(prepared, selected, selected.notes), pruned)
    return _cut_and_recover(run, target, pruned, last=settings.steps == 1)


def _target(run: PruningRun, settings: PruneSettings, target: _Target, pruned: Pruned) -> _Target:
    """The same after training towards it, in the weights that it is cut from: the trained ones, or the ticket's."""
    trained = train_towards(run, target.prepared.analysis, target.selected.choice, pruned.steps)
    if trained is not None:
        target = _in_trained(run, settings, target, trained)
    # Once: later steps have the same groups, narrower.
    if not pruned.steps:
        target = replace(target, notes=(*_unrounded(run, target.selected.choice), *target.notes))
    return target if pruned.ticket is None else _in_ticket(run, target, pruned.ticket)


def _cut_and_recover(run: PruningRun, target: _Target, pruned: Pruned, *, last: bool) -> StepResult:
    """Cuts what was decided on, recovers, and proves both."""
    analysis, selected = target.prepared.analysis, target.selected
    choice = selected.choice
    cut = cut_of(choice.plan, analysis)
    small = cut_and_prove(analysis, choice, cut, run.settings, run.clock)
    # Recovery edits the other one; a clone shares its weights. Layers are fitted to what stood right before this cut,
    # and not to the original.
    bare, ticket = small.model.clone(), None if pruned.ticket is None else small.model.clone()
    recovered = run.recovery.recover(CutModel(analysis.model, small.model, cut), selected.changes, pruned.steps + 1)
    evidence = [*small.evidence, *prove_recovered(run, analysis, replace(small, model=bare), recovered)]
    rows = report_rows.with_scores(report_rows.group_rows(choice.groups, cut, pruned.rows), choice.scored, cut)
    return StepResult(
        analysis=analysis,
        choice=choice,
        cut=cut,
        evidence=_with_missing(evidence, target.prepared.not_proved),
        recovered=recovered,
        rows=tuple(rows),
        ticket=ticket,
        last=last,
        notes=target.notes,
        latency=selected.latency,
        by_losses=selected.by_losses,
        curves=(*target.curves, *recovered.curves),
        warnings=(*target.warnings, *recovered.warnings),
    )


def _prepared(run: PruningRun, analysed: Analysed) -> _Prepared:
    missing = prove_prepared(analysed.read, analysed.analysis, run.settings, run.clock)
    return _Prepared(analysed.analysis, missing)


def _selected(run: PruningRun, settings: PruneSettings, analysis: Analysis, pruned: Pruned) -> Selected:
    """What the step does: what a plan says, or what is chosen."""
    with run.clock.phase("choose"), reasons_given(analysis):
        if run.plan is not None:
            return Selected(replayed_choice(run.plan, analysis))
        try:
            return chosen_changes(analysis, settings, pruned.origin, run.size, run.means)
        except NothingToPrune:
            if not pruned.steps:
                raise
            # What earlier steps took stands, and is all that may go.
            if pruned.origin is not None:
                demand_met(analysis, pruned.origin, run.means)
            return Selected(Choice(PruningPlan((), policy_of(settings)), [], pruned.origin))


def _in_trained(run: PruningRun, settings: PruneSettings, target: _Target, trained: TrainedTowards) -> _Target:
    """The same in the model that was trained towards it, or what its weights decide instead."""
    analysis = target.prepared.analysis
    run.demand_only_weights(analysis, analysis.model, trained.model)
    prepared = _prepared(run, run.analysed(trained.model))
    with run.clock.phase("choose"):
        # Units are numbered anew in the trained model, so that the choice has to be made in its terms.
        before, same = target.selected, choice_after(trained, prepared.analysis, target.selected.choice)
        if same is not None:
            selected = replace(before, choice=same)
        else:
            selected = chosen(prepared.analysis, settings, before.choice.origin, run.size, run.means)
            selected = replace(selected, changes=before.changes)
    notes = dict.fromkeys([*target.notes, *selected.notes])
    return _Target(prepared, selected, tuple(notes), tuple(trained.curves), tuple(trained.warnings))


def _in_ticket(run: PruningRun, target: _Target, ticket: ir.Model) -> _Target:
    """What was chosen on trained weights, as it goes from those of the ticket."""
    prepared = _prepared(run, run.analysed(ticket))
    chosen_before = target.selected.choice
    choice = replace(replayed_choice(chosen_before.plan, prepared.analysis), origin=chosen_before.origin)
    return replace(target, prepared=prepared, selected=replace(target.selected, choice=choice))


def _unrounded(run: PruningRun, choice: Choice) -> tuple[str, ...]:
    """A note of groups that lose channels and end on a width that was not asked for."""
    losing = {removal.group for removal in choice.plan.removals}
    return tuple(unrounded([group for group in choice.groups if group.name in losing], run.settings))


def _with_missing(evidence: list[Evidence], missing: list[NotProved]) -> tuple[Evidence, ...]:
    return tuple(replace(proof, not_proved=[*missing, *proof.not_proved]) for proof in evidence)
