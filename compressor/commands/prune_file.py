"""A pruning run from file to file: with its checkpoint beside the output, curves of noise, and sizes read back."""

from __future__ import annotations

from pathlib import Path

from compressor.channels.plan import PruningPlan
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.core.clock import Clock, Progress
from compressor.steps.gates import judged
from compressor.steps.prune.checkpoints import checkpoint_beside
from compressor.steps.prune.report import missed_aims
from compressor.steps.prune.result import PruneResult
from compressor.steps.prune.write import demand_channels_alone, write
from compressor.steps.refusal import blamed_on
from compressor.steps.run_files import as_read


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
        with clock.phase("write"), blamed_on(lambda: as_read(source, settings, settings.also), settings):
            stats = write(result, output, plan_out, settings)
    if settings.robustness:
        from compressor.commands.robustness_curves import with_curves

        result = with_curves(result, source, settings, clock)
    report = judged(result.report.model_copy(update={"output": stats, "seconds": clock.seconds}), settings)
    result.report = report.warned(missed_aims(report, settings))
    return result
