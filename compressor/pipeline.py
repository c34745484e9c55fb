"""The whole flow of a pruning run: load, analyse, choose, cut, prove, write, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from compressor import account
from compressor.analysis import Analysis, analyse
from compressor.atomic import write_text
from compressor.channels.cut import Cut
from compressor.channels.groups import ChannelGroup, group
from compressor.channels.plan import PruningPlan, units_of
from compressor.clock import Clock, Progress
from compressor.config import PruneSettings
from compressor.graph import clean, files
from compressor.ops.table import RULES
from compressor.pruning import proof, surgery
from compressor.pruning.lossless import exact, lossless_plan
from compressor.pruning.select import choose
from compressor.report import Report
from compressor.survey import clean_file, diff_files, inspect_file


@dataclass
class PruneResult:
    """What a pruning run made: the smaller model, the plan that led to it, and the report."""

    model: ir.Model
    plan: PruningPlan
    report: Report


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
    with clock.phase("load"):
        source, size = account.open_model(model)
    with clock.phase("analyse"):
        settings = exact(account.replayed(settings, plan))
        found = analyse(source, settings)
        before = account.stats_of(source, found, size, None if isinstance(model, ir.Model) else Path(model))
    with clock.phase("choose"):
        plan, groups = _choose(found, settings, plan, size)
        cut = Cut(found.coupling, units_of(plan, found.coupling))
        cut.check()
    with clock.phase("prove"):
        expected = _expect(found, cut, settings) if settings.verify else None
    with clock.phase("cut"):
        surgery.remove(found.model, cut, RULES)
        clean.tidy(found.model, simplify=settings.simplify)
        proof.same_signature(source, found.model)
    with clock.phase("prove"):
        evidence = proof.confirm(expected, found.model, settings) if expected is not None else None
    report = account.report(found, before, (groups, cut), evidence, settings)
    return PruneResult(found.model, plan, report)


def _choose(
    found: Analysis, settings: PruneSettings, plan: PruningPlan | None, size: int
) -> tuple[PruningPlan, list[ChannelGroup]]:
    if plan is not None:
        return plan, group(found.coupling)
    if settings.lossless:
        return lossless_plan(found.coupling, settings, RULES)
    return choose(found.coupling, settings, RULES, size)


def _expect(found: Analysis, cut: Cut, settings: PruneSettings) -> proof.Expected:
    """Runs the masked original; where nothing that counts may go, the original itself."""
    if settings.lossless:
        return proof.expect(found.model, None, found.shapes, settings)
    expected = proof.expect(*surgery.mask(found.model, cut, RULES), found.shapes, settings)
    if proof.finite(expected):
        return expected
    return proof.expect(*surgery.mask(found.model, cut, RULES, thorough=True), found.shapes, settings)


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

    Without ``output`` everything is done but writing the model.
    """
    clock = Clock(progress)
    result = prune(source, settings, plan=PruningPlan.load(plan) if plan else None, clock=clock)
    with clock.phase("write"):
        if output is not None:
            own = files.model_files(source)
            files.save(result.model, output, external_data=settings.external_data, forbidden=own)
            stats = account.read_back(output, settings)
        else:
            stats = account.stats_in_memory(result.model, settings)
        if plan_out is not None:
            write_text(plan_out, result.plan.to_json())
    result.report = result.report.model_copy(update={"output": stats, "seconds": clock.seconds})
    return result


__all__ = ["PruneResult", "clean_file", "diff_files", "inspect_file", "prune", "prune_file"]
