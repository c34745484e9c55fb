"""Comparing two model files: sizes, operators, weights, signature, layers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from compressor.config import RunSettings
from compressor.graph import files
from compressor.results import DiffReport
from compressor.steps import account


def diff_files(a: Path, b: Path) -> DiffReport:
    """What differs between two model files: sizes, operators, initializers, signature."""
    return account.difference(a, b)


def diff_report_file(a: Path, b: Path, report: DiffReport, path: Path) -> None:
    """Writes what differs as one HTML file, layer by layer.

    Args:
        a: the first model.
        b: the second one.
        report: on both, from :func:`diff_files`.
        path: the file to write.

    Raises:
        ModelError: shapes do not fit.
        UsageError: jinja2 is not installed, or the place cannot be written to.
    """
    from compressor.evaluate.profile import layer_rows
    from compressor.render.diff_page import write_diff

    rows = layer_rows(files.load_model(a), files.load_model(b), RunSettings())
    write_diff(report.model_copy(update={"layers": rows}), path, created=datetime.now().astimezone())
