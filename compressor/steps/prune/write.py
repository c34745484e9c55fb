"""What a pruning run leaves in files: the model once it is proved as written, the plan, numbers of tokens."""

from __future__ import annotations

from pathlib import Path

from compressor.config import PruneSettings
from compressor.core.atomic import write_text
from compressor.errors import PlanError
from compressor.results import ModelStats
from compressor.steps import run_files
from compressor.steps.prune.result import PruneResult
from compressor.steps.tokens import write_mapping

NO_PLAN = "{reason}; leave --plan-out out, or prune with --steps 1 and --structure channels"
LAYERS_CHANGE = "a plan holds channels alone"


def demand_channels_alone(settings: PruneSettings) -> None:
    """Raises PlanError where a plan is to be written and layers change, which no plan holds."""
    if settings.changes_layers:
        raise PlanError(NO_PLAN.format(reason=LAYERS_CHANGE))


def write(result: PruneResult, output: Path | None, plan_out: Path | None, settings: PruneSettings) -> ModelStats:
    """Writes all files, and counts the model; without ``output`` the model is counted alone.

    Args:
        result: of the run.
        output: where the model goes.
        plan_out: where the plan goes; None: nowhere.
        settings: how the model is written and proved.

    Raises:
        PlanError: there is no single plan to write.
        CompressorError: as :func:`compressor.steps.run_files.put_in_place`.
    """
    # Before the model is written, so that a failed run leaves no file behind.
    if plan_out is not None and result.plan is None:
        reason = LAYERS_CHANGE if result.report.changed else "these steps are no single plan"
        raise PlanError(NO_PLAN.format(reason=reason))
    stats = run_files.put_in_place(result.model, output, settings, result.evidence, result.sealed, inputs=result.inputs)
    if plan_out is not None and result.plan is not None:
        write_text(plan_out, result.plan.to_json())
    if result.tokens is not None and output is not None:
        write_mapping(output, result.tokens)
    return stats
