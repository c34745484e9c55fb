"""The flow of a unification run: load, analyse, project, train if there is data, pack, prove, write, report."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from compressor.commands import bench
from compressor.config import UnifySettings
from compressor.core.checkpoint_folder import checkpoint_folder, folder_beside
from compressor.core.clock import Clock, Progress
from compressor.core.formatting import portion
from compressor.core.threads import blas_threads_for
from compressor.evaluate.stand_in import tell_preparation
from compressor.graph.disk import files
from compressor.graph.disk.model_result import ProvedResult
from compressor.graph.disk.provenance import input_digest, stamp_provenance
from compressor.graph.tensors.weights import weight_shapes
from compressor.metrics.evaluator import evaluator_for, labels_unread
from compressor.pruning.proofs.graphs.interface_match import demand_same_interface, demand_teachable
from compressor.pruning.proofs.outputs.evidence import Evidence
from compressor.results.records import CHOSEN_ON_JUDGED
from compressor.results.unify import UnifyReport
from compressor.steps import run_files
from compressor.steps.provenance import unified_facts
from compressor.steps.refusal import blamed_on
from compressor.steps.refused_samples import samples_tried
from compressor.steps.unify import (
    accuracy_row,
    get_ready,
    packed,
    prove_unified,
    put_unified,
    trained,
    unify_report,
    weighed,
)
from compressor.unification.project import adopt, project
from compressor.unification.train import SetTraining, UnifySamples, remove_checkpoints
from compressor.unification.unified import with_unified

RUINED = 0.5
"""Change of an output, as a share of its norm, from which on a network hardly does what it did."""
RUINOUS = (
    "outputs change by {share} their norm on random inputs, so that the network hardly does what it did; "
    "{remedy}, or ask for less"
)


@dataclass(repr=False)
class UnifyResult(ProvedResult):
    """What a unification run made: the model to be written, the same with plain tensors, and the report.

    ``evidence`` is what was proved of the model.
    """

    model: ir.Model
    dense: ir.Model
    report: UnifyReport
    evidence: Evidence | None = None


def unify(model: str | Path | ir.Model, settings: UnifySettings, *, clock: Clock | None = None) -> UnifyResult:
    """Makes blocks of weights share one absolute value, in one shot or by training, and packs them.

    Args:
        model: a path, or a model in memory (not changed).
        settings: which blocks, how many, and how they are stored.
        clock: receives the time of each phase.

    Raises:
        CompressorError: one of :mod:`compressor.errors`, each with its exit code.
    """
    with samples_tried(lambda: run_files.open_source(model, settings)[0], settings):
        return _unify(model, settings, clock or Clock())


def _unify(model: str | Path | ir.Model, settings: UnifySettings, clock: Clock) -> UnifyResult:
    path = None if isinstance(model, ir.Model) else Path(model)
    with clock.phase("load"):
        source, size = run_files.open_source(model, settings)
        if settings.teacher is not None:
            titles = (path or "the model", settings.teacher)
            demand_teachable(source, files.load_model(settings.teacher), (str(titles[0]), str(titles[1])))
        samples = UnifySamples.of(settings, source)
        if samples is not None:
            tell_preparation(samples.train, clock)
        data = UnifySamples.judging(settings, source) if samples is None else samples.valid
        # Before any work, so that a metric that does not fit the data is refused at once.
        evaluator = evaluator_for(settings, data)
    with clock.phase("analyse"):
        ready = get_ready(source, settings, size, path)
    with blas_threads_for(weight_shapes(source)):
        if settings.curvature != "none" and samples is not None:
            with clock.phase("curvature"):
                ready = weighed(ready, samples.train, settings)
        with clock.phase("project"):
            # Also where training follows, as the report compares with it.
            once = [project(layer, settings) for layer in ready.weights.layers]
    training = SetTraining(ready.model)
    if samples is not None and settings.trains:
        with clock.phase("train"):
            training = trained(ready, samples, settings, clock)
    unified = [adopt(item, training, settings) for item in once] if training.kinds else once
    with clock.phase("pack"):
        result = packed(training.model, unified, settings)
    demand_same_interface(ready.model, result.model)
    proved = None
    if settings.proves:
        with clock.phase("prove"):
            proved = prove_unified(ready, result, settings)
    report = unify_report(ready, training, result, proved, settings)
    if evaluator is None and (error := report.output_error or 0.0) > RUINED:
        written, link = portion(error)
        remedy = "train with --data" if settings.data is None else "train for longer or on more samples"
        report = report.warned([RUINOUS.format(share=f"{written(error)} {link}", remedy=remedy)])
    if evaluator is not None:
        with clock.phase("judge"):
            first = with_unified(ready.model, once) if training.kinds else None
            accuracy = accuracy_row(evaluator, ready.reference, first, result.model, data)
        report = report.model_copy(update={"accuracy": accuracy})
        report = report.warned(evaluator.baseless(accuracy.before, accuracy.samples, data))
        report = report.warned([CHOSEN_ON_JUDGED] if training.chosen else [])
    # Training may have said it of the same labels.
    unread = [text for text in labels_unread(data, evaluator) if text not in report.warnings]
    report = report.model_copy(update={"seconds": clock.seconds}).warned(unread)
    stamp_provenance(result.model, "unify", settings, input_digest(result.model, path), unified_facts(report))
    return UnifyResult(result.model, result.dense, report, None if proved is None else proved.evidence)


def unify_file(
    source: Path, output: Path | None, settings: UnifySettings, progress: Progress | None = None
) -> UnifyReport:
    """:func:`unify` from file to file; sizes in the report are those of the written file, which is read back.

    Without ``output`` everything is done but writing the model.
    """
    clock = Clock(progress)
    folder = folder_beside(settings.checkpoint, output if settings.trains else None)
    with checkpoint_folder(folder, resume=settings.resume):
        result = unify(source, settings.model_copy(update={"checkpoint": folder}), clock=clock)
    with clock.phase("write"), blamed_on(lambda: run_files.as_read(source, settings), settings):
        stats = put_unified(result.model, output, settings, result.evidence, result.report.input)
        more: dict[str, object] = {"output": stats}
        if output is not None:
            more["gzip_bytes"] = _gzip_bytes(files.model_files(output))
    if settings.latency and output is not None:
        with clock.phase("time"):
            more["latency"] = bench.timed_beside(source, output, settings)
    if folder is not None and not settings.keep_checkpoint:
        remove_checkpoints(folder)
    return result.report.model_copy(update={**more, "seconds": clock.seconds})


def _gzip_bytes(paths: Iterable[Path]) -> int:
    """Bytes of these files after gzip, without writing them."""
    total = 0
    for path in sorted(paths):
        # With the header of gzip and not that of zlib.
        packer = zlib.compressobj(wbits=31)
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                total += len(packer.compress(chunk))
        total += len(packer.flush())
    return total
