"""How the result of a run stands noise and corrupted images beside the original: curves for its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from compressor.commands.robustness import robustness
from compressor.config import DataSettings, PruneSettings
from compressor.config.data import validation
from compressor.config.robustness import RobustnessSettings
from compressor.core.clock import Clock
from compressor.core.scratch import scratch
from compressor.graph.disk import files
from compressor.render.robustness import samples
from compressor.render.robustness_page import robustness_charts
from compressor.results.detail import Curve, Series
from compressor.steps.prune.result import PruneResult
from compressor.steps.run_files import in_one_file

NAMES = ("original", "result")
"""What the lines of a chart are called, as everywhere in the report."""


def with_curves(result: PruneResult, source: Path, settings: PruneSettings, clock: Clock) -> PruneResult:
    """The result of a run on ``source`` with curves in its report, as of :func:`stressed`."""
    with clock.phase("robustness"), in_one_file(source, settings) as whole:
        curves, warnings = stressed(whole, result.model, settings)
    report = result.report.model_copy(update={"curves": [*result.report.curves, *curves]})
    return replace(result, report=report.warned(warnings))


def stressed(original: Path, result: ir.Model, settings: DataSettings) -> tuple[list[Curve], list[str]]:
    """Charts over the amplitude of noise and the severity of corruptions, and what the user should know about them.

    Measured on ``settings.samples`` samples of the validation data, or of all data, or on made-up ones.

    Args:
        original: file of the model that ``result`` was made from.
        result: not changed.
        settings: of the run.

    Raises:
        CompressorError: as :func:`compressor.commands.robustness.robustness`.
    """
    chosen = validation(settings) or settings
    fields = {*DataSettings.model_fields} - {"augment", "val_data"}
    # Augmentation is for training; here samples are to be as they are.
    noise = RobustnessSettings.model_validate(chosen.model_dump(include=fields))
    with scratch() as folder:
        path = Path(folder) / "result.onnx"
        files.save_model(result, path)
        report = robustness(original, [path], noise)
    note = f"{samples(report)}."
    return [
        curve.model_copy(update={"series": _named(curve), "note": note}) for curve in robustness_charts(report)
    ], report.warnings


def _named(curve: Curve) -> list[Series]:
    return [line.model_copy(update={"name": name}) for line, name in zip(curve.series, NAMES, strict=True)]
