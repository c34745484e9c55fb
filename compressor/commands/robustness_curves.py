"""How the result of a run stands noise and corrupted images beside the original: curves for its report."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from compressor.commands.robustness import robustness
from compressor.config import DataSettings
from compressor.config.data import validation
from compressor.config.robustness import RobustnessSettings
from compressor.core.clock import Progress
from compressor.core.scratch import scratch
from compressor.graph import files
from compressor.render.robustness import samples
from compressor.render.robustness_page import robustness_charts
from compressor.results import Report
from compressor.results.detail import Curve, Series

NAMES = ("original", "result")
"""What the lines of a chart are called, as everywhere in the report."""


def with_curves(report: Report, original: Path, result: ir.Model, settings: DataSettings) -> Report:
    """The report of a run with its curves, as of :func:`stressed`."""
    curves, warnings = stressed(original, result, settings)
    return report.model_copy(update={"curves": [*report.curves, *curves]}).warned(warnings)


def stressed(
    original: Path, result: ir.Model, settings: DataSettings, progress: Progress | None = None
) -> tuple[list[Curve], list[str]]:
    """Charts over the amplitude of noise and the severity of corruptions, and what the user should know about them.

    Measured on ``settings.samples`` samples of the validation data, or of all data, or on made-up ones.

    Args:
        original: file of the model that ``result`` was made from.
        result: not changed.
        settings: of the run.
        progress: receives each phase.

    Raises:
        CompressorError: as :func:`compressor.commands.robustness.robustness`.
    """
    chosen = validation(settings) or settings
    # Augmentation is for training; here samples are to be as they are.
    noise = RobustnessSettings.model_validate(chosen.model_dump(include={*DataSettings.model_fields} - {"augment"}))
    with scratch() as folder:
        path = Path(folder) / "result.onnx"
        files.save_model(result, path)
        report = robustness(original, [path], noise, progress)
    note = f"{samples(report)}."
    return [
        curve.model_copy(update={"series": _named(curve), "note": note}) for curve in robustness_charts(report)
    ], report.warnings


def _named(curve: Curve) -> list[Series]:
    return [line.model_copy(update={"name": name}) for line, name in zip(curve.series, NAMES, strict=True)]
