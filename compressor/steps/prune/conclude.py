"""What a pruning run comes to, once every step was taken: the plan, the report, calls of functions, the size held."""

from __future__ import annotations

from dataclasses import replace

from compressor.config import PruneSettings
from compressor.core.formatting import percentage
from compressor.graph.disk.provenance import stamp_provenance
from compressor.pruning.proofs.graphs.interface_match import demand_same_interfaces, lost_defaults
from compressor.results import Report
from compressor.steps import report_rows
from compressor.steps.provenance import pruning_facts
from compressor.steps.prune.functions import put_back
from compressor.steps.prune.judgement import ResultJudge
from compressor.steps.prune.pruned import Pruned
from compressor.steps.prune.report import prune_report
from compressor.steps.prune.request import PruneRequest
from compressor.steps.prune.result import PruneResult
from compressor.steps.prune.run import PruningRun
from compressor.steps.prune.single_plan import single_plan
from compressor.steps.prune.start import RunStart
from compressor.steps.prune.written_file import WrittenFile

WORSE = (
    "recovery moved outputs farther away than the cut alone, after which they were off by {was} of their norm; "
    "--recover none keeps the cut, and more samples (--data) may help"
)
UNUSABLE = "{far} after recovery: probably not usable as it is; {remedy}, or remove less"
MARGIN = 256
"""Bytes by which a file of changed layers may come out larger when it is made again."""


def conclude(
    run: PruningRun, request: PruneRequest, start: RunStart, pruned: Pruned, judge: ResultJudge
) -> PruneResult:
    """The model that is to be written, with its plan and report.

    Args:
        run: what all steps were done with.
        request: what was given.
        start: what the first step started from.
        pruned: what the steps left.
        judge: holds that against the original.

    Raises:
        ProofFailed: inputs or outputs are others, or functions that were put back give something else.
    """
    # Once for all steps, on what will be written.
    demand_same_interfaces(start.source, pruned.sealed, pruned.free)
    plan = single_plan(run, start.source, pruned)
    report = prune_report(run, request.settings, start, pruned, judge.of(pruned.model, pruned.cut_once))
    report = report_rows.with_file_of_group(report, request.model).warned(lost_defaults(start.source, pruned.sealed))
    report = report.warned(far_off(report, request.settings))
    if run.settings.keep_functions:
        functions = put_back(run, request.model, start, pruned)
        report = report_rows.with_not_proved(report.warned(functions.notes), functions.not_proved)
        pruned = functions.pruned
    stamp_provenance(pruned.model, "prune", request.settings, request.digest(), pruning_facts(report, plan))
    proved, inputs = pruned.still_proved(run.settings), start.analysis.shapes.cost_inputs
    return PruneResult(pruned.model, plan, report, proved, start.tokens, pruned.sealed, inputs)


def far_off(report: Report, asked: PruneSettings) -> list[str]:
    """Warnings on outputs that recovery moved away, or left so far from the original's that little is left."""
    found, said = report.outputs, []
    # Of accuracy the numbers tell; training towards labels may well move outputs away.
    if found is None or report.accuracy:
        return []
    if found.worse:
        said.append(WORSE.format(was=percentage(found.distance.cut or 0.0)))
    # Who asks for the cut alone knows that it is no end.
    if found.ruined and asked.recover != "none":
        far = found.far_in_words()
        remedy = "give --data" if asked.data is None else "train longer (--recover finetune, more --epochs)"
        said.append(UNUSABLE.format(far=far, remedy=remedy))
    return said


def bytes_to_spare(run: PruningRun, request: PruneRequest, result: PruneResult) -> int:
    """Bytes that another try has to keep free of a target; 0 where the file fits, or would not be made again."""
    # What changed layers add to a graph shows only when they are written.
    if not run.settings.changes_layers or run.settings.trains or request.spare:
        return 0
    above = WrittenFile(request.settings, run.settings).above(result.model)
    return above + MARGIN if above else 0


def held_to_size(run: PruningRun, request: PruneRequest, result: PruneResult) -> PruneResult:
    """The result, with what is to be said of a target of bytes.

    Raises:
        TargetOutOfReach: the file would be larger.
    """
    said = WrittenFile(request.settings, run.settings).demand(result.model)
    return replace(result, report=result.report.warned(said))
