"""The whole flow of a pruning run: load, analyse, choose, cut, prove, write, report.

What happens in one step (choose, train towards the choice, cut, recover, prove) is ``PruningRun.step`` in
``steps/prune/run.py``, of which there are several with ``--steps``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.core.atomic import write_text
from compressor.core.clock import Clock, Progress
from compressor.errors import PlanError, ProofFailed, RuleFault
from compressor.graph.edit import copy_of
from compressor.graph.joined import joined_of
from compressor.graph.outline import keep_functions
from compressor.graph.provenance import stamp_provenance
from compressor.metrics.evaluator import evaluator_for
from compressor.pruning.analysis import without_faulty_rules
from compressor.pruning.preparation import prove_with_functions
from compressor.pruning.refusal import refusal
from compressor.pruning.refused_samples import samples_tried
from compressor.pruning.signature import lost_defaults, same_signatures
from compressor.steps import account, run_files
from compressor.steps.gates import unresolved
from compressor.steps.provenance import pruning_facts
from compressor.steps.prune.checkpoints import checkpoint_beside
from compressor.steps.prune.defaults import size_lags_macs
from compressor.steps.prune.lowering import zeros_in_target
from compressor.steps.prune.objective import macs_lag_time
from compressor.steps.prune.recover import Recovery
from compressor.steps.prune.result import PruneResult
from compressor.steps.prune.run import PruningRun
from compressor.steps.prune.settled import Asked, settled
from compressor.steps.prune.step import means_of
from compressor.steps.prune.written_file import WrittenFile
from compressor.steps.tokens import write_mapping

NO_PLAN = "{reason}; leave --plan-out out, or prune with --steps 1 and --structure channels"
LAYERS_CHANGE = "a plan holds channels alone"


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
    # Before any work: made-up samples would be drawn first, and their failure is no error where nobody asked.
    if settings.data is None and settings.val_data is None:
        evaluator_for(settings, None, settings.max_drop)
    with clock.phase("load"):
        asked = Asked.of(model, settings, plan)
    # The whole run starts over, since a distrusted node may change every choice before the one that failed.
    try:
        with samples_tried(lambda: asked.model, settings):
            return without_faulty_rules(lambda distrusted: _prune(asked, clock, distrusted))
    except (ProofFailed, RuleFault):
        read = joined_of(asked.model) or asked.file or asked.model
        if (refused := refusal(read, asked.model, settings)) is not None:
            raise refused from None
        raise


def _prune(asked: Asked, clock: Clock, distrusted: Mapping[str, str]) -> PruneResult:
    """:func:`prune` without the rules of the nodes that are ``distrusted``."""
    # How many samples it takes at a time is noted on the model, and each try finds that out, and says so.
    asked = replace(asked, model=copy_of(asked.model))
    start = settled(asked, distrusted, clock)
    source, settings, samples = start.source, start.settings, start.samples
    recovery = Recovery(source, settings, samples, clock)
    file = WrittenFile(asked.settings, settings)
    means = means_of(source, settings, samples, clock, file)
    run = PruningRun(settings, asked.plan, distrusted, asked.size, means, recovery, clock)
    found = run.all_steps(start.found, start.read)
    # Once for all steps, on what will be written.
    sealed = run.sealed
    same_signatures(source, sealed, found.coupling.policy.free)
    kept = run.single_plan(source)
    report = recovery.added_to(run.report(found, start.before, start.notes))
    report = account.with_file_of_group(report, asked.model).warned(lost_defaults(source, sealed))
    if settings.keep_functions:
        plain = run.model.clone()
        # Against the graph before any step.
        report = report.warned(keep_functions(run.model, start.found.model, asked.model))
        if settings.proves:
            with clock.phase("prove"):
                report = account.with_not_proved(report, prove_with_functions(plain, run.model, settings))
        sealed = run.model.clone()
    stamp_provenance(run.model, "prune", asked.settings, asked.file, pruning_facts(report, kept))
    file.demand(run.model)
    return PruneResult(run.model, kept, report, run.still_proved(), start.tokens, sealed)


def prune_file(
    source: Path,
    output: Path | None,
    settings: PruneSettings,
    *,
    plan: Path | None = None,
    plan_out: Path | None = None,
    progress: Progress | None = None,
) -> PruneResult:
    """:func:`prune` from file to file; sizes in the report are those of the written file.

    Without ``output`` everything is done but writing the model. Training leaves a checkpoint beside the output,
    which is removed when the run ends well.
    """
    clock = Clock(progress)
    if plan_out is not None and settings.changes_layers:
        raise PlanError(NO_PLAN.format(reason=LAYERS_CHANGE))
    with checkpoint_beside(output, settings) as resumable:
        result = prune(source, resumable, plan=PruningPlan.load(plan) if plan else None, clock=clock)
        # Before the model is written, so that a failed run leaves no file behind.
        if plan_out is not None and result.plan is None:
            raise PlanError(
                NO_PLAN.format(reason=LAYERS_CHANGE if result.report.changed else "these steps are no single plan")
            )
        with clock.phase("write"):
            stats = run_files.put_in_place(result.model, output, settings, result.evidence, result.sealed)
            if plan_out is not None and result.plan is not None:
                write_text(plan_out, result.plan.to_json())
            if result.tokens is not None and output is not None:
                write_mapping(output, result.tokens)
    report = result.report
    # After the file is in place: curves are extra, and an error in them must not cost the result.
    if settings.robustness:
        from compressor.commands.robustness_curves import with_curves

        with clock.phase("robustness"), run_files.in_one_file(source, settings) as whole:
            report = with_curves(report, whole, result.model, settings)
    report = report.model_copy(update={"output": stats, "seconds": clock.seconds})
    result.report = report.warned(
        [*unresolved(report, settings), *size_lags_macs(report), *macs_lag_time(report), *zeros_in_target(report)]
    )
    return result
