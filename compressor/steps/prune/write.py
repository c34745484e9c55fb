"""What a pruning run leaves in files: the model once it is proved as written, the plan, numbers of tokens."""

from __future__ import annotations

from pathlib import Path

from compressor.config import PruneSettings
from compressor.core.atomic import write_text
from compressor.errors import GateMissed, PlanError
from compressor.results import ModelStats
from compressor.steps import run_files
from compressor.steps.prune.result import PruneResult
from compressor.steps.tokens import write_mapping

LAYERS_CHANGE = "a plan holds channels alone; leave --plan-out out, or say --structure channels"
NO_SINGLE_PLAN = (
    "no plan was written: what these steps removed cannot be removed in one, which a plan does; for a plan prune with "
    "--steps 1"
)


def demand_channels_alone(settings: PruneSettings) -> None:
    """Raises PlanError where a plan is to be written and layers change, which no plan holds."""
    if settings.changes_layers:
        raise PlanError(LAYERS_CHANGE)


def demand_single_plan(result: PruneResult) -> None:
    """Raises GateMissed where several steps are no single plan; which shows after the last, so all else is written."""
    if result.plan is None:
        raise GateMissed(NO_SINGLE_PLAN)


def write(result: PruneResult, output: Path | None, plan_out: Path | None, settings: PruneSettings) -> ModelStats:
    """Writes all files, and counts the model; without ``output`` the model is counted alone.

    Args:
        result: of the run.
        output: where the model goes.
        plan_out: where the plan goes, if there is one, see :func:`demand_single_plan`; None: nowhere.
        settings: how the model is written and proved.

    Raises:
        CompressorError: as :func:`compressor.steps.run_files.put_in_place`.
    """
    stats = run_files.put_in_place(result.model, output, settings, result.evidence, result.sealed, inputs=result.inputs)
    if plan_out is not None and result.plan is not None:
        write_text(plan_out, result.plan.to_json())
    if result.tokens is not None and output is not None:
        write_mapping(output, result.tokens)
    return stats
