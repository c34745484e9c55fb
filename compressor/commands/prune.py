"""The whole flow of a pruning run: load, analyse, choose, cut, prove, write, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.core.atomic import write_text
from compressor.core.clock import Clock, Progress
from compressor.errors import PlanError, UsageError
from compressor.graph.model_result import ModelResult
from compressor.graph.provenance import stamp_provenance
from compressor.metrics.evaluator import evaluator_for
from compressor.operators.table import teaching
from compressor.operators.taught import read_records
from compressor.pruning import proof
from compressor.pruning.analysis import Analysis, analyse, believing
from compressor.pruning.apply import cut_of
from compressor.pruning.budget import Origin, unrounded
from compressor.pruning.fresh_weights import reinitialised
from compressor.pruning.lossless import exact
from compressor.pruning.matching import demand_matches
from compressor.pruning.plan_history import Trail
from compressor.pruning.proof import Evidence
from compressor.pruning.schedule import steps_of
from compressor.results import GroupRow, ModelStats, Report
from compressor.steps import account
from compressor.steps.checkpoints import checkpoint_beside
from compressor.steps.contradictions import demand_together
from compressor.steps.defaults import heavier, made_up, resized, resolve_defaults
from compressor.steps.gates import unresolved
from compressor.steps.losses import Losses, follows_losses
from compressor.steps.provenance import pruning_facts
from compressor.steps.recover import Recovery, RunSamples
from compressor.steps.sparsify import again, trained_towards
from compressor.steps.step import Means, chosen, chosen_changes, explained, prepared, removed, replayed_choice, replays
from compressor.steps.structure import LayerOptions, Selected, changed_rows, proved, structure_of

if TYPE_CHECKING:
    from compressor.latency import LatencyTarget


@dataclass(repr=False)
class PruneResult(ModelResult):
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
    # Said before any work: made-up samples would be drawn first, and their failure is no error where nobody asked.
    demand_together(settings)
    if plan is not None and settings.rewind is not None:
        raise UsageError("a plan already says what goes, which --rewind trains to find out; leave one of them out")
    if settings.data is None and settings.val_data is None:
        evaluator_for(settings, None, settings.max_drop)
    with teaching(read_records(settings.op_rules) if settings.op_rules is not None else ()):
        # The whole run starts over, since a distrusted node may change every choice before the one that failed.
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
        # ``given`` goes into the file as provenance: what was asked for, not what it came to.
        given = settings = exact(account.settings_of_plan(settings, plan))
        # Unreadable data is said before anything is analysed.
        samples = RunSamples.of(settings, source) if settings.data is not None else None
    with clock.phase("analyse"):
        found = analyse(source, settings, distrusted)
        demand_matches(settings, source, found.model)
        # Needs the analysed model, as it counts what a recovery would take.
        settings, notes = resolve_defaults(settings, found, available=None if samples is None else len(samples.train))
        settings = resized(settings, notes)
        before = account.stats_of(source, found, size, None if isinstance(model, ir.Model) else Path(model))
    if samples is None:
        with clock.phase("samples"):
            samples = made_up(settings, source, found, notes, asked=given.recover != "auto")
    recovery = Recovery(source, settings, samples, clock)
    run = _Run(settings, plan, distrusted, size, _means(source, settings, samples, clock), recovery, clock)
    read: Path | ir.Model = source if isinstance(model, ir.Model) else Path(model)
    # From here on the fresh model is what the proof starts from.
    if settings.reinitialise == "before":
        found, read = run.analysed(reinitialised(found.model, settings.seed))
    run.ticket = recovery.tickets(found.model)
    if run.ticket is not None:
        found, read = run.analysed(recovery.model)
    for step in [settings] if plan is not None else steps_of(settings, size):
        # Not the first step: the model is another one since, and is analysed anew.
        if run.origin is not None:
            found, read = run.analysed(recovery.model)
        found = run.step(step, found, read)
    recovery.refit()
    # Once for all steps, on what will be written.
    proof.same_signature(source, recovery.model, found.coupling.policy.free)
    report = run.report(found, before, notes)
    whole = run.trail.plan()
    # A replay believes every rule at first, so a plan that needed some left alone has to be tried.
    once = (len(run.trail) == 1 and not distrusted) or replays(whole, source, recovery.model, settings)
    # A plan holds channels alone; changed layers cannot be replayed from it.
    kept, report = whole if once and recovery.changed is None else None, recovery.added_to(report)
    origin_file = None if isinstance(model, ir.Model) else Path(model)
    stamp_provenance(recovery.model, "prune", given, origin_file, pruning_facts(report, kept))
    return PruneResult(recovery.model, kept, report, _still_holds(run.proofs, settings, recovery))


@dataclass
class _Run:
    """The steps of one run: what they are made with, and what they leave.

    Attributes:
        settings: of the run, as they were settled.
        plan: says what goes, where one is replayed.
        distrusted: node -> why its rule is not believed.
        size: bytes of the file that was given.
        means: what choices are made with.
        recovery: holds the model as the last step left it.
        clock: receives the time of each phase.
        trail: what was cut.
        proofs: evidence of every cut.
        groups: rows of the report, by group.
        origin: costs of the model before the first step; None before it.
        notes: what the report has to say of the choice.
    """

    settings: PruneSettings
    plan: PruningPlan | None
    distrusted: Mapping[str, str]
    size: int
    means: Means
    recovery: Recovery
    clock: Clock
    trail: Trail = field(default_factory=Trail)
    proofs: list[Evidence] = field(default_factory=list)
    groups: list[GroupRow] = field(default_factory=list)
    origin: Origin | None = None
    notes: list[str] = field(default_factory=list)

    def analysed(self, model: ir.Model) -> tuple[Analysis, ir.Model]:
        """The model, analysed, and the model itself."""
        with self.clock.phase("analyse"):
            return analyse(model, self.settings, self.distrusted), model

    def step(self, step: PruneSettings, found: Analysis, read: Path | ir.Model) -> Analysis:
        """Chooses, trains towards the choice where that is asked for, cuts, recovers, and proves.

        Args:
            step: settings of the step.
            found: the analysed model.
            read: where it was read from, for the proof that it was prepared rightly.

        Returns:
            The analysis that was cut: another one where training came before.
        """
        # Before anything is measured on the prepared graph, which could be wrong.
        missing = prepared(read, found, self.settings, self.clock)
        with self.clock.phase("choose"), explained(found):
            done = self._chosen(found, step)
        choice = done.choice
        trained = trained_towards(found, choice, self.recovery, self.plan is not None)
        if trained is not None:
            found, read = self.analysed(trained.model)
            missing = prepared(read, found, self.settings, self.clock)
            with self.clock.phase("choose"):
                # Units are numbered anew in the trained model, so that the choice has to be made in its terms.
                choice = again(trained, found, choice) or chosen(found, step, choice.origin, self.size, self.means)
        # Later steps have the same groups, narrower.
        if self.origin is None:
            losing = {removal.group for removal in choice.plan.removals}
            self.notes = unrounded([g for g in choice.groups if g.name in losing], self.settings)
        if self.ticket is not None:
            # What was chosen on the trained weights goes from those of the ticket.
            found, read = self.analysed(self.ticket)
            missing = prepared(read, found, self.settings, self.clock)
            choice = replace(replayed_choice(choice.plan, found), origin=choice.origin)
        cut = cut_of(choice.plan, found)
        # Before the cut, as positions are counted in what earlier steps left.
        self.trail.add(choice.plan, cut, last=step.steps == 1)
        self.groups, self.origin = account.group_rows(choice.groups, cut, self.groups), choice.origin
        # The dense side of a layer-wise repair is the model right before this cut.
        self.recovery.before(found.model)
        small, shown = removed(found, choice, self.settings, self.clock)
        self.ticket = None if self.ticket is None else small.clone()
        self.recovery.after(small, cut, done.changes)
        shown += proved(self.recovery.changed, found, self.settings, self.clock)
        self.proofs += [replace(evidence, not_proved=[*missing, *evidence.not_proved]) for evidence in shown]
        return found

    def _chosen(self, found: Analysis, step: PruneSettings) -> Selected:
        if self.plan is not None:
            return Selected(replayed_choice(self.plan, found), {})
        return chosen_changes(found, step, self.origin, self.size, self.means)

    def report(self, found: Analysis, before: ModelStats, notes: Sequence[str]) -> Report:
        """What was done, as far as it is known before the result is measured."""
        losses, aim = self.means.losses, self.means.aim
        done = account.report(found, before, self.groups, proof.together(self.proofs), _as_done(self.settings, losses))
        done = done if aim is None else aim.added_to(done)
        warnings = [*done.warnings, *dict.fromkeys([*notes, *self.notes, *self.means.notes])]
        changed = changed_rows(self.recovery.changed, found.shapes.batch)
        return done.model_copy(update={"warnings": warnings, "changed": changed})


def _still_holds(proofs: Sequence[Evidence], settings: PruneSettings, recovery: Recovery) -> Evidence | None:
    """What was proved of the model as it is now: nothing, where its weights were fitted or trained since."""
    rebuilt = settings.recover != "none" and (recovery.changed is None or settings.recover == "finetune")
    as_proved = not rebuilt and not settings.refit_last
    return proofs[-1] if proofs and as_proved else None


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
    layers = LayerOptions(settings, losses, clock) if structure_of(settings).layers else None
    return Means(samples, losses, _latency_target(source, settings, clock), layers)


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
        # Before the model is written, so that a failed run leaves no file behind.
        if plan_out is not None and result.plan is None:
            reason = "a plan holds channels alone" if result.report.changed else "these steps are no single plan"
            raise PlanError(f"{reason}; leave --plan-out out, or prune with --steps 1 and --structure channels")
        with clock.phase("write"):
            stats = account.put_in_place(result.model, output, settings, result.proved)
            if plan_out is not None and result.plan is not None:
                write_text(plan_out, result.plan.to_json())
    report = result.report
    # After the file is in place: curves are extra, and an error in them must not cost the result.
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
