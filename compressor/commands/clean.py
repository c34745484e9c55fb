"""Cleaning a model: dead nodes, identities, duplicates and constant subgraphs go; no output changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from compressor.config import CleanSettings
from compressor.core.clock import Clock, Progress
from compressor.core.formatting import quantity
from compressor.graph.disk.model_result import ProvedResult
from compressor.graph.disk.provenance import input_digest, stamp_provenance
from compressor.graph.form import clean
from compressor.graph.form.normalise import normalise
from compressor.graph.tensors.weights import weight_bytes
from compressor.pruning.cut.analysis import prepared_model
from compressor.pruning.proofs.graphs.interface_match import demand_same_interface
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.pruning.proofs.preparation import Original, prove_cleaned
from compressor.results import Report
from compressor.steps import counts, report_rows, run_files
from compressor.steps.provenance import pruning_facts
from compressor.steps.refusal import blamed_on

GREW = "the file has {more} more than before, as less went than it gained: {causes}"
"""What is said of a file of which less was removed than these causes took."""


@dataclass(repr=False)
class CleanResult(ProvedResult):
    """What a clean-up made of a model: the model, the report, and what was proved of the model."""

    source: ir.Model
    model: ir.Model
    report: Report
    evidence: Evidence | None = None


def clean_model(model: str | Path | ir.Model, settings: CleanSettings, clock: Clock | None = None) -> CleanResult:
    """Removes dead nodes, identities, duplicates and constant subgraphs; proves that no output changed.

    Args:
        model: a path, or a model in memory; not changed.
        settings: sizes, and how it is proved.
        clock: receives the time of each phase.

    Raises:
        CompressorError: one of :mod:`compressor.errors`, each with its exit code.
    """
    clock = clock or Clock()
    read = model if isinstance(model, ir.Model) else Path(model)
    with clock.phase("load"):
        source, size = run_files.open_source(model, settings)
    with clock.phase("analyse"):
        path = None if isinstance(model, ir.Model) else str(model)
        before = counts.stats_in_memory(source, settings, size).model_copy(update={"path": path})
        # Without coupling, which only pruning needs.
        cleaned, shapes = prepared_model(source, settings)
        clean.tidy(cleaned, simplify=settings.simplify)
        demand_same_interface(source, cleaned)
    with clock.phase("prove"):
        evidence = prove_cleaned(Original(read, source), cleaned, shapes, settings) if settings.proves else None
    report = Report(
        input=before,
        proof=report_rows.proof_row(evidence, settings),
        seconds=clock.seconds,
        settings=settings.model_dump(mode="json"),
    )
    stamp_provenance(cleaned, "clean", settings, input_digest(cleaned, model), pruning_facts(report))
    return CleanResult(source, cleaned, report, evidence)


def _added(source: ir.Model, cleaned: ir.Model) -> Iterator[str]:
    """What a cleaned model has more than its source, with the bytes where these are known."""
    said = cleaned.metadata_props.items() - source.metadata_props.items()
    words = sum(len(part.encode()) for entry in said for part in entry)
    yield f"{quantity(words, 'B')} of what it says of its origin"
    folded = weight_bytes(cleaned) - weight_bytes(normalise(source.clone()))
    if folded > 0:
        yield f"{quantity(folded, 'B')} of constants that nodes computed or shared"
    if source.functions and not cleaned.functions:
        yield "functions, whose nodes stand wherever they are called"


def clean_file(source: Path, output: Path | None, settings: CleanSettings, progress: Progress | None = None) -> Report:
    """:func:`clean_model` from file to file; sizes in the report are those of the written file."""
    clock = Clock(progress)
    result = clean_model(source, settings, clock)
    with clock.phase("write"), blamed_on(lambda: run_files.as_read(source, settings), settings):
        stats = run_files.put_in_place(result.model, output, settings, result.evidence)
    report = result.report.model_copy(update={"output": stats, "seconds": clock.seconds})
    more = stats.bytes - report.input.bytes
    if more <= 0:
        return report
    causes = ", ".join(_added(result.source, result.model))
    return report.warned([GREW.format(more=quantity(more, "B"), causes=causes)])
