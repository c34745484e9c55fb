"""The whole flow of one run: load, analyse, choose, cut, prove, write, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from compressor import account
from compressor.analysis import Analysis, analyse
from compressor.channels.cut import Cut
from compressor.channels.groups import ChannelGroup, group
from compressor.channels.plan import PruningPlan, units_of
from compressor.config import CleanSettings, PruneSettings, RunSettings
from compressor.errors import NothingToPrune
from compressor.graph import clean, files
from compressor.ops.table import RULES
from compressor.prune import proof, surgery
from compressor.prune.lossless import lossless_plan
from compressor.prune.select import choose
from compressor.report import DiffReport, Report

Progress = Callable[[str], None]


@dataclass
class PruneResult:
    """What a pruning run made: the smaller model, the plan that led to it, and the report."""

    model: ir.Model
    plan: PruningPlan
    report: Report


@dataclass
class Clock:
    """Seconds of each phase; tells ``progress`` when one starts."""

    progress: Progress | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times what runs inside."""
        if self.progress is not None:
            self.progress(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 4)


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
        ModelError, NothingToPrune, PlanError, ProofFailed, ProviderUnavailable: see :mod:`compressor.errors`.
    """
    clock = clock or Clock()
    with clock.phase("load"):
        source, size = account.open_model(model)
    with clock.phase("analyse"):
        found = analyse(source, account.replayed(settings, plan))
    with clock.phase("choose"):
        plan, groups = _plan(found, settings, plan, size)
        cut = Cut(found.coupling, units_of(plan, found.coupling))
        cut.check()
    with clock.phase("prove"):
        expected = _expect(found, cut, settings) if settings.verify else None
    with clock.phase("cut"):
        before = account.stats_of(source, found, size)
        surgery.remove(found.model, cut, RULES)
        clean.tidy(found.model, simplify=settings.simplify)
    with clock.phase("prove"):
        proof.same_signature(source, found.model)
        evidence = proof.confirm(expected, found.model, settings) if expected is not None else None
    report = account.report(found, before, (groups, cut), evidence, settings)
    return PruneResult(found.model, plan, report)


def _plan(
    found: Analysis, settings: PruneSettings, plan: PruningPlan | None, size: int
) -> tuple[PruningPlan, list[ChannelGroup]]:
    if plan is not None:
        return plan, group(found.coupling)
    if settings.lossless:
        return lossless_plan(found.coupling, settings)
    return choose(found.coupling, settings, RULES, size)


def _expect(found: Analysis, cut: Cut, settings: PruneSettings) -> proof.Expected:
    masked, reference = surgery.mask(found.model, cut, RULES)
    return proof.expect(masked, reference, found.shapes, settings)


def prune_file(
    source: Path,
    output: Path | None,
    settings: PruneSettings,
    *,
    plan: Path | None = None,
    plan_out: Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> PruneResult:
    """:func:`prune` from file to file; sizes in the report are read back from the written file."""
    clock = Clock(progress)
    result = prune(source, settings, plan=PruningPlan.load(plan) if plan else None, clock=clock)
    if not result.plan.removals and not settings.lossless and not plan and settings.ratio != 0:
        account.nothing_chosen(result.report)
    if output is not None and not dry_run:
        with clock.phase("write"):
            files.save(
                result.model,
                output,
                external_data=settings.external_data,
                forbidden=files.model_files(source),
            )
            stats = account.read_back(output, settings)
    else:
        stats = account.stats_in_memory(result.model, settings)
    if plan_out is not None:
        account.write_text(plan_out, result.plan.to_json())
    result.report = result.report.model_copy(update={"output": stats, "seconds": clock.seconds})
    return result


def clean_file(
    source: Path, output: Path | None, settings: CleanSettings, progress: Progress | None = None
) -> Report:
    """Removes dead nodes, identities, duplicates and constant subgraphs; proves that no output changed."""
    clock = Clock(progress)
    with clock.phase("load"):
        model, size = account.open_model(source)
    with clock.phase("analyse"):
        before = account.stats_in_memory(model, settings).model_copy(
            update={"path": str(source), "bytes": size}
        )
        cleaned, shapes = account.cleaned(model, settings)
    evidence = None
    if settings.verify:
        with clock.phase("prove"):
            proof.same_signature(model, cleaned)
            evidence = proof.confirm(proof.expect(model, None, shapes, settings), cleaned, settings)
    with clock.phase("write"):
        stats = account.stats_in_memory(cleaned, settings)
        if output is not None:
            files.save(
                cleaned, output, external_data=settings.external_data, forbidden=files.model_files(source)
            )
            stats = account.read_back(output, settings)
    return Report(
        input=before,
        output=stats,
        proof=account.proof_row(evidence, settings),
        seconds=clock.seconds,
        settings=settings.model_dump(mode="json"),
    )


def inspect_file(source: Path, settings: RunSettings, progress: Progress | None = None) -> Report:
    """What could be pruned, and what could not and why; changes nothing."""
    clock = Clock(progress)
    with clock.phase("load"):
        model, size = account.open_model(source)
    with clock.phase("analyse"):
        found = analyse(model, settings)
        groups = group(found.coupling)
        report = account.report(found, account.stats_of(model, found, size), (groups, None), None, settings)
    return report.model_copy(
        update={"prunable_params": account.prunable_params(groups), "seconds": clock.seconds}
    )


def diff_files(a: Path, b: Path) -> DiffReport:
    """What differs between two model files: sizes, operators, initializers, signature."""
    return account.difference(a, b)


__all__ = [
    "Clock",
    "NothingToPrune",
    "PruneResult",
    "clean_file",
    "diff_files",
    "inspect_file",
    "prune",
    "prune_file",
]
