"""The flow of a quantization run: load, prepare, calibrate, quantise, check, compare, write, time, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from compressor.commands import bench
from compressor.config.quantize import QuantizeSettings
from compressor.core.clock import Clock, Progress
from compressor.data.synthetic import Synthetic
from compressor.evaluate.stand_in import describe_samples, tell_preparation, tell_sizes
from compressor.graph.disk.model_result import ModelResult
from compressor.graph.disk.provenance import input_digest, stamp_provenance
from compressor.graph.form.restore_packed import is_packed, with_plain_weights
from compressor.pruning.proofs.graphs.interface_match import lost_defaults
from compressor.results.quantize import QuantizeReport
from compressor.steps import counts, run_files
from compressor.steps.gates import judged, unresolved
from compressor.steps.provenance import pruning_facts
from compressor.steps.quantize import (
    CALIBRATED_ON_MADE_UP,
    JudgedOriginal,
    demand_unquantised,
    growth,
    moved_by_quantization,
    put_quantized,
    quantize_samples,
    quantize_tasks,
)
from compressor.steps.quantize_mode import made, mode_remarks
from compressor.steps.refusal import blamed_on, demand_running
from compressor.steps.refused_samples import samples_tried
from compressor.steps.run_samples import sized


@dataclass(repr=False)
class QuantizeResult(ModelResult):
    """What a quantization run made.

    Attributes:
        model: what is to be written.
        report: what became of what, and how well it does.
        packed: were weights of the source packed?
        sealed: a copy from when it was compared with the original, which a written file is held against.
    """

    model: ir.Model
    report: QuantizeReport
    packed: bool = False
    sealed: ir.Model | None = None


def quantize(model: str | Path | ir.Model, settings: QuantizeSettings, *, clock: Clock | None = None) -> QuantizeResult:
    """Stores weights in 8 or 4 bits, and computes with activations in 8, by ONNX Runtime's quantiser.

    Args:
        model: a path, or a model in memory (not changed).
        settings: what is quantised, samples to calibrate and to judge on.
        clock: receives the time of each phase.

    Raises:
        NothingToPrune: the model has no weight to quantise, or is quantised already.
        ModelError: the model does not run, the quantiser refuses it, or what it makes of it does not run.
        ProofFailed: inputs or outputs changed, or what was written is not what was compared.
        CompressorError: others of :mod:`compressor.errors`, each with its exit code.
    """
    clock = clock or Clock()
    path = None if isinstance(model, ir.Model) else Path(model)
    with clock.phase("load"):
        source, size = run_files.open_source(model, settings)
        demand_unquantised(source)
    with clock.phase("analyse"):
        tasks = quantize_tasks(source, settings)
        demand_running(path or source, source, settings)
    with clock.phase("samples"):
        samples = quantize_samples(source, settings)
        original = JudgedOriginal.of(source, samples, settings)
        # Packed weights are counted as what they stand for; codes are no parameters.
        before = counts.stats_in_memory(with_plain_weights(source), sized(source, settings, samples), size, path)
    tell_sizes(samples.train, clock)
    tell_preparation(samples.train, clock)
    with clock.phase("quantise"), samples_tried(lambda: source, settings):
        quantised = made(source, tasks, samples, settings)
        task, result = quantised.task, quantised.done.model
        sealed = result.clone()
    with clock.phase("compare"), samples_tried(lambda: source, settings):
        moved = moved_by_quantization(source, result, samples, original, settings)
    calibrated = min(settings.samples, len(samples.train)) if task.mode == "static" else 0
    made_up = [CALIBRATED_ON_MADE_UP] if calibrated and not samples.real else []
    report = QuantizeReport(
        input=before,
        mode=task.mode,
        why=quantised.why,
        tried=list(quantised.tried),
        weights=quantised.done.rows,
        calibrated=calibrated,
        available=len(samples.train) if samples.real else None,
        synthetic=describe_samples(samples.train) if isinstance(samples.train, Synthetic) else None,
        outputs=moved.outputs,
        accuracy=moved.accuracy,
        warnings=[
            *(*task.notes, *quantised.done.notes, *made_up),
            *lost_defaults(source, result),
            *mode_remarks(quantised, moved.outputs, settings),
            *moved.warnings,
        ],
        ran={"mode": task.mode, "per_channel": task.asked.per_channel, "samples": calibrated},
        settings=settings.model_dump(mode="json"),
        seconds=clock.seconds,
    )
    stamp_provenance(result, "quantize", settings, input_digest(result, path), pruning_facts(report))
    return QuantizeResult(result, report, is_packed(source), sealed)


def quantize_file(
    source: Path, output: Path | None, settings: QuantizeSettings, progress: Progress | None = None
) -> QuantizeReport:
    """:func:`quantize` from file to file; sizes in the report are read back from the written file.

    Without ``output`` everything is done but writing the model.
    """
    clock = Clock(progress)
    result = quantize(source, settings, clock=clock)
    with clock.phase("write"), blamed_on(lambda: run_files.as_read(source, settings), settings):
        stats = put_quantized(result.model, result.sealed, output, settings, result.report.input)
    report = judged(result.report.model_copy(update={"output": stats}), settings)
    if settings.latency and output is not None:
        with clock.phase("time"):
            report = report.model_copy(update={"latency": bench.timed_beside(source, output, settings)})
    more = [*growth(report, source, packed=result.packed), *unresolved(report, settings)]
    return report.model_copy(update={"seconds": clock.seconds}).warned(more)
