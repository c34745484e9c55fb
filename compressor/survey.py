"""Runs that remove no channel: clean up a model, inspect it, compare two."""

from __future__ import annotations

from pathlib import Path

from compressor import account
from compressor.analysis import analyse, prepare
from compressor.channels.groups import group
from compressor.clock import Clock, Progress
from compressor.config import CleanSettings, RunSettings
from compressor.graph import clean, files
from compressor.pruning import proof
from compressor.report import DiffReport, Report


def clean_file(
    source: Path, output: Path | None, settings: CleanSettings, progress: Progress | None = None
) -> Report:
    """Removes dead nodes, identities, duplicates and constant subgraphs; proves that no output changed."""
    clock = Clock(progress)
    with clock.phase("load"):
        model, size = account.open_model(source)
    with clock.phase("analyse"):
        before = account.stats_in_memory(model, settings, size).model_copy(update={"path": str(source)})
        cleaned, shapes = prepare(model, settings)
        clean.tidy(cleaned, simplify=settings.simplify)
        proof.same_signature(model, cleaned)
    evidence = None
    if settings.verify:
        with clock.phase("prove"):
            evidence = proof.confirm(proof.expect(model, None, shapes, settings), cleaned, settings)
    with clock.phase("write"):
        if output is not None:
            own = files.model_files(source)
            files.save(cleaned, output, external_data=settings.external_data, forbidden=own)
            stats = account.read_back(output, settings)
        else:
            stats = account.stats_in_memory(cleaned, settings)
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
        before = account.stats_of(model, found, size, source)
        report = account.report(found, before, account.group_rows(groups, None), None, settings)
    return report.model_copy(
        update={"prunable_params": account.prunable_params(groups), "seconds": clock.seconds}
    )


def diff_files(a: Path, b: Path) -> DiffReport:
    """What differs between two model files: sizes, operators, initializers, signature."""
    return account.difference(a, b)
