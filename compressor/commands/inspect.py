"""Inspecting a model: what could be pruned, what could not, and why."""

from __future__ import annotations

from pathlib import Path

from compressor.channels.groups import group
from compressor.config import PruneSettings, RunSettings
from compressor.core.clock import Clock, Progress
from compressor.graph.disk.provenance import provenance_steps
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.matching import demand_matches
from compressor.results import Report
from compressor.steps import counts, report_rows, run_files
from compressor.steps.opaque import opaque_rows


def inspect_file(
    source: Path, settings: RunSettings, progress: Progress | None = None, structures: float | None = None
) -> Report:
    """What could be pruned, and what could not and why; changes nothing.

    Args:
        source: a model file.
        settings: what decides which channels may go.
        progress: is told the phases.
        structures: a ratio, at which it is listed what each structure could save in each layer.
    """
    clock = Clock(progress)
    with clock.phase("load"):
        model, size = run_files.open_source(source, settings)
    with clock.phase("analyse"):
        analysis = analyse(model, settings)
        if isinstance(settings, PruneSettings):
            demand_matches(settings, model, analysis)
        groups = group(analysis.coupling)
        before = counts.stats_of(model, analysis, size, source)
        report = report_rows.report(analysis, before, report_rows.group_rows(groups, None), None, settings)
    savings = []
    if structures is not None and isinstance(settings, PruneSettings):
        from compressor.steps.savings import saving_rows

        with clock.phase("structures"):
            savings = list(saving_rows(analysis, settings, structures))
    more = {
        "savings": savings,
        "opaque": opaque_rows(analysis, report.frozen),
        "prunable_params": counts.prunable_params(analysis, groups, before.params),
        "provenance": provenance_steps(model),
    }
    return report.model_copy(update={**more, "seconds": clock.seconds})
