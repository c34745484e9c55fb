"""The whole flow of a pruning run: load, analyse, choose, cut, prove, write, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.core.atomic import write_text
from compressor.core.clock import Clock, Progress
from compressor.errors import PlanError
from compressor.graph import files
from compressor.graph.provenance import stamp_provenance
from compressor.operators.table import teaching
from compressor.operators.taught import read_records
from compressor.pruning import proof
from compressor.pruning.analysis import analyse, believing
from compressor.pruning.apply import cut_of
from compressor.pruning.fresh_weights import reinitialised
from compressor.pruning.lossless import exact
from compressor.pruning.matching import demand_matches
from compressor.pruning.plan_history import Trail
from compressor.pruning.proof import Evidence
from compressor.pruning.schedule import steps_of
from compressor.results import GroupRow, Report
from compressor.results.base import Summarised
from compressor.steps import account
from compressor.steps.defaults import heavier, made_up, resized, settled
from compressor.steps.gates import unresolved
from compressor.steps.losses import Losses, follows_losses
from compressor.steps.provenance import facts_of
from compressor.steps.recover import Recovery, RunSamples, checkpoint_beside
from compressor.steps.sparsify import again, trained_towards
from compressor.steps.step import Means, chosen, explained, prepared, removed, replayed_choice, replays

if TYPE_CHECKING:
    from compressor.latency import LatencyTarget


@dataclass(repr=False)
class PruneResult(Summarised):
    """What a pruning run made: the smaller model, the plan that leads to it, and the report.

    The plan is None where several steps cannot be replayed as one. ``proved`` is what was proved of the smaller
    model as it is.
    """

    model: ir.Model
    plan: PruningPlan | None
    report: Report
    proved: Evidence | None = None

    def headline(self) -> list[tuple[str, str]]:
        """That of the report."""
        return self.report.headline()


def prune(
    model: str | Path | ir.Model,
    settings: PruneSettings,
    *,
    plan: PruningPlan | None = None,
    clock: Clock | None = None,
) -> PruneResult:
    """Removes channels from ``model`` and proves that removal equals masking.

    Args:
        model: a path, or a model in memory (not changed).
        settings: how much, which, and how it is proved.
        plan: replays this plan instead of choosing.
        clock: receives the time of each phase.

    Raises:
        CompressorError: one of :mod:`compressor.errors`, each with its exit code.
    """
    clock = clock or Clock()
    with teaching(read_records(settings.op_rules) if settings.op_rules is not None else ()):
        return believing(lambda distrusted: _prune(model, settings, plan, clock, distrusted))


def _prune(
    model: str | Path | ir.Model,
    settings: PruneSettings,
    plan: PruningPlan | None,
    clock: Clock,
    distrusted: Mapping[str, str],
) -> PruneResult:
    """:func:`prune` without the rules of the nodes that are ``distrusted``."""
    with clock.phase("load"):
        source, size = account.open_source(model)
        given = settings = exact(account.settings_of_plan(settings, plan))
        samples = RunSamples.of(settings, source) if settings.data is not None else None
    with clock.phase("analyse"):
        found = analyse(source, settings, distrusted)
        demand_matches(settings, source, found.model)
        settings, notes = settled(settings, found, available=None if samples is None else len(samples.train))
        settings = resized(settings, notes)
        before = account.stats_of(source, found, size, None if isinstance(model, ir.Model) else Path(model))
    if samples is None:
        with clock.phase("samples"):
            samples = made_up(settings, source, found, notes, asked=given.recover != "auto")
    means = _means(source, settings, samples, clock)
    recovery, trail, origin = Recovery(source, settings, samples, clock), Trail(), None
    proofs, groups, read = list[Evidence](), list[GroupRow](), source if isinstance(model, ir.Model) else Path(model)
    if settings.reinitialise == "before":
        with clock.phase("analyse"):
            read = reinitialised(found.model, settings.seed)
            found = analyse(read, settings, distrusted)
    for step in [settings] if plan is not None else steps_of(settings, size):
        if origin is not None:
            with clock.phase("analyse"):
                found, read = analyse(recovery.model, settings, distrusted), recovery.model
        with clock.phase("choose"), explained(found):
            choice = replayed_choice(plan, found) if plan is not None else chosen(found, step, origin, size, means)
        trained = trained_towards(found, choice, recovery, plan is not None)
        if trained is not None:
            found, read = analyse(trained.model, settings, distrusted), trained.model
            with clock.phase("choose"):
                choice = again(trained, found, choice) or chosen(found, step, choice.origin, size, means)
        cut = cut_of(choice.plan, found)
        missing = prepared(read, found, settings, clock)
        trail.add(choice.plan, cut, last=step.steps == 1)
        groups, origin = account.group_rows(choice.groups, cut, groups), choice.origin
        recovery.before(found.model)
        small, shown = removed(found, choice, settings, clock)
        proofs += [replace(evidence, not_proved=[*missing, *evidence.not_proved]) for evidence in shown]
        recovery.after(small, cut)
    proof.same_signature(source, recovery.model, found.coupling.policy.free)
    report = account.report(found, before, groups, proof.together(proofs), _as_done(settings, means.losses))
    report = report if means.aim is None else means.aim.added_to(report)
    notes += means.losses.warnings if means.losses is not None else []
    report = report.model_copy(update={"warnings": [*report.warnings, *dict.fromkeys(notes)]})
    whole = trail.plan()
    # A replay believes every rule at first, so a plan that needed some left alone has to be tried.
    once = (len(trail) == 1 and not distrusted) or replays(whole, source, recovery.model, settings)
    proved = proofs[-1] if proofs and settings.recover == "none" else None
    kept, report = whole if once else None, recovery.added_to(report)
    origin_file = None if isinstance(model, ir.Model) else Path(model)
    stamp_provenance(recovery.model, "prune", given, origin_file, facts_of(report, kept))
    return PruneResult(recovery.model, kept, report, proved)


def _as_done(settings: PruneSettings, losses: Losses | None) -> PruneSettings:
    """The settings with the scope that ``auto`` came to."""
    if settings.scope != "auto":
        return settings
    return settings.model_copy(update={"scope": "loss" if losses is not None and losses.used else "local"})


def _means(source: ir.Model, settings: PruneSettings, samples: RunSamples | None, clock: Clock) -> Means:
    """What the choices of a run are made with."""
    losses = None
    if samples is not None and follows_losses(settings, samples=True):
        losses = Losses(settings, samples.train, clock, telling=samples.telling)
    return Means(samples, losses, _latency_target(source, settings, clock))


def _latency_target(source: ir.Model, settings: PruneSettings, clock: Clock) -> LatencyTarget | None:
    if settings.target_latency is None:
        return None
    from compressor.latency import LatencyTarget

    return LatencyTarget(source, settings, clock)


def prune_file(
    source: Path,
    output: Path | None,
    settings: PruneSettings,
    *,
    plan: Path | None = None,
    plan_out: Path | None = None,
    progress: Progress | None = None,
) -> PruneResult:
    """:func:`prune` from file to file; sizes in the report are read back from the written file.

    Without ``output`` everything is done but writing the model. Training leaves a checkpoint beside the output,
    which is removed when the run ends well.
    """
    clock = Clock(progress)
    with checkpoint_beside(output, settings) as resumable:
        result = prune(source, resumable, plan=PruningPlan.load(plan) if plan else None, clock=clock)
        if plan_out is not None and result.plan is None:
            raise PlanError("these steps cannot be written as one plan; leave --plan-out out, or prune with --steps 1")
        with clock.phase("write"):
            if output is not None:
                files.save_model(
                    result.model,
                    output,
                    external_data=settings.external_data,
                    check=proof.file_check(result.model, result.proved, settings),
                )
                stats = account.read_back(output, settings)
            else:
                stats = account.stats_in_memory(result.model, settings)
            if plan_out is not None and result.plan is not None:
                write_text(plan_out, result.plan.to_json())
    report = result.report
    if settings.robustness:
        from compressor.commands.robustness_curves import stressed

        with clock.phase("stress"):
            curves, warnings = stressed(source, result.model, settings)
        report = report.model_copy(
            update={"curves": [*report.curves, *curves], "warnings": [*report.warnings, *warnings]}
        )
    report = report.model_copy(update={"output": stats, "seconds": clock.seconds})
    more = [*unresolved(report, settings), *heavier(report)]
    result.report = report.model_copy(update={"warnings": [*report.warnings, *more]})
    return result


def report_file(source: Path, result: PruneResult, settings: PruneSettings, path: Path) -> None:
    """Writes what a run on ``source`` did as one HTML file; raises UsageError where it cannot."""
    from compressor.evaluate.profile import detailed
    from compressor.render.html import write_html

    report = detailed(result.report, source, result.model, settings)
    plan = None if result.plan is None else result.plan.to_json()
    write_html(report, path, plan=plan, created=datetime.now().astimezone())

