"""Cleaning a model: dead nodes, identities, duplicates and constant subgraphs go; no output changes."""

from __future__ import annotations

from pathlib import Path

from compressor.config import CleanSettings
from compressor.core.clock import Clock, Progress
from compressor.graph import clean, files
from compressor.pruning import proof
from compressor.pruning.analysis import prepared_model
from compressor.results import Report
from compressor.steps import account


def clean_file(
    source: Path, output: Path | None, settings: CleanSettings, progress: Progress | None = None
) -> Report:
    """Removes dead nodes, identities, duplicates and constant subgraphs; proves that no output changed."""
    clock = Clock(progress)
    with clock.phase("load"):
        model, size = account.open_source(source)
    with clock.phase("analyse"):
        before = account.stats_in_memory(model, settings, size).model_copy(update={"path": str(source)})
        cleaned, shapes = prepared_model(model, settings)
        clean.tidy(cleaned, simplify=settings.simplify)
        proof.same_signature(model, cleaned)
    with clock.phase("prove"):
        evidence = proof.prove_cleaned(source, cleaned, shapes, settings) if settings.proves else None
    with clock.phase("write"):
        if output is not None:
            files.save_model(
                cleaned,
                output,
                external_data=settings.external_data,
                check=proof.file_check(cleaned, evidence, settings),
            )
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
