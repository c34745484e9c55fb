"""The whole flow of a pruning run: load, analyse, choose, cut, recover, report, write; every change is proved.

``step`` chooses, trains towards the choice where that is asked for, cuts, proves, recovers and proves again; with
``--steps`` there are several, and ``Pruned`` is what they leave together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.core.clock import Clock, Progress
from compressor.errors import ProofFailed, RuleFault
from compressor.graph.edit import copy_of
from compressor.graph.provenance import stamp_provenance
from compressor.metrics.evaluator import demand_metric
from compressor.pruning.analysis import without_faulty_rules
from compressor.pruning.interface_match import demand_same_interfaces, lost_defaults
from compressor.pruning.refused_samples import samples_tried
from compressor.steps import account
from compressor.steps.provenance import pruning_facts
from compressor.steps.prune.checkpoints import checkpoint_beside
from compressor.steps.prune.functions import put_back
from compressor.steps.prune.judgement import Judgement
from compressor.steps.prune.pruned import begun, ended
from compressor.steps.prune.report import missed_aims, report_of
from compressor.steps.prune.result import PruneResult
from compressor.steps.prune.run import PruningRun
from compressor.steps.prune.settled import PruneRequest, settled
from compressor.steps.prune.single_plan import single_plan
from compressor.steps.prune.step import step
from compressor.steps.prune.write import demand_channels_alone, write
from compressor.steps.prune.written_file import WrittenFile
from compressor.steps.run_files import in_one_file

MARGIN = 256
"""Bytes by which a file of changed layers may come out larger when it is made again."""


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
        demand_metric(settings, None, settings.max_drop)
    with clock.phase("load"):
        request = PruneRequest.of(model, settings, plan)
    # The whole run starts over, since a distrusted node may change every choice before the one that failed.
    try:
        with samples_tried(lambda: request.model, settings):
            return without_faulty_rules(lambda distrusted: _prune(request, clock, distrusted))
    except (ProofFailed, RuleFault):
        if (refused := request.refused(settings)) is not None:
            raise refused from None
        raise


def _prune(request: PruneRequest, clock: Clock, distrusted: Mapping[str, str]) -> PruneResult:
    """:func:`prune` without the rules of the nodes that are ``distrusted``."""
    # How many samples it takes at a time is noted on the model, and each try finds that out, and says so.
    request = replace(request, model=copy_of(request.model))
    start = settled(request, distrusted, clock)
    judgement = Judgement(start.source, start.settings, start.samples, clock)
    run = PruningRun.of(request, start, distrusted, clock)
    pruned = begun(run, start)
    for settings in run.schedule():
        pruned = pruned.after(step(run, settings, pruned))
    pruned = ended(run, pruned)
    # Once for all steps, on what will be written.
    demand_same_interfaces(start.source, pruned.sealed, pruned.free)
    plan = single_plan(run, start.source, pruned)
    report = report_of(run, start, pruned, judgement.of(pruned.model, pruned.cut_once))
    report = account.with_file_of_group(report, request.model).warned(lost_defaults(start.source, pruned.sealed))
    if run.settings.keep_functions:
        functions = put_back(run, request.model, start, pruned)
        report = account.with_not_proved(report.warned(functions.notes), functions.not_proved)
        pruned = functions.pruned
    stamp_provenance(pruned.model, "prune", request.settings, request.file, pruning_facts(report, plan))
    file = WrittenFile(request.settings, run.settings)
    # What changed layers add to a graph shows only when they are written.
    again = run.settings.changes_layers and not run.settings.trains and not request.spare
    if again and (above := file.above(pruned.model)):
        return _prune(replace(request, spare=above + MARGIN), clock, distrusted)
    report = report.warned(file.demand(pruned.model))
    proved, inputs = pruned.still_proved(run.settings), start.analysis.shapes.inputs
    return PruneResult(pruned.model, plan, report, proved, start.tokens, pruned.sealed, inputs)


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
    if plan_out is not None:
        demand_channels_alone(settings)
    with checkpoint_beside(output, settings) as resumable:
        result = prune(source, resumable, plan=PruningPlan.load(plan) if plan else None, clock=clock)
        with clock.phase("write"):
            stats = write(result, output, plan_out, settings)
    # After the file is in place: curves are extra, and an error in them must not cost the result.
    if settings.robustness:
        from compressor.commands.robustness_curves import with_curves

        with clock.phase("robustness"), in_one_file(source, settings) as whole:
            result.report = with_curves(result.report, whole, result.model, settings)
    report = result.report.model_copy(update={"output": stats, "seconds": clock.seconds})
    result.report = report.warned(missed_aims(report, settings))
    return result
