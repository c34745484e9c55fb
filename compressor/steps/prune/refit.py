"""The last layer fitted to labels at the end of a run: what that needs, and what came of it in words."""

from __future__ import annotations

import onnx_ir as ir

from compressor.data import Dataset
from compressor.data.labels import check_labels
from compressor.errors import UsageError
from compressor.graph.form.normalise import normalise
from compressor.reconstruct.labels import last_layer, refit_last


def demand_labels(model: ir.Model, data: Dataset) -> None:
    """Raises UsageError where labels or a last layer are missing."""
    if not data.labelled:
        raise UsageError("--refit-last learns from labels, and the data has none; give an array y, or leave it out")
    check_labels(data, model)
    last_layer(normalise(model.clone()))


def refit_and_tell(model: ir.Model, data: Dataset) -> str:
    """Refits the last layer in place; what was done, as a sentence.

    Raises:
        CompressorError: as :func:`compressor.reconstruct.labels.refit_last`.
    """
    fit = refit_last(model, data)
    if not fit.changed:
        return f"--refit-last left layer {fit.node!r} as it was: {fit.reason}, of which {fit.before:.1%} are missed"
    return (
        f"--refit-last fitted layer {fit.node!r} to labels: of the held-out samples {fit.after:.1%} are missed now, "
        f"{fit.before:.1%} before"
    )
